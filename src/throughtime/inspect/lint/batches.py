"""What a batch is made of: the arguments of a model, and which of them is x, lengths or a mask.

Shape letters: B samples, T steps.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.errors import OptionError


def arguments(batch: Any) -> tuple[list[Any], dict[str, Any], bool]:
    """Return the arguments by place and by name, and whether the batch is a packed sequence.

    Of a packed one these are x (B, T, F) and the lengths.
    """
    if isinstance(batch, PackedSequence):
        return list(pad_packed_sequence(batch, batch_first=True)), {}, True
    if isinstance(batch, Mapping):
        return [], dict(batch), False
    if isinstance(batch, tuple | list):
        return list(batch), {}, False
    return [batch], {}, False


def first_tensor(given: list[Any], named: dict[str, Any]) -> tuple[Any, Tensor]:
    """Return x and which argument it is.

    Raises:
        OptionError: when there is no tensor.
    """
    for key, value in [*enumerate(given), *named.items()]:
        if isinstance(value, Tensor):
            return key, value.detach()
    raise OptionError(
        "expected a batch with a tensor: x, (x, ...) or {name: x, ...} as the model is called, "
        f"got {[type(value).__name__ for value in [*given, *named.values()]]}"
    )


def rebuilt(batch: Any, key: Any, x: Tensor) -> Any:
    """Return a batch of the same form with another x."""
    if isinstance(batch, PackedSequence):
        counts = pad_packed_sequence(batch)[1]
        return pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
    if isinstance(batch, Mapping):
        return {**batch, key: x}
    if isinstance(batch, tuple | list):
        parts = [*batch[:key], x, *batch[key + 1 :]]
        return parts if isinstance(batch, list) else tuple(parts)
    return x


def lengths_in(
    model: nn.Module, given: list[Any], named: dict[str, Any], lengths: Tensor | None
) -> Any:
    """Return which argument has the lengths, None where none has.

    It is the one that is called so, or has the numbers that are known to be the lengths.
    """
    try:
        parameters = list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        parameters = []
    called: dict[Any, str] = dict(enumerate(parameters[: len(given)]))
    called |= {name: name for name in named}
    for key, value in [*enumerate(given), *named.items()]:
        if not isinstance(value, Tensor) or value.dim() != 1 or value.is_floating_point():
            continue
        if "len" in called.get(key, "").lower():
            return key
        if lengths is not None and torch.equal(value.cpu().long(), lengths.cpu().long()):
            return key
    return None


def before_padding(x: Tensor) -> Tensor:
    """Return which steps come before the equal ones that a sample of x ends in, (B, T) bool."""
    rows = x.detach().flatten(2) if x.dim() > 2 else x.detach()[:, :, None]
    ending = (rows == rows[:, -1:]).all(2).flip(1).cummin(1).values.flip(1)
    padded = (ending.sum(1) > 1) & ~ending.all(1)
    return ~(ending & padded[:, None])


def is_mask(tensor: Tensor) -> bool:
    """Return whether a tensor says of each step no more than whether it is there."""
    return tensor.dtype == torch.bool or bool(((tensor == 0) | (tensor == 1)).all())
