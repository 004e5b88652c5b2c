"""Linear recurrences that are compiled from the pre-activations of their gates on.

Torch computes coefficients one function at a time, each a pass over memory forward and two or three
backward; a compiled recurrence computes them where it uses them. What it computes is what the
layer's `coefficients` and `read_out` say, which are there for all else: other devices and dtypes,
autocast, single steps, a missing library.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import throughtime.kernels.gated_operators  # noqa: F401  # Registers the operator.

FEW_FEATURES = 16
"""Up to so many features the kernel multiplies by itself, which saves rows in memory; beyond,
torch's product is faster by more than that."""


class Affine(NamedTuple):
    """A linear map that is no layer: weight (N, F) and bias (N,)."""

    weight: Tensor
    bias: Tensor | None = None


class Gated(NamedTuple):
    """What a compiled recurrence is given in place of coefficients.

    Shape letters: B lanes, T steps, F features, H units, S states of a unit, W pre-activations.
    """

    gates: str
    """Which one of `library.GATES`; `native/throughtime.h` says what it reads, in what order."""
    x: Tensor
    """(B, T, F), or the pre-activations (B, T, W) themselves where there is no weight."""
    weight: Tensor | None
    """(F + 1, W): pre-activations from (x, 1)."""
    constants: Tensor | None = None
    """(planes, H): numbers of a unit that are the same at all steps."""
    states: int = 1
    """S."""
    scale: float = 1.0
    """Eigenvalues are scale * keep + 1 - scale."""
    bound: float = 0.0
    epsilon: float = 0.0
    leave: Affine | nn.Linear | None = None
    """A map of what is read out, (B, T, H), that the kernel makes, too, to (B, T, D)."""
    finish: Callable[[Tensor], Tensor] | None = None
    """From the kernel's output to the layer's, where they are not the same."""


def rows(x: Tensor, *maps: Affine | nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return `Gated.x` and `Gated.weight` for pre-activations that are maps of x, in their order.

    Args:
        x: (B, T, F).
        maps: to the pre-activations.
    """
    weight = torch.cat([each.weight for each in maps])
    biases = [
        each.weight.new_zeros(len(each.weight)) if each.bias is None else each.bias for each in maps
    ]
    bias = torch.cat(biases)
    if x.shape[-1] > FEW_FEATURES:
        return functional.linear(x, weight, bias), None
    return x, torch.cat([weight.t(), bias[None]])


def gated_of(layer: Any, x: Tensor, state: Tensor) -> Gated | None:
    """Return what a compiled recurrence is given to run the layer, None where it can't run it.

    A layer that may be a compiled recurrence has a method `compiled`, from x (B, T, F) to what that
    is given, or None. Whether there are kernels at all is for `linear.reason_against` to say.
    """
    if (
        not isinstance(layer, nn.Module)
        or not hasattr(type(layer), "compiled")
        or torch.is_autocast_enabled("cpu")
        or not {"coefficients", "read_out"}.isdisjoint(layer.__dict__)
        or not all(_is_plain(part) for part in layer.children())
        or not _is_float32(x, state, *_parameters(layer))
    ):
        return None
    given: Gated | None = layer.compiled(x)  # type: ignore[operator]
    return given


def run_gated(
    gated: Gated,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run a compiled recurrence.

    Args:
        gated: what it is given.
        state: (B, H S), before step 0; the states of a unit are beside one another.
        restart: (B, H S), what a reset goes to; with resets.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None.

    Returns:
        The layer's output, not masked where `finish` made it, and the state after the last step.
    """

    def planes(numbers: Tensor) -> Tensor:
        lanes, width = numbers.shape
        return numbers.reshape(lanes, width // gated.states, gated.states).transpose(1, 2)

    before = planes(state)
    constants = gated.constants
    y, end, _ = torch.ops.throughtime.gated(
        gated.x,
        gated.weight,
        before.new_empty(0, before.shape[2]) if constants is None else constants,
        None if gated.leave is None else gated.leave.weight,
        None if gated.leave is None else gated.leave.bias,
        before,
        None if restart is None else planes(restart),
        lengths,
        resets,
        gated.gates,
        gated.scale,
        gated.bound,
        gated.epsilon,
    )
    end = end.transpose(1, 2).flatten(1)
    return y if gated.finish is None else gated.finish(y), end


def _parameters(layer: nn.Module) -> list[Tensor | None]:
    """Return those of a layer of plain parts, sooner than `layer.parameters()` does."""
    modules = (layer, *layer.children())
    return [parameter for each in modules for parameter in each._parameters.values()]


def _is_float32(*tensors: Tensor | None) -> bool:
    return all(each is None or each.dtype == torch.float32 for each in tensors)


def _is_plain(module: nn.Module) -> bool:
    """Return whether a part of a layer is as the layer made it: its parameters say what it does."""
    return type(module) in (nn.Linear, nn.RMSNorm) and not (
        module._forward_hooks or module._forward_pre_hooks
    )
