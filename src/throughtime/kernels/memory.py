"""Memory for what a forward pass keeps until backward, used again by the next forward pass.

An allocator gives large memory back to the system after each step of training and asks for it anew
in the next, and the system fills it with zeros: up to a tenth of a step's time. Here memory is
parked instead: the system may take it whenever it is short of some (MADV_FREE), and until then the
next pass finds it as it was. It comes in large pages, where there are any.
"""

import ctypes
import mmap
import weakref
from contextlib import suppress

import torch
from torch import Tensor

WORTH_PARKING = 2**20
"""Bytes from which memory is parked; smaller pieces are what allocators are good at."""
MOST_PARKED = 8
"""Pieces parked at once; the oldest goes back to the system for good when there are more."""
LITTLE = 2**23
"""Bytes up to which the system is not told that it may take a piece: telling it takes a hundredth
of a step, and allocators keep more."""

_parked: list[mmap.mmap] = []


def new(rows: int, width: int, like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor (rows, width) that is not filled.

    Args:
        rows: of the tensor.
        width: numbers of a row.
        like: where: on the CPU, or without numbers, in a trace.
        dtype: of the tensor.
    """
    size = rows * width * dtype.itemsize
    if size < WORTH_PARKING or type(like) is not Tensor or not hasattr(mmap, "MADV_FREE"):
        return like.new_empty(rows, width, dtype=dtype)
    memory = _take(size)
    lease = (ctypes.c_byte * size).from_buffer(memory)
    weakref.finalize(lease, _park, memory).atexit = False
    return torch.frombuffer(lease, dtype=dtype).view(rows, width)


def _take(size: int) -> mmap.mmap:
    """Return the least parked memory that is large enough and not wasteful, or new memory."""
    fitting = [memory for memory in _parked if size <= len(memory) <= 2 * size]
    for memory in sorted(fitting, key=len):
        with suppress(ValueError):  # Another thread was faster.
            _parked.remove(memory)
            return memory
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _park(memory: mmap.mmap) -> None:
    if len(memory) > LITTLE:
        memory.madvise(mmap.MADV_FREE)
    _parked.append(memory)
    del _parked[:-MOST_PARKED]
