"""How a recurrence runs fast: the readable reference, the fused kernels, and the choice between.

Nothing here computes what a layer computes; that is in `layers`. A kernel is only ever a faster way
to do what `reference.fold` does, and the laws hold it to that.
"""

from throughtime.kernels.dispatch import BACKENDS, explain, run, use
from throughtime.kernels.recurrence import FusedRecurrence, Recurrence
from throughtime.kernels.threads import threads_for

__all__ = ["BACKENDS", "FusedRecurrence", "Recurrence", "explain", "run", "threads_for", "use"]
