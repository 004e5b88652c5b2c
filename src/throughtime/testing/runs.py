"""How a layer is run under check: whole, step by step, and what a run is compared by.

The fold here is the specification (law 1), written out on `step` and nothing else. Every call's
result is held against the shape law on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from throughtime import state as states
from throughtime.recurrent import Recurrent
from throughtime.state import State
from throughtime.testing.report import Ledger, Tolerance


@dataclass(frozen=True)
class Run:
    """Results of one run, and the gradients of a weighted sum of them by name of the input."""

    y: Tensor
    end: State
    gradients: dict[str, Tensor]


class Runner:
    """Runs one layer, in one dtype, for one check.

    Args:
        layer: the layer under check.
        ledger: where comparisons go.
        tolerance: of comparisons that must agree up to rounding.
        generator: source of all random inputs.
        dtype: of the inputs.
        device: of the inputs.
    """

    def __init__(
        self,
        layer: Recurrent,
        ledger: Ledger,
        tolerance: Tolerance,
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.layer = layer
        self.ledger = ledger
        self.tolerance = tolerance
        self.generator = generator
        self.dtype = dtype
        self.device = device
        self.shape_law = 6

    @property
    def oracle(self) -> str:
        """The way of `measure` that says what is right."""
        return "fold" if self.layer.streamable else "segments"

    @property
    def mode(self) -> str:
        """What messages say about the mode of the layer."""
        return "in training mode" if self.layer.training else "in eval mode"

    def draw(self, *shape: int) -> Tensor:
        """Return standard normal numbers, representable in float32."""
        return torch.randn(shape, generator=self.generator).to(self.device, self.dtype)

    def sequences(self, lanes: int, steps: int) -> Tensor:
        """Return random x (B, T, F)."""
        return self.draw(lanes, steps, self.layer.input_size)

    def initial(self, lanes: int) -> State:
        """Return the state before the first step, cut from the graph."""
        with self.ledger.attempt(6, f"initial_state({lanes})"):
            return states.detach(self.layer.initial_state(lanes, device=self.device))

    def reached(self, lanes: int, steps: int = 3) -> State:
        """Return a state after a few steps; the initial one of a layer that can't be streamed."""
        state = self.initial(lanes)
        if not self.layer.streamable:
            return state
        with torch.no_grad():
            for _ in range(steps):
                _, state = self.step(1, self.draw(lanes, self.layer.input_size), state)
        return states.detach(state)

    def forward(
        self,
        law: int,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Call `forward`; an exception counts as a breach of `law`, a wrong shape of law 6."""
        given = [name for name, t in (("lengths", lengths), ("resets", resets)) if t is not None]
        doing = "forward" + (f" with {' and '.join(given)}" if given else "") + f" {self.mode}"
        options = {"lengths": lengths, "resets": resets}
        with self.ledger.attempt(law, f"{doing} on x {tuple(x.shape)}"):
            result = self.layer(x, state, **{k: v for k, v in options.items() if v is not None})
        y, end = self.pair(result, doing)
        wanted = (*x.shape[:2], self.layer.output_size)
        self.ledger.require(
            self.shape_law,
            isinstance(y, Tensor) and tuple(y.shape) == wanted,
            f"{doing} returns y of shape {_shape(y)} for x {tuple(x.shape)}, expected {wanted}; "
            "y is (B, T, D) whatever the lengths are",
        )
        self.same_kind(end, self.initial(x.shape[0]) if state is None else state, doing)
        return y, end

    def step(
        self, law: int, x: Tensor, state: State, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Call `step`; an exception counts as a breach of `law`, a wrong shape of law 6."""
        doing = ("step" if reset is None else "step with reset") + f" {self.mode}"
        with self.ledger.attempt(law, f"{doing} on x {tuple(x.shape)}"):
            if reset is None:
                result = self.layer.step(x, state)
            else:
                result = self.layer.step(x, state, reset=reset)
        y, after = self.pair(result, doing)
        wanted = (x.shape[0], self.layer.output_size)
        self.ledger.require(
            self.shape_law,
            isinstance(y, Tensor) and tuple(y.shape) == wanted,
            f"{doing} returns y of shape {_shape(y)} for x {tuple(x.shape)}, expected {wanted}; "
            "y of a step is (B, D)",
        )
        self.same_kind(after, state, doing)
        return y, after

    def pair(self, result: object, doing: str) -> tuple[Tensor, State]:
        """Refuse a result that is not (y, state)."""
        self.ledger.require(
            self.shape_law,
            isinstance(result, tuple) and len(result) == 2,
            f"{doing} returns {type(result).__name__}, expected the pair (y, state); "
            "the return is always the pair",
        )
        y, state = result  # type: ignore[misc]
        return y, state

    def same_kind(self, got: State, wanted: State, doing: str) -> None:
        """Hold the tree, shapes, dtypes and devices of a state against those of another."""
        trees = pytree.tree_structure(got), pytree.tree_structure(wanted)
        kinds = [
            [(tuple(t.shape), t.dtype, t.device) if isinstance(t, Tensor) else type(t) for t in ts]
            for ts in (states.leaves(got), states.leaves(wanted))
        ]
        same = trees[0] == trees[1] and kinds[0] == kinds[1]
        self.ledger.require(
            self.shape_law,
            same,
            f"{doing} returns a state of {_describe(got)}, expected that of initial_state: "
            f"{_describe(wanted)}; keep its tree, shapes, dtypes and device, as in "
            "leaf.to(state.h.dtype)",
        )

    def fold(
        self,
        law: int,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run the specification: `step` over time, each lane held from its length on."""
        lanes, steps = x.shape[:2]
        if state is None:
            state = self.layer.initial_state(lanes, device=self.device)
        if lengths is not None:
            present = torch.arange(steps, device=x.device) < lengths[:, None]
            x = torch.where(present[:, :, None], x, torch.zeros_like(x))
        outputs = []
        for t in range(steps):
            alive = None if lengths is None else lengths > t
            reset = None if resets is None else resets[:, t]
            if reset is not None and alive is not None:
                reset = reset & alive
            y, after = self.step(law, x[:, t], state, reset)
            if alive is not None:
                after = states.tree_map(
                    lambda new, old, alive=alive: _choose(alive, new, old), after, state
                )
                y = _choose(alive, y, torch.zeros_like(y))
            state = after
            outputs.append(y)
        if not outputs:
            return x.new_zeros(lanes, 0, self.layer.output_size), state
        return torch.stack(outputs, dim=1), state

    def segments(
        self,
        law: int,
        x: Tensor,
        state: State,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run a layer that can't be streamed by its specification: each segment on its own."""
        outputs, ends = [], []
        for lane in range(x.shape[0]):
            own = states.take(state, torch.tensor([lane], device=x.device))
            stop = x.shape[1] if lengths is None else int(lengths[lane])
            begins = [] if resets is None else resets[lane, :stop].nonzero().flatten().tolist()
            bounds = sorted({0, *begins, stop})
            parts = [x.new_zeros(1, 0, self.layer.output_size)]
            for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
                if begin in begins:
                    own = self.layer.restart(own)
                y, after = self.forward(law, x[lane : lane + 1, begin:end], own)
                parts.append(y)
                if end < stop:
                    continue
                own = after
            parts.append(x.new_zeros(1, x.shape[1] - stop, self.layer.output_size))
            outputs.append(torch.cat(parts, dim=1))
            ends.append(own)
        return torch.cat(outputs), states.cat(ends)

    def leafed(self, state: State) -> State:
        """Return a state whose floating-point leaves collect gradients."""
        return states.tree_map(
            lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), state
        )

    def weighted(self, y: Tensor, end: State | None = None, *, first_step: int = 0) -> Tensor:
        """Return the sum of the results, weighted by step and unit but the same for each lane.

        Args:
            y: (B, T, D), of steps `first_step` on.
            end: a state to add, or None.
            first_step: so that a part of a sequence is weighted as in the whole.
        """
        steps = torch.arange(first_step, first_step + y.shape[1], device=y.device)
        units = torch.arange(y.shape[2], device=y.device)
        total = (torch.cos(1.3 * steps[:, None] + 2.1 * units + 1) * y).sum()
        for place, leaf in enumerate(states.leaves(end)):
            if leaf.is_floating_point():
                flat = leaf.reshape(leaf.shape[0], -1)
                units = torch.arange(flat.shape[1], device=y.device)
                total = total + (torch.cos(1.7 * units + place) * flat).sum()
        return total

    def targets(self, x: Tensor, state: State | None) -> dict[str, Tensor]:
        """Return what gradients are taken of: x, the leaves of the state, the parameters."""
        found = {"x": x}
        if state is not None:
            names = states.names(state)
            found |= {
                name if name.startswith("state") else f"state.{name}": leaf
                for name, leaf in zip(names, states.leaves(state), strict=True)
            }
        found |= dict(self.layer.named_parameters())
        return {name: tensor for name, tensor in found.items() if tensor.requires_grad}

    def gradients(
        self, law: int, total: Tensor, targets: dict[str, Tensor], *, keep: bool = False
    ) -> dict[str, Tensor]:
        """Return the gradient of a sum by name of the target, zeros where none flows."""
        if not total.requires_grad:
            return {name: torch.zeros_like(tensor) for name, tensor in targets.items()}
        with self.ledger.attempt(law, f"the backward pass {self.mode}"):
            found = torch.autograd.grad(
                total, list(targets.values()), allow_unused=True, retain_graph=keep
            )
        return {
            name: torch.zeros_like(tensor) if gradient is None else gradient
            for (name, tensor), gradient in zip(targets.items(), found, strict=True)
        }

    def measure(
        self,
        law: int,
        way: str,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        *,
        cuts: Sequence[int] = (),
        through_end: bool = True,
        first_step: int = 0,
    ) -> Run:
        """Run a layer and take gradients of all that comes out.

        Args:
            law: which the run serves.
            way: "forward", "fold" or "segments".
            x: (B, T, F).
            state: before step 0, or None.
            lengths: (B,) or None.
            resets: (B, T) or None.
            cuts: times at which forward is called anew with the carried state.
            through_end: whether the final state counts in the sum; it does not in the gradients
                that only outputs give.
            first_step: of x, where it is a part of a longer sequence.
        """
        x = x.detach().clone().requires_grad_()
        begin = state = None if state is None else self.leafed(state)
        if way == "fold":
            y, end = self.fold(law, x, state, lengths, resets)
        elif way == "segments":
            y, end = self.segments(law, x, state, lengths, resets)
        else:
            parts = []
            bounds = [0, *cuts, x.shape[1]]
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
                within = None if lengths is None else (lengths - start).clamp(0, stop - start)
                flags = None if resets is None else resets[:, start:stop]
                part, state = self.forward(law, x[:, start:stop], state, within, flags)
                parts.append(part)
            y, end = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], state
        total = self.weighted(y, end if through_end else None, first_step=first_step)
        gradients = self.gradients(law, total, self.targets(x, begin))
        return Run(y.detach(), states.detach(end), gradients)

    def same(
        self,
        law: int,
        got: Run,
        wanted: Run,
        when: str,
        mend: str,
        *,
        tolerance: Tolerance | None = None,
        leave_out: Sequence[str] = (),
        gradients: bool = True,
        gradient_mend: str = "",
    ) -> None:
        """Hold two runs against each other: outputs, then final states, then gradients.

        Args:
            law: under which they must agree.
            got: what the layer does.
            wanted: what it should do.
            when: the circumstances, as the end of a subject.
            mend: what to do when values differ.
            tolerance: the runner's own by default.
            leave_out: names of gradients that are not compared.
            gradients: whether any are.
            gradient_mend: what to do when gradients differ; `mend` by default.
        """
        tolerance = tolerance or self.tolerance
        when = f"{when} {self.mode}"
        self.ledger.close(
            law, f"the output {when}", got.y, wanted.y, tolerance.values, mend, axes=("lane", "step")
        )
        self.same_state(law, got.end, wanted.end, f"the final state {when}", mend, tolerance.values)
        if not gradients:
            return
        for name, gradient in wanted.gradients.items():
            if name in leave_out or name not in got.gradients:
                continue
            self.ledger.close(
                law,
                f"the gradient of {name} {when}",
                got.gradients[name],
                gradient,
                tolerance.gradients,
                gradient_mend or mend,
                axes=axes_of(name),
                gradient=True,
            )

    def same_state(
        self, law: int, got: State, wanted: State, subject: str, mend: str, tolerance: float
    ) -> None:
        """Hold two states of one kind against each other, leaf by leaf."""
        for name, a, b in zip(
            states.names(wanted), states.leaves(got), states.leaves(wanted), strict=True
        ):
            label = subject if name == "state" else f"leaf {name} of {subject}"
            self.ledger.close(law, label, a, b, tolerance, mend, axes=("lane",))


def axes_of(name: str) -> tuple[str, ...]:
    """Return the axes' names of a gradient by the name of what it is taken of."""
    if name == "x":
        return ("lane", "step")
    return ("lane",) if name.startswith("state") else ()


def _choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (chosen.dim() - 1)), chosen, other)


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _describe(state: State) -> str:
    parts = [
        f"{name} {tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')} {leaf.device}"
        if isinstance(leaf, Tensor)
        else f"{name} {type(leaf).__name__}"
        for name, leaf in zip(states.names(state), states.leaves(state), strict=True)
    ]
    return f"{type(state).__name__}({', '.join(parts)})"
