"""How many threads a recurrence is worth in training.

Torch's own way is many small products in a row, and threads that have to meet after each of them
cost more than they save. Measured with torch 2.13 on two cores: a GRU of 64 units over 28 lanes
trains six times faster on one thread than on two; an LSTM of 384 units over 32 lanes nearly twice
as fast on two. `benchmarks/threads.py` prints the table. The native kernels share out lanes and
lose less, but a sum of gradients is rounded differently for each number of threads, so the same
rule holds for them: a resumed run computes in the same order.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH_SHARING = 10_000_000
"""Multiply-adds in a step of all lanes from which threads share them."""


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """Use one thread inside the block where a step is too little work to share.

    The caller's number of threads is put back after the block. The choice depends on the work
    alone, never on a measurement, so that a resumed run computes in the same order.

    Args:
        work: multiply-adds in one step of all lanes; lanes times parameters, roughly.
    """
    before = torch.get_num_threads()
    if work >= WORTH_SHARING or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
