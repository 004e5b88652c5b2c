"""How a layer is called under check, and what its runs are compared by.

Every result is held against the shape law on its way. What a run should give is in `specification`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from throughtime import state as states
from throughtime.recurrent import Recurrent
from throughtime.state import State
from throughtime.testing.report import Ledger, Tolerance, differences

Way = Callable[..., tuple[Tensor, State]]
"""One way to run a layer over a sequence: from (runner, law, x, state, lengths, resets) to y and
the final state; they are in `throughtime.testing.specification`."""


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
        """Call `forward`; an exception or y of a wrong shape counts as a breach of `law`.

        A wrong state always counts as one of law 6.
        """
        given = [name for name, t in (("lengths", lengths), ("resets", resets)) if t is not None]
        doing = "forward" + (f" with {' and '.join(given)}" if given else "") + f" {self.mode}"
        options = {"lengths": lengths, "resets": resets}
        with self.ledger.attempt(law, f"{doing} on x {tuple(x.shape)}"):
            result = self.layer(x, state, **{k: v for k, v in options.items() if v is not None})
        y, end = self.pair(result, doing)
        self.output_kind(law, y, x, doing)
        self.same_kind(end, self.initial(x.shape[0]) if state is None else state, doing)
        return y, end

    def forward_garbage(
        self,
        law: int,
        x: Tensor,
        state: State,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Call `forward` on numbers that may well overflow, without warnings about that."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return self.forward(law, x, state, lengths, resets)

    def step(
        self, law: int, x: Tensor, state: State, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Call `step`; what is wrong with it counts as in `forward`."""
        doing = ("step" if reset is None else "step with reset") + f" {self.mode}"
        with self.ledger.attempt(law, f"{doing} on x {tuple(x.shape)}"):
            if reset is None:
                result = self.layer.step(x, state)
            else:
                result = self.layer.step(x, state, reset=reset)
        y, after = self.pair(result, doing)
        self.output_kind(law, y, x, doing)
        self.same_kind(after, state, doing)
        return y, after

    def output_kind(self, law: int, y: object, x: Tensor, doing: str) -> None:
        """Hold the shape of an output against that of the input."""
        wanted = (*x.shape[:-1], self.layer.output_size)
        if not isinstance(y, Tensor) or tuple(y.shape) != wanted:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise self.ledger.broken(
                law,
                f"{doing} returns y of shape {got} for x {tuple(x.shape)}, expected {wanted}; "
                "y has all axes of x, whatever the lengths and sizes are",
            )

    def pair(self, result: object, doing: str) -> tuple[Tensor, State]:
        """Refuse a result that is not (y, state)."""
        if not isinstance(result, tuple) or len(result) != 2:
            raise self.ledger.broken(
                6,
                f"{doing} returns {type(result).__name__}, expected the pair (y, state); "
                "the return is always the pair",
            )
        return result[0], result[1]

    def same_kind(self, got: State, wanted: State, doing: str) -> None:
        """Hold the tree, shapes, dtypes and devices of a state against those of another."""
        self.ledger.count(self.shape_law)
        if _kind(got) != _kind(wanted):
            raise self.ledger.broken(
                self.shape_law,
                f"{doing} returns a state of {_describe(got)}, expected that of initial_state: "
                f"{_describe(wanted)}; keep its tree, shapes, dtypes and device, as in "
                "leaf.to(state.h.dtype)",
            )

    def leafed(self, state: State) -> State:
        """Return a state whose floating-point leaves collect gradients.

        A layer that can't be streamed takes the initial state only. It gets that with its graph,
        because it may use it for whichever segment it reads first, or make it anew.
        """
        if self.layer.streamable or not states.leaves(state):
            return states.tree_map(
                lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), state
            )
        fresh = self.layer.initial_state(states.lanes(state), device=self.device)
        return states.tree_map(
            lambda leaf, new: new if leaf.is_floating_point() else leaf, state, fresh
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
        for place, leaf in enumerate([] if end is None else states.leaves(end)):
            if leaf.is_floating_point():
                flat = leaf.reshape(leaf.shape[0], -1)
                units = torch.arange(flat.shape[1], device=y.device)
                total = total + (torch.cos(1.7 * units + place) * flat).sum()
        return total

    def targets(self, x: Tensor, state: State | None) -> dict[str, Tensor]:
        """Return what gradients are taken of: x, the leaves of the state, the parameters."""
        found = {"x": x}
        if state is not None and self.layer.streamable:
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
        way: Way,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        *,
        gradients_of: Literal["all", "outputs", "nothing"] = "all",
    ) -> Run:
        """Run a layer and take gradients of all that comes out.

        Args:
            law: which the run serves.
            way: how: one of `throughtime.testing.specification`.
            x: (B, T, F).
            state: before step 0, or None.
            lengths: (B,) or None.
            resets: (B, T) or None.
            gradients_of: outputs and final state, outputs only, or no gradients at all.
        """
        with torch.set_grad_enabled(gradients_of != "nothing"):
            x = x.detach().clone().requires_grad_(gradients_of != "nothing")
            state = None if state is None else self.leafed(state)
            y, end = way(self, law, x, state, lengths, resets)
        if resets is not None and not self.layer.streamable:
            # Which of its segments the state comes from is the layer's own affair: nothing is
            # ever carried on from it.
            end = ()
        if gradients_of == "nothing":
            return Run(y, end, {})
        total = self.weighted(y, end if gradients_of == "all" else None)
        gradients = self.gradients(law, total, self.targets(x, state))
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
            gradient_mend: what to do when gradients differ; `mend` by default.
        """
        tolerance = tolerance or self.tolerance
        when = f"{when} {self.mode}"
        self.ledger.close(
            law,
            f"the output {when}",
            got.y,
            wanted.y,
            tolerance.values,
            mend,
            axes=("lane", "step"),
        )
        self.same_state(law, got.end, wanted.end, f"the final state {when}", mend, tolerance.values)
        for name in (name for name in wanted.gradients if name in got.gradients):
            self.ledger.close(
                law,
                f"the gradient of {name} {when}",
                got.gradients[name],
                wanted.gradients[name],
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


def apart(got: Run, wanted: Run) -> Tolerance:
    """Return the largest differences between two runs."""
    ends = zip(states.leaves(got.end), states.leaves(wanted.end), strict=True)
    slopes = [(got.gradients[name], wanted.gradients[name]) for name in wanted.gradients]
    return Tolerance(
        *(
            max((float(differences(a, b).max()) for a, b in pairs if a.numel()), default=0.0)
            for pairs in ([(got.y, wanted.y), *ends], slopes)
        )
    )


def widened(tolerance: Tolerance, got: Run, wanted: Run, near: Callable[[], Run]) -> Tolerance:
    """Return a tolerance of ten times what separates `near` from `wanted`, where it is needed.

    Args:
        tolerance: the least to return.
        got: a run that may be beyond it.
        wanted: what it is held against.
        near: makes a run that differs from what is wanted by no fault, only by rounding.
    """
    differs = apart(got, wanted)
    if differs.values <= tolerance.values and differs.gradients <= tolerance.gradients:
        return tolerance
    by_rounding = apart(near(), wanted)
    return Tolerance(
        max(tolerance.values, 10 * by_rounding.values),
        max(tolerance.gradients, 10 * by_rounding.gradients),
    )


def axes_of(name: str) -> tuple[str, ...]:
    """Return the axes' names of a gradient by the name of what it is taken of."""
    if name == "x":
        return ("lane", "step")
    return ("lane",) if name.startswith("state") else ()


def _kind(state: State) -> tuple[object, ...]:
    leaves, tree = pytree.tree_flatten(state)
    kinds = [
        (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else type(leaf)
        for leaf in leaves
    ]
    return tree, kinds


def _describe(state: State) -> str:
    parts = [
        f"{name} {tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')} {leaf.device}"
        if isinstance(leaf, Tensor)
        else f"{name} {type(leaf).__name__}"
        for name, leaf in zip(states.names(state), states.leaves(state), strict=True)
    ]
    return f"{type(state).__name__}({', '.join(parts)})"
