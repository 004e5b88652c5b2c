"""How large a layer is, and the hidden size that makes it as large as another.

For comparisons under equal budgets of parameters, or of what is carried from step to step.
"""

from collections.abc import Callable
from typing import Any

import torch

from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers.registry import LayerSpec, build
from throughtime.recurrent import Recurrent

_LARGEST = 2**16


def parameter_count(layer: Recurrent) -> int:
    """Return how many numbers training can change.

    Example:
        >>> from throughtime.layers import GRU
        >>> parameter_count(GRU(3, 4))
        108
    """
    return sum(each.numel() for each in layer.parameters() if each.requires_grad)


def state_floats(layer: Recurrent) -> int:
    """Return how many floats a lane's state holds; seeds and counters are not counted.

    Example:
        >>> from throughtime.layers import LSTM
        >>> state_floats(LSTM(3, 4))
        8
    """
    leaves = states.leaves(layer.initial_state(1))
    return sum(leaf[0].numel() for leaf in leaves if leaf.is_floating_point())


def size_for(
    name: str,
    input_size: int,
    *,
    parameters: int | None = None,
    floats: int | None = None,
    depth: int = 1,
    **options: Any,
) -> LayerSpec:
    """Return the layer whose size is nearest to a wanted one, by choice of its hidden size H.

    Args:
        name: one of `names()`.
        input_size: F.
        parameters: how many `parameter_count` should give.
        floats: how many `state_floats` should give; one of the two.
        depth: layers on top of each other.
        options: given to each layer.

    Returns:
        What `build` takes. Where H must be a multiple of something, such as a number of heads, it
        is one.

    Raises:
        OptionError: when not one of the two is wanted, or no H comes within a factor of two.

    Example:
        >>> str(size_for("gru", 8, parameters=100_000))
        'gru:178x1'
    """
    if (parameters is None) == (floats is None):
        raise OptionError(
            f"expected parameters or floats to be wanted, got {parameters} and {floats}"
        )
    wanted = parameters if floats is None else floats
    assert wanted is not None
    if wanted < 1:
        raise OptionError(f"expected a size of 1 or more to be wanted, got {wanted}")
    measure = parameter_count if floats is None else state_floats

    def size(hidden_size: int) -> int:
        with torch.device("meta"):
            spec = LayerSpec(name, hidden_size, depth)
            return measure(build(spec, input_size, **options))

    step = _least(size)
    below, above = 1, 2
    while size(above * step) < wanted and above * step < _LARGEST:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if size(middle * step) <= wanted else (below, middle)
    nearest = min(below, above, key=lambda count: abs(size(count * step) - wanted))
    found = size(nearest * step)
    if not wanted / 2 <= found <= wanted * 2:
        raise OptionError(
            f"expected a size that a {name} can have, got {wanted}; the nearest is {found}, with "
            f"hidden_size {nearest * step}"
        )
    return LayerSpec(name, nearest * step, depth)


def _least(size: Callable[[int], int]) -> int:
    """Return the least hidden size that can be: what all others are multiples of."""
    first: OptionError | None = None
    for hidden_size in range(1, 257):
        try:
            size(hidden_size)
        except OptionError as error:
            first = first or error
        else:
            return hidden_size
    assert first is not None
    raise first
