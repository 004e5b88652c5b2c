"""The numbers a layer is checked in: its parameters cast for a while, and how fine its maths is.

A law about structure is best checked in float64, where rounding cannot be mistaken for a fault. The
cast is undone exactly, by giving every parameter its own data back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_LINES = 5


@contextmanager
def parameters_in(layer: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Give a layer's parameters and buffers copies of their data in `dtype` inside the block.

    The values are first rounded to float32, so that casts to float32 and float64 are equal. After
    the block the layer is as it was: data, attributes, training flags. None copies without a cast.
    """
    saved = [(tensor, tensor.data) for tensor in (*layer.parameters(), *layer.buffers())]
    attributes = [
        (holder, dict(holder))
        for module in layer.modules()
        for holder in (vars(module), module._parameters, module._buffers)
    ]
    try:
        for tensor, data in saved:
            if dtype is not None and data.is_floating_point():
                tensor.data = data.float().to(dtype, copy=True)
            else:
                tensor.data = data.clone()
        yield
    finally:
        for holder, content in attributes:
            holder.clear()
            holder.update(content)
        for tensor, data in saved:
            tensor.data = data


def coarseness(function: Callable[[Tensor], Tensor], x: Tensor, reach: float) -> float:
    """Return the rounding noise of a function: its fourth difference along a line, typically.

    In a smooth function that is of the order of reach**4; what is left is the rounding of the
    numbers inside. Kinks (relu) and thresholds lie on some lines and not on others, while rounding
    is everywhere: so it is the least of several lines that counts, and on each the median.

    Args:
        function: of a tensor like x, to a tensor of any shape.
        x: where.
        reach: spacing of the five points of a line.
    """
    return min(_along_a_line(function, x, reach, line) for line in range(_LINES))


def _along_a_line(
    function: Callable[[Tensor], Tensor], x: Tensor, reach: float, line: int
) -> float:
    place = torch.arange(x.numel(), dtype=x.dtype, device=x.device)
    along = torch.cos(place + line).view_as(x)
    weights = {-2: 1.0, -1: -4.0, 0: 6.0, 1: -4.0, 2: 1.0}
    values = {k: function(x + (k + 5 * line) * reach * along).double() for k in weights}
    difference = torch.stack([weight * values[k] for k, weight in weights.items()]).sum(dim=0)
    noise = difference.abs() / (1 + values[0].abs())
    noise = noise[noise > 0]
    return float(noise.median()) if noise.numel() else 0.0
