"""The reference: a recurrence as the fold of its own step, in plain tensor operations.

This is the specification in code. It runs every layer, on every device, with lengths and resets,
and it is what the faster kernels are compared with.
"""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.kernels.recurrence import Recurrence
from throughtime.state import State


def fold(
    layer: Recurrence, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State]:
    """Run `layer.update` over time.

    Args:
        layer: what to run.
        x: (B, T, F), already finite where a step is not there.
        state: state before step 0, B lanes.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None; True beyond a length means nothing.

    Returns:
        y (B, T, D), zero where a step is not there, and the state after the last step that is.
    """
    outputs = []
    for t in range(x.shape[1]):
        alive = None if lengths is None else lengths > t
        if resets is not None:
            flagged = resets[:, t] if alive is None else resets[:, t] & alive
            state = states.where(flagged, layer.restart(state), state)
        y, after = layer.update(x[:, t], state)
        after = states.keep_types(after, state)
        if alive is not None:
            after = states.where(alive, after, state)
            y = torch.where(alive[:, None], y, torch.zeros_like(y))
        state = after
        outputs.append(y)
    if not outputs:
        return x.new_zeros(x.shape[0], 0, layer.output_size), state
    return torch.stack(outputs, dim=1), state
