"""Two layers over the same sequence, one of them reading it backwards."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.errors import ShapeError, StateError
from throughtime.recurrent import Recurrent
from throughtime.state import State


@states.register
class BidirectionalState(NamedTuple):
    """State of a Bidirectional: that of the forward and that of the backward layer."""

    forward: State
    backward: State


class Bidirectional(Recurrent):
    """Read a sequence in both directions and join the outputs.

    A reset separates segments, and each segment is read both ways on its own, within its lane's
    length. As its output needs the future, it can't be streamed: `step` raises, and `forward`
    takes no carried state.

    Args:
        forward_layer: reads from the first step to the last.
        backward_layer: reads from the last step to the first; same F.

    Raises:
        ShapeError: when the two layers differ in F.

    Example:
        >>> from throughtime.layers.gru import GRU
        >>> y, state = Bidirectional(GRU(3, 5), GRU(3, 5))(torch.ones(2, 7, 3))
        >>> y.shape
        torch.Size([2, 7, 10])
    """

    streamable = False
    state_class = BidirectionalState

    def __init__(self, forward_layer: Recurrent, backward_layer: Recurrent) -> None:
        super().__init__(
            forward_layer.input_size, forward_layer.output_size + backward_layer.output_size
        )
        if backward_layer.input_size != forward_layer.input_size:
            raise ShapeError(
                f"expected two layers of one input size, got {forward_layer.input_size} "
                f"and {backward_layer.input_size}"
            )
        self.forward_layer = forward_layer
        self.backward_layer = backward_layer

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> BidirectionalState:
        """Return the two layers' states before their first steps."""
        return BidirectionalState(
            self.forward_layer.initial_state(batch_size, device=device, dtype=dtype),
            self.backward_layer.initial_state(batch_size, device=device, dtype=dtype),
        )

    def restart(self, state: BidirectionalState) -> BidirectionalState:
        """Restart both layers."""
        return BidirectionalState(
            self.forward_layer.restart(state.forward), self.backward_layer.restart(state.backward)
        )

    def run(
        self,
        x: Tensor,
        state: BidirectionalState,
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, BidirectionalState]:
        """Run both directions over each segment."""
        self._refuse_carried(state)
        ahead, ahead_state = self.forward_layer(x, state.forward, lengths=lengths, resets=resets)
        mirror = mirrored_positions(x.shape[0], x.shape[1], lengths, resets, x.device)
        behind, behind_state = self.backward_layer(
            _reorder(x, mirror), state.backward, lengths=lengths, resets=resets
        )
        y = torch.cat([ahead, _reorder(behind, mirror)], dim=-1)
        return y, BidirectionalState(ahead_state, behind_state)

    @property
    def backend(self) -> str:
        """What each direction would run on, and why."""
        return "; ".join({self.forward_layer.backend: 0, self.backward_layer.backend: 0})

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        self.forward_layer._check_kind_of_state(state.forward)
        self.backward_layer._check_kind_of_state(state.backward)

    def _refuse_carried(self, state: BidirectionalState) -> None:
        if torch.compiler.is_compiling():
            return
        fresh = self.restart(state)
        for got, wanted in zip(states.leaves(state), states.leaves(fresh), strict=True):
            # Whole numbers are seeds, which a restart moves on, and the steps that go with them.
            if got.is_floating_point() and not torch.equal(got, wanted):
                raise StateError(
                    "expected the initial state in Bidirectional, got a carried one: the backward "
                    "layer would have to know the next window; pass whole sequences, without state"
                )


def mirrored_positions(
    batch_size: int,
    steps: int,
    lengths: Tensor | None,
    resets: Tensor | None,
    device: torch.device,
) -> Tensor:
    """Return where each step lies when every segment is reversed in place, (B, T) int64.

    A segment ends before a reset and at its lane's length; what lies beyond the length stays put.
    Mirroring twice is the identity, and the segments keep their places, so `resets` still holds.
    """
    time = torch.arange(steps, device=device).expand(batch_size, steps)
    ends = (
        torch.full((batch_size, 1), steps, device=device) if lengths is None else lengths[:, None]
    )
    present = time < ends
    starts = torch.zeros_like(time)
    stops = ends.expand(batch_size, steps)
    if resets is not None:
        begins = resets & present
        starts = torch.where(begins, time, 0).cummax(dim=1).values
        following = torch.where(begins, time, stops).flip(1).cummin(dim=1).values.flip(1)
        stops = torch.cat([following[:, 1:], ends], dim=1) if steps else stops
    return torch.where(present, starts + stops - 1 - time, time)


def _reorder(x: Tensor, positions: Tensor) -> Tensor:
    # Whole rows at once: `gather` on an expanded index takes five to ten times as long.
    rows = positions + x.shape[1] * torch.arange(x.shape[0], device=x.device)[:, None]
    return x.flatten(0, 1).index_select(0, rows.flatten()).view_as(x)
