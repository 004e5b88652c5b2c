"""The choice of a backend: the fastest that is correct for a call, unless one is asked for.

The wish is a context variable, so that it holds for a `with` block in one thread or task and there
is no global switch to forget.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.kernels.fused import between_cuts, cuts
from throughtime.kernels.recurrence import FusedRecurrence, Recurrence
from throughtime.kernels.reference import fold
from throughtime.state import State

BACKENDS = ("reference", "torch")
"""Names that `use` takes, from the most readable to the fastest."""

_wanted: ContextVar[str | None] = ContextVar("throughtime_backend", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Choose the backend for every layer called inside the block.

    Args:
        name: "reference" (the fold of `update`) or "torch" (fused kernels). A layer that the
            backend can't run falls back to the reference, which its `backend` says.

    Raises:
        OptionError: for any other name.

    Example:
        >>> import throughtime as tt
        >>> with tt.kernels.use("reference"):
        ...     tt.GRU(3, 4).backend
        'reference: asked for'
    """
    if name not in BACKENDS:
        raise OptionError(f"expected a backend among {', '.join(BACKENDS)}, got {name!r}")
    token = _wanted.set(name)
    try:
        yield
    finally:
        _wanted.reset(token)


def run(
    layer: Recurrence, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State]:
    """Run a recurrence on the chosen backend. Arguments and result as in `reference.fold`."""
    if isinstance(layer, FusedRecurrence) and _reason_against_fused(lengths, resets, x) is None:
        return between_cuts(layer, x, state, lengths, resets)
    return fold(layer, x, state, lengths, resets)


def explain(layer: Recurrence) -> str:
    """Say which backend would run a plain call of the layer now, and why."""
    if _wanted.get() == "reference":
        return "reference: asked for"
    if isinstance(layer, FusedRecurrence):
        return "torch: fused kernel, cut where a lane ends or restarts"
    return f"reference: torch has no fused kernel for {type(layer).__name__}"


def _reason_against_fused(lengths: Tensor | None, resets: Tensor | None, x: Tensor) -> str | None:
    # Before the wish is read, because a compiler can't trace a context variable.
    if torch.compiler.is_compiling():
        return "a traced graph must not depend on where the cuts are"
    if _wanted.get() == "reference":
        return "asked for"
    if _wanted.get() == "torch" or (lengths is None and resets is None):
        return None
    # Below two steps a cut, the gathers cost more than the fused kernel saves.
    if 2 * len(cuts(lengths, resets, x.shape[1])) > x.shape[1] + 4:
        return "too many cuts"
    return None
