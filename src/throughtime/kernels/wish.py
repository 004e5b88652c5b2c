"""Which backend is asked for: a context variable, so that it holds for a `with` block.

It holds in one thread or task, and there is no global switch to forget.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from throughtime.errors import OptionError

BACKENDS = ("reference", "torch", "native")
"""Names that `use` takes, from the most readable to the fastest."""

_wanted: ContextVar[str | None] = ContextVar("throughtime_backend", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Choose the backend for every layer called inside the block.

    Args:
        name: "reference" (the fold of `update`), "torch" (torch's own fused kernels) or "native"
            (ours, for the CPU). A layer that the backend can't run falls back to the next one in
            this order from the right, which its `backend` says.

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


def wish() -> str | None:
    """Return the name asked for here, or None for the fastest that is correct.

    A compiler can't trace a context variable: a traced graph takes the default.
    """
    return None if torch.compiler.is_compiling() else _wanted.get()
