"""The native kernels as a backend: which layers and calls they serve, and how a call reaches them.

A layer says by `cell` which of the compiled cells it is. Sequences go through the torch operator;
a step without gradients goes straight to the library, since an operator costs more than the step.
"""

import ctypes
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ShapeError
from throughtime.kernels import library, operators
from throughtime.kernels.recurrence import Recurrence
from throughtime.state import State


def reason_against(layer: Recurrence, x: Tensor | None = None, state: State = ()) -> str | None:
    """Return why the native kernels can't run a layer on an input and a state, None if they can."""
    cell = layer.cell
    if cell is None:
        return f"there is no native kernel for {type(layer).__name__}"
    weight: Tensor = layer.weight_hh  # type: ignore[attr-defined]
    against = reason_against_numbers((weight,) if x is None else (weight, x, *state))
    if against is not None:
        return against
    if torch.is_autocast_enabled("cpu") and autocast_to_bfloat16() is None:
        return f"no autocast to {_name(torch.get_autocast_dtype('cpu'))} in native kernels here"
    reason = missing()
    return None if reason is None else f"no native kernels: {reason}"


def reason_against_numbers(tensors: Sequence[Tensor]) -> str | None:
    """Return why native kernels can't read some tensors, None if they can."""
    for tensor in tensors:
        if not tensor.is_cpu:
            return f"native kernels run on the CPU, and this is on {tensor.device.type}"
        if tensor.dtype != torch.float32:
            return f"native kernels compute in float32, and this is {_name(tensor.dtype)}"
    return None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def missing() -> str | None:
    """Return why there are no native kernels, after saying it once; None where there are."""
    return _missing()


@cache
def _missing() -> str | None:
    reason = library.why_missing()
    if reason is not None and reason != f"{library.OVERRIDE}=none":
        warnings.warn(
            f"throughtime runs without its native kernels, and slower: {reason}; "
            "install a C++ compiler and then throughtime again",
            RuntimeWarning,
            stacklevel=2,
        )
    return reason


def describe() -> str:
    """Say which kernels run."""
    name: str = library.load().tt_instruction_set().decode()
    return name.replace("_", " with ")


def autocast_to_bfloat16() -> bool | None:
    """Return whether products are to be in bfloat16 now; None for an autocast not served here."""
    if not torch.is_autocast_enabled("cpu"):
        return False
    if torch.get_autocast_dtype("cpu") == torch.bfloat16 and _has_bfloat16():
        return True
    return None


def run(
    layer: Recurrence, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State]:
    """Run a layer over sequences. Arguments and result are those of `reference.fold`."""
    fresh = (None, None) if resets is None else (*layer.restart(state), None)
    leaves = (*state, None)
    weights = _weights(layer)
    keep = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, *leaves, *fresh, *weights)
    )
    y, h, c, *_ = torch.ops.throughtime.sequence(
        x,
        *leaves[:2],
        *weights,
        *fresh[:2],
        lengths,
        resets,
        layer.cell,
        bool(autocast_to_bfloat16()),
        keep,
    )
    return y, type(state)(*((h, c) if len(state) == 2 else (h,)))


def step(layer: Recurrence, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Run one step without gradients: x (B, F) to y (B, H) and the next state."""
    cell, weights = layer.cell or "", _weights(layer)
    units = state[0].shape[1]
    _check_weights(weights, operators.GATES[cell] * units, x.shape[1], units)
    view, _kept = operators.view_of_layer(cell, False, *weights)
    given = [leaf.contiguous() for leaf in (x, *state)]
    after = [torch.empty_like(leaf) for leaf in given[1:]]
    # Only the last of the two states may be absent.
    sources = [leaf.data_ptr() for leaf in given] + [0] * (3 - len(given))
    targets = [leaf.data_ptr() for leaf in after] + [0] * (2 - len(after))
    library.load().tt_step(ctypes.byref(view), len(x), *sources, *targets)
    return after[0], type(state)(*after)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_bfloat16() -> bool:
    return library.why_missing() is None and bool(library.load().tt_has_bfloat16())


def _weights(layer: Any) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    # From the dictionary of parameters where they stand in it: `nn.Module` takes half a microsecond
    # to find each by itself.
    own = layer._parameters
    weights = [own[name] if name in own else getattr(layer, name) for name in _WEIGHTS]
    return weights[0], weights[1], weights[2], weights[3]


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _check_weights(weights: Sequence[Tensor | None], rows: int, features: int, units: int) -> None:
    """Hold parameters to their sizes: the kernels read through plain pointers."""
    wanted = ((rows, features), (rows, units), (rows,), (rows,))
    for name, weight, size in zip(_WEIGHTS, weights, wanted, strict=True):
        if weight is not None and (weight.shape != size or weight.dtype is not torch.float32):
            raise ShapeError(
                f"expected {name} as float32 {size} in a native kernel, got "
                f"{weight.dtype} {tuple(weight.shape)}"
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
