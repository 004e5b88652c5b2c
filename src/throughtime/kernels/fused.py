"""Torch's own fused kernels, made to obey lengths and resets.

A fused kernel knows neither, so time is cut wherever a lane ends or restarts, and between two cuts
the kernel runs on just those lanes that are still there. Each cut is exact by law 2 (chunking).
"""

from itertools import pairwise

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.kernels.recurrence import FusedRecurrence
from throughtime.state import State


def cuts(lengths: Tensor | None, resets: Tensor | None, steps: int) -> list[int]:
    """Return the times in [0, T] at which some lane ends or restarts, 0 and T included."""
    found = {0, steps}
    if lengths is not None:
        found.update(lengths.tolist())
    if resets is not None:
        found.update(resets.any(dim=0).nonzero().flatten().tolist())
    return sorted(found)


def can_autocast(layer: FusedRecurrence, device: str) -> bool:
    """Return whether torch has its kernel of a layer in the numbers of the present autocast.

    On a processor, oneDNN computes its LSTM, and refuses numbers that the processor has not.
    """
    if layer.cell != "lstm" or device != "cpu" or not torch.is_autocast_enabled("cpu"):
        return True
    if torch.get_autocast_dtype("cpu") == torch.bfloat16:
        return bool(_has_bfloat16())
    return bool(_has_float16())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_float16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def between_cuts(
    layer: FusedRecurrence, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State]:
    """Run `layer.fused` from cut to cut. Arguments and result are those of `reference.fold`."""
    pieces = []
    for start, stop in pairwise(cuts(lengths, resets, x.shape[1])):
        alive = None if lengths is None else lengths > start
        if resets is not None:
            flagged = resets[:, start] if alive is None else resets[:, start] & alive
            if flagged.any():
                state = states.where(flagged, layer.restart(state), state)
        if alive is None or alive.all():
            y, state = layer.fused(x[:, start:stop], state)
        else:
            index = alive.nonzero().flatten()
            y = x.new_zeros(x.shape[0], stop - start, layer.output_size)
            if len(index):
                part, after = layer.fused(x[index, start:stop], states.take(state, index))
                y = y.to(part.dtype).index_copy(0, index, part)
                state = states.put(state, index, after)
        pieces.append(y)
    if not pieces:
        return x.new_zeros(x.shape[0], 0, layer.output_size), state
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)), state
