"""Linear memory capacity: how many of the last inputs can be read off the state."""

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.errors import OptionError
from throughtime.inspect.bootstrap import Interval, interval_of
from throughtime.inspect.layer import as_layer

TRAIN, TEST = 4200, 1800
"""Steps that read-outs are fitted to, and those that they are judged by."""
RIDGE = 1e-7
"""Share of the largest variance that is added to all, so that noise is not read."""
LEAST = 0.004
"""Shares of variance below this are chance at so many steps, and count as nothing."""
_BLOCK = 50
"""Steps that are drawn together for an interval: neighbours are not independent."""


class MemoryCapacity(NamedTuple):
    """What a linear read-out knows of past inputs.

    Attributes:
        explained: (K,) float64: share of the variance of u_{t-k} that is explained, by lag k.
        total: their sum, in inputs remembered.
        interval: where the total lies, with 95 % confidence; of the same direction of inputs.
        bound: what it can't be above: the numbers that are read.
        reach: the last lag of which half is explained, -1 where there is none.
    """

    explained: Tensor
    total: float
    interval: Interval
    bound: int
    reach: int


def memory_capacity(
    layer: nn.Module, *, lags: int | None = None, scale: float = 1.0, seed: int = 0
) -> MemoryCapacity:
    r"""Measure how many past inputs a layer's output holds, linearly.

    $$\mathrm{MC} = \sum_k r^2(\hat u_{t-k}, u_{t-k}) \le D$$

    (Jaeger 2001, "Short term memory in echo state networks".) The layer is driven by independent
    numbers; for each lag a ridge regression reads them off its output, and is judged on steps that
    it was not fitted to. The layer runs in its own precision, in evaluation mode; the regression is
    in float64.

    Args:
        layer: any layer or stack, or one of torch.nn's. With F > 1 inputs, what drives it goes
            along a random direction, another for each seed, of which some are remembered longer
            than others.
        lags: K; twice the outputs when None, and at most 500.
        scale: of the numbers, uniform in [-scale, scale].
        seed: of the numbers.

    Returns:
        Shares by lag and what they add up to.

    Raises:
        OptionError: when lags or scale are not above 0.

    Example:
        >>> from throughtime.layers import make
        >>> _ = torch.manual_seed(0)
        >>> found = memory_capacity(make("convolution", 1, 8, width=4))
        >>> round(found.total, 2), found.reach
        (4.0, 3)
    """
    layer = as_layer(layer)
    count = min(2 * layer.output_size, 500) if lags is None else lags
    if count < 1 or scale <= 0:
        raise OptionError(f"expected lags of 1 or more and a scale above 0, got {count}, {scale}")
    generator = torch.Generator().manual_seed(seed)
    washout = 2 * count + 100
    steps = washout + TRAIN + TEST
    u = scale * (2 * torch.rand(steps, dtype=torch.float64, generator=generator) - 1)
    way = torch.randn(layer.input_size, dtype=torch.float64, generator=generator)
    x = u[:, None] * (way / way.norm() if layer.input_size > 1 else torch.ones_like(way))
    own = next(chain(layer.parameters(), layer.buffers()), u)
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad():
            y, _ = layer(x.to(own.device, own.dtype)[None])
    finally:
        layer.train(training)
    past = torch.stack([u[washout - k : steps - k] for k in range(count)], 1)
    read = torch.cat([y[0, washout:].double().cpu(), torch.ones(TRAIN + TEST, 1).double()], 1)
    errors, spread = _judge(read, past)
    explained = _explained(errors.mean(0), spread.mean(0))

    def total(chosen: Tensor) -> Tensor:
        return _explained(errors[chosen].mean(0), spread[chosen].mean(0)).sum()

    half = torch.nonzero(explained >= 0.5)
    return MemoryCapacity(
        explained,
        float(explained.sum()),
        interval_of(total, len(errors), block=_BLOCK, seed=seed),
        layer.output_size,
        int(half[-1]) if len(half) else -1,
    )


def _judge(read: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared errors and squared deviations (TEST, K) of read-outs of the past."""
    fitted, judged = read[:TRAIN], read[TRAIN:]
    gram = fitted.T @ fitted
    gram += RIDGE * gram.diagonal().max() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, fitted.T @ past[:TRAIN])
    wanted = past[TRAIN:]
    return (judged @ weights - wanted) ** 2, (wanted - wanted.mean(0)) ** 2


def _explained(error: Tensor, spread: Tensor) -> Tensor:
    share = 1 - error / spread
    return torch.where(share < LEAST, 0, share)
