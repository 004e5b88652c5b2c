"""The contract: what a recurrent layer is, for its user and for its author.

A user calls `forward` on whole sequences and `step` on what arrives; both take a state and give one
back. An author writes `initial_state` and `update`; lengths, resets, carried state, checks and
streaming follow from those two. The laws behind it are checked by `throughtime.testing`.
"""

from itertools import chain
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import NotStreamableError, ShapeError, StateError
from throughtime.state import State


class Recurrent(nn.Module):
    """A layer that reads a sequence step by step and accounts for its state.

    The invariant, as code (law 1): for any `x`, `state`, `lengths` and `resets`,

        y, end = layer(x, state, lengths=lengths, resets=resets)

    equals the loop, per lane b,

        for t in range(lengths[b]):
            y[t], state = layer.step(x[t], state, reset=resets[t])

    with y zero from `lengths[b]` on. A module holds no state between calls.

    Shape letters: B lanes, T steps, F input features, D output size. Batch first, always.

    Args:
        input_size: F.
        output_size: D.

    Example:
        A layer of one's own, complete:

        >>> import torch
        >>> class Decay(Recurrent):
        ...     def __init__(self, size):
        ...         super().__init__(size, size)
        ...         self.rate = torch.nn.Parameter(torch.full((size,), 0.9))
        ...     def initial_state(self, batch_size, *, device=None, dtype=None):
        ...         return self.rate.new_zeros(batch_size, self.output_size)
        ...     def update(self, x, state):
        ...         state = self.rate * state + x
        ...         return state, state
        >>> y, state = Decay(2)(torch.ones(1, 3, 2), lengths=torch.tensor([2]))
        >>> y.shape, state.shape
        (torch.Size([1, 3, 2]), torch.Size([1, 2]))
    """

    input_size: int
    output_size: int
    streamable: bool = True

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        _check_size("input_size", input_size)
        _check_size("output_size", output_size)
        self.input_size = input_size
        self.output_size = output_size

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """Return the state before the first step, for B lanes. Written by the layer's author.

        Args:
            batch_size: B.
            device: where; the parameters' own device by default.
            dtype: of the floating-point leaves; the parameters' own by default.
        """
        raise TypeError(f"{type(self).__name__} must define initial_state(batch_size)")

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of maths in plain tensor operations. Written by the layer's author.

        Args:
            x: (B, F).
            state: B lanes.

        Returns:
            y (B, D) and the next state, of the same tree, shapes and dtypes.
        """
        raise TypeError(f"{type(self).__name__} must define update(x, state)")

    def restart(self, state: State) -> State:
        """Return what a reset replaces `state` by: `initial_state`, for as many lanes.

        Only a layer with randomness in its state says otherwise: it derives the next seed.
        """
        first = states.leaves(state)
        if not first:
            return state
        return self.initial_state(states.lanes(state), device=first[0].device)

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run over whole sequences.

        Args:
            x: (B, T, F).
            state: state before step 0; `initial_state(B)` when None.
            lengths: (B,) int64, 0 <= n <= T: steps from n on are not there.
            resets: (B, T) bool: True at t means that step t starts from `initial_state`.

        Returns:
            y (B, T, D), zero where a step is not there, and the state after the last step that is.

        Raises:
            ShapeError: when a tensor has another rank, size or dtype.
            StateError: when the state is not one of this layer, or has another B.
        """
        self._check_input(x, rank=3)
        if lengths is not None:
            lengths = self._checked_lengths(lengths, x)
            # The input is masked before anything is computed from it: masking later would leave
            # 0 * NaN in the gradients of the parameters.
            present = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            x = x.masked_fill(~present[:, :, None], 0)
            if resets is not None:
                resets = self._checked_resets(resets, x) & present
        elif resets is not None:
            resets = self._checked_resets(resets, x)
        if state is None:
            state = self.initial_state(x.shape[0], device=x.device)
        else:
            self._check_state(state, x)
        y, end = self.run(x, state, lengths, resets)
        return y, states.keep_types(end, state)

    def step(self, x: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        """Run one step.

        Args:
            x: (B, F).
            state: state before the step, B lanes.
            reset: (B,) bool: lanes that start from `initial_state` instead.

        Returns:
            y (B, D) and the state after the step.

        Raises:
            ShapeError: when a tensor has another rank, size or dtype.
            StateError: when the state is not one of this layer, or has another B.
            NotStreamableError: when the layer needs the future.
        """
        self._check_streamable()
        self._check_input(x, rank=2)
        self._check_state(state, x)
        if reset is not None:
            _check_tensor("reset", reset)
            if reset.dtype != torch.bool or reset.shape != x.shape[:1]:
                raise ShapeError(
                    f"expected reset as (B,) bool with B = {x.shape[0]}, "
                    f"got {tuple(reset.shape)} {reset.dtype}; True starts a lane afresh"
                )
            state = states.where(reset.to(x.device), self.restart(state), state)
        return kernels.step(self, x, state)

    def stepper(self, lanes: int) -> kernels.Stepper:
        """Return a stepper: packed weights and the states of B lanes, stepped without gradients.

        Args:
            lanes: B.

        Raises:
            NotStreamableError: when the layer needs the future.
        """
        self._check_streamable()
        return kernels.stepper_for(self, lanes)

    def run(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run checked arguments on the fastest correct backend.

        Layers made of layers override this; everybody else calls `forward`.
        """
        return kernels.run(self, x, state, lengths, resets)

    @property
    def cell(self) -> str | None:
        """Which compiled cell computes what `update` says; None for a layer of one's own."""
        return None

    @property
    def backend(self) -> str:
        """Which backend would run now, and why."""
        return kernels.explain(self)

    def _check_streamable(self) -> None:
        if not self.streamable:
            raise NotStreamableError(
                f"expected a streamable layer, got {type(self).__name__}: its output at a step "
                "depends on later steps; call forward on whole sequences"
            )

    def _check_input(self, x: Tensor, *, rank: int) -> None:
        _check_tensor("x", x)
        if x.dim() == rank and x.shape[-1] == self.input_size:
            self._check_dtype(x)
            return
        letters = {3: "(B, T, F)", 2: "(B, F)"}
        call = {3: "forward", 2: "step"}
        message = (
            f"expected x as {letters[rank]} with F = {self.input_size} in {call[rank]}, "
            f"got {tuple(x.shape)}"
        )
        if x.dim() == 5 - rank:
            message += f"; for {letters[5 - rank]} call {call[5 - rank]}"
        elif rank == 3 and x.dim() == 3 and x.shape[1] == self.input_size:
            message += "; time goes before features, as in x.transpose(1, 2)"
        raise ShapeError(message)

    def _check_dtype(self, x: Tensor) -> None:
        """Refuse numbers of another kind than the layer's own, which autocast alone may mix."""
        for own in chain(self.parameters(), self.buffers()):
            if own.is_floating_point():
                if x.dtype != own.dtype and not torch.is_autocast_enabled(x.device.type):
                    raise ShapeError(
                        f"expected x of {own.dtype} in {type(self).__name__}, got {x.dtype}; "
                        f"give x.to({own.dtype})"
                    )
                return

    def _checked_lengths(self, lengths: Tensor, x: Tensor) -> Tensor:
        _check_tensor("lengths", lengths)
        if lengths.dtype != torch.int64 or lengths.shape != x.shape[:1]:
            raise ShapeError(
                f"expected lengths as (B,) int64 with B = {x.shape[0]}, "
                f"got {tuple(lengths.shape)} {lengths.dtype}; lengths count steps"
            )
        if not torch.compiler.is_compiling() and len(lengths):
            least, most = int(lengths.min()), int(lengths.max())
            if least < 0 or most > x.shape[1]:
                raise ShapeError(
                    f"expected lengths between 0 and T = {x.shape[1]}, got {least} to {most}; "
                    "lengths count the steps of x that are there"
                )
        return lengths.to(x.device)

    def _checked_resets(self, resets: Tensor, x: Tensor) -> Tensor:
        _check_tensor("resets", resets)
        if resets.dtype != torch.bool or resets.shape != x.shape[:2]:
            raise ShapeError(
                f"expected resets as (B, T) bool = {tuple(x.shape[:2])}, "
                f"got {tuple(resets.shape)} {resets.dtype}; True at t starts step t afresh"
            )
        return resets.to(x.device)

    def _check_state(self, state: State, x: Tensor) -> None:
        batch_size = x.shape[0]
        leaves = states.flatten(state)
        if all(isinstance(leaf, Tensor) and leaf.dim() for leaf in leaves):
            if all(leaf.shape[0] == batch_size for leaf in leaves):
                self._check_kind_of_state(state)
                return
            got = sorted({leaf.shape[0] for leaf in leaves})
            raise StateError(
                f"expected a state of B = {batch_size} lanes, got {got}; keep the lanes of a batch "
                f"together, or make a new state with initial_state({batch_size})"
            )
        raise StateError(
            f"expected a state made by {type(self).__name__}.initial_state, "
            f"got {type(state).__name__} with leaves {[type(leaf).__name__ for leaf in leaves]}"
        )

    def _check_kind_of_state(self, state: State) -> None:
        """Refuse the state of another layer; a layer that knows more of its own says more."""
        wanted = self.state_class
        if wanted is not None and not isinstance(state, wanted):
            raise StateError(
                f"expected a {wanted.__name__} in {type(self).__name__}, got "
                f"{type(state).__name__}; make states with initial_state(B)"
            )

    state_class: ClassVar[type[Any] | None] = None


def _check_size(name: str, given: object) -> None:
    if not isinstance(given, Integral) or int(given) < 1:
        raise ShapeError(f"expected {name} as an integer of 1 or more, got {given!r}")


def _check_tensor(name: str, given: object) -> None:
    if not isinstance(given, Tensor):
        raise ShapeError(
            f"expected {name} as a tensor, got {type(given).__name__}; give torch.as_tensor({name})"
        )


class LinearRecurrent(Recurrent):
    r"""A layer whose state follows a diagonal linear recurrence, elementwise.

    $$h_t = a_t \odot h_{t-1} + b_t$$

    An author writes `coefficients` and `read_out`, and `state_size`; the recurrence itself is ours,
    with its state in float32 at least, whatever the inputs are. Where the coefficients are complex,
    the state holds pairs, real and imaginary part in turn, so it is twice as long and stays real.

    Args:
        input_size: F.
        output_size: D.
        state_size: N, the number of state elements in a lane.
    """

    def __init__(self, input_size: int, output_size: int, state_size: int) -> None:
        super().__init__(input_size, output_size)
        _check_size("state_size", state_size)
        self.state_size = state_size

    state_class = Tensor

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass with other maths is not what its parent's kernel computes.
        if {"coefficients", "read_out"} & vars(cls).keys() and "compiled" not in vars(cls):
            cls.compiled = LinearRecurrent.compiled  # type: ignore[method-assign]

    def compiled(self, x: Tensor) -> kernels.Gated | None:
        """Return what the compiled kernel of this layer is given for x (B, T, F), None for none.

        It computes what `coefficients` and `read_out` say, from the sums that gates are made of.
        """
        return None

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., N) each, from x (..., F). Written by the layer's author."""
        raise TypeError(f"{type(self).__name__} must define coefficients(x)")

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., N) and x (..., F). Written by the layer's author."""
        raise TypeError(f"{type(self).__name__} must define read_out(h, x)")

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """Return zeros (B, N), in float32 at least."""
        own = next(self.parameters(), torch.empty(0))
        wanted = torch.promote_types(dtype or own.dtype, torch.float32)
        return torch.zeros(batch_size, self.state_size, device=device or own.device, dtype=wanted)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, F) to y (B, D)."""
        a, b = self.coefficients(x)
        if (a.is_complex() or b.is_complex()) and not state.is_complex():
            h = a * kernels.as_complex(state) + b
            return self.read_out(h, x), kernels.as_pairs(h)
        h = a.to(state.dtype) * state + b.to(state.dtype)
        return self.read_out(h, x), h

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        if isinstance(state, Tensor) and state.shape[1:] != (self.state_size,):
            raise StateError(
                f"expected a state (B, N) with N = {self.state_size} in {type(self).__name__}, "
                f"got {tuple(state.shape)}; make states with initial_state(B)"
            )
