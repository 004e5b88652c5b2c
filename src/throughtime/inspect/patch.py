"""What if a state had been another at some step: a run that is changed in the middle."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from throughtime.errors import ShapeError
from throughtime.recurrent import Recurrent
from throughtime.state import State

Change = Callable[[State], State]


def run_patched(
    layer: Recurrent,
    x: Tensor,
    changes: Mapping[int, Change],
    *,
    state: State | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Run over whole sequences, changing the state at some steps.

    Args:
        layer: any layer or stack.
        x: (B, T, F).
        changes: by step t in 0..T, what replaces the state that step t starts from; T is the end.
        state: before step 0; the initial one when None.
        lengths: (B,) int64 or None when every step is there. A lane that has ended is changed, too.
        resets: (B, T) bool or None. A reset at t replaces what was changed at t.

    Returns:
        y (B, T, D) and the state in the end, as of `layer.forward`.

    Raises:
        ShapeError: when a change is of a step that is not there.

    Example:
        >>> from throughtime.layers import LSTM
        >>> layer, x = LSTM(1, 4), torch.randn(2, 9, 1)
        >>> forget = lambda state: state._replace(c=torch.zeros_like(state.c))
        >>> patched, _ = run_patched(layer, x, {7: forget})
        >>> torch.equal(patched[:, :7], layer(x)[0][:, :7])
        True
    """
    lanes, steps = x.shape[:2]
    for t in changes:
        if not 0 <= t <= steps:
            raise ShapeError(f"expected changes at steps 0 to {steps}, got one at {t}")
    current = layer.initial_state(lanes, device=x.device) if state is None else state
    outputs = []
    cuts = sorted({0, steps, *changes})
    if 0 in changes:
        current = changes[0](current)
    for first, last in pairwise(cuts):
        there = None if lengths is None else (lengths - first).clamp(0, last - first)
        fresh = None if resets is None else resets[:, first:last]
        y, current = layer(x[:, first:last], current, lengths=there, resets=fresh)
        outputs.append(y)
        if last in changes:
            current = changes[last](current)
    return (torch.cat(outputs, 1) if outputs else layer(x, current)[0]), current
