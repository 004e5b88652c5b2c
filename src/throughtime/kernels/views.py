"""What every call of the compiled library needs: addresses of dense tensors, and its answer."""

from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ThroughtimeError


def dense(tensor: Tensor | None) -> Tensor | None:
    """Return a tensor as the library reads it: row-major, without gaps."""
    return None if tensor is None else tensor.contiguous()


def address(tensor: Tensor | None) -> int | None:
    """Return where a tensor's numbers are, None for no tensor; whoever asks keeps it alive."""
    return None if tensor is None else tensor.data_ptr()


def call(function: Any, *arguments: object) -> None:
    """Call a function of the library, and say what went wrong in it.

    Raises:
        ThroughtimeError: when there was not enough memory.
    """
    if function(*arguments):
        raise ThroughtimeError(
            "expected free memory for the buffers of a native kernel, got less; "
            "use fewer lanes or shorter windows"
        )


def once(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return gradients that are an error in one line where they are differentiated again."""
    found: tuple[Any, ...] = torch._C._functions.DelayedError(_ONCE, len(gradients))(*gradients)
    return found


_ONCE = (
    "expected one backward pass through a native kernel, got a second derivative; "
    'use `with tt.kernels.use("reference")` around forward'
)
