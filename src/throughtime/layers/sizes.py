"""How large a layer is, and the hidden size that makes it as large as another.

For comparisons under equal budgets of parameters, or of what is carried from step to step.
"""

from collections.abc import Callable
from math import gcd
from typing import Any

import torch

from throughtime import state as states
from throughtime.errors import OptionError, ShapeError
from throughtime.layers.registry import options_of
from throughtime.layers.spec import LayerSpec, StackSpec, build, parse
from throughtime.recurrent import Recurrent

_LARGEST = 2**16
_NEAR = 64


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
    layer: str,
    input_size: int,
    *,
    parameters: int | None = None,
    floats: int | None = None,
    depth: int | None = None,
    **options: Any,
) -> StackSpec:
    """Return the layers whose size is nearest to a wanted one, by choice of their hidden sizes.

    Args:
        layer: one of `names()`, or what `parse` reads, such as `rg_lru:64x4:conv:block`, of which
            the proportions of the hidden sizes are kept and nothing else of them.
        input_size: F.
        parameters: how many `parameter_count` should give.
        floats: how many `state_floats` should give; one of the two.
        depth: layers on top of each other; 1 when None. Beside a name alone.
        options: given to each layer that takes them.

    Returns:
        What `build` takes. Where H must be a multiple of something, such as a number of heads, it
        is one.

    Raises:
        OptionError: when not one of the two is wanted, or no H comes within a factor of two.

    Example:
        >>> str(size_for("gru", 8, parameters=100_000))
        'gru:178x1'
        >>> str(size_for("rg_lru:64x4:conv:block", 8, parameters=1_000_000))
        'rg_lru:166x4:conv:block'
    """
    if (parameters is None) == (floats is None):
        raise OptionError(
            f"expected parameters or floats to be wanted, got {parameters} and {floats}"
        )
    wanted = parameters if floats is None else floats
    assert wanted is not None
    if wanted < 1:
        raise OptionError(f"expected a size of 1 or more to be wanted, got {wanted}")
    if ":" in layer and depth is not None:
        raise OptionError(f"expected depth beside a name alone, got {depth} beside {layer!r}")
    measure = parameter_count if floats is None else state_floats
    asked = parse(layer if ":" in layer else f"{layer}:1x{1 if depth is None else depth}")
    unit = gcd(*(each.hidden_size for each in asked.layers))
    shares = [each.hidden_size // unit for each in asked.layers]

    def scaled(factor: int) -> StackSpec:
        pairs = zip(asked.layers, shares, strict=True)
        return StackSpec(tuple(each._replace(hidden_size=share * factor) for each, share in pairs))

    def size(factor: int) -> int:
        with torch.device("meta"):
            return measure(build(scaled(factor), input_size, **options))

    step = _least(size)
    most = max(_LARGEST // (step * max(shares)), 2)
    below, above = 1, 2
    while size(above * step) < wanted and above < most:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if size(middle * step) <= wanted else (below, middle)
    nearest = min(below, above, key=lambda multiple: abs(size(multiple * step) - wanted))
    found = size(nearest * step)
    if not wanted / 2 <= found <= wanted * 2:
        raise OptionError(
            f"expected a size that {layer} can have, got {wanted}; the nearest is {found}, of "
            f"{scaled(nearest * step)}"
        )
    return scaled(nearest * step)


def nearest_possible(spec: StackSpec, **options: Any) -> StackSpec:
    """Return a spec that can be built: that one, or one with the nearest hidden sizes.

    Args:
        spec: what `parse` returns.
        options: given to each layer that takes them.

    Raises:
        OptionError: when no hidden size near helps.

    Example:
        >>> str(nearest_possible(parse("gru:30+mlstm:30")))
        'gru:30x1+mlstm:32x1'
    """
    return StackSpec(tuple(_nearest_layer(layer, options) for layer in spec.layers))


def _nearest_layer(layer: LayerSpec, options: dict[str, Any]) -> LayerSpec:
    own = {name: value for name, value in options.items() if name in options_of(layer.name)}
    first: OptionError | ShapeError | None = None
    for apart in range(_NEAR):
        for hidden_size in (layer.hidden_size + apart, layer.hidden_size - apart):
            candidate = layer._replace(hidden_size=hidden_size)
            try:
                with torch.device("meta"):
                    build(StackSpec((candidate,)), 1, **own)
            except (OptionError, ShapeError) as error:
                first = first or error
            else:
                return candidate
    assert first is not None
    raise first


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
