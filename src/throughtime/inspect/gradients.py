"""How far back gradients reach: the total derivative of a loss by the state after each step.

The gradient that `y.retain_grad()` shows is that of the output alone: what a state does to later
steps goes past it, inside the kernel. Here every state is a node of the graph of its own, so its
gradient is the whole one.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.inspect.layer import as_layer
from throughtime.inspect.leaves import float_leaves, is_float
from throughtime.state import State

Loss = Callable[[Tensor], Tensor]

SMALLEST = torch.finfo(torch.float32).tiny
"""Norms below this are less than a float32 holds with all its digits."""
_AS_THEY_CAME = ("inputs", "previous")
"""Leaves of past inputs, which a layer keeps and does not compute."""


class GradientByLag(NamedTuple):
    """Norms of dL/d state by how many steps the state is before the last one.

    Shape letters: B lanes, K lags, up to T.

    Attributes:
        norms: (K, B) float64: row k is of the states k steps before the last step of each lane;
            NaN before a lane's first step, or its last reset.
        leaf: the name of the leaf that `norms` is of.
        by_leaf: the norms of every leaf of the state, by name.
        slope: change of the natural logarithm of the median norm in one step back; NaN, as are the
            two that follow from it, where there are no two lags to fit it to.
        underflow: the first lag at which a median is below what float32 holds, None where none is.
            Zeros at lags before any gradient do not count: in many layers what is handed on after
            the last step has no part in its output.
    """

    norms: Tensor
    leaf: str
    by_leaf: Mapping[str, Tensor]
    slope: float
    underflow: int | None

    @property
    def half_life(self) -> float:
        """Steps back in which the gradient halves; infinite where it does not shrink."""
        return _doubling(-self.slope)

    @property
    def doubling(self) -> float:
        """Steps back in which the gradient doubles; infinite where it does not grow."""
        return _doubling(self.slope)

    @property
    def median(self) -> Tensor:
        """(K,): the median over lanes."""
        return self.norms.nanquantile(0.5, dim=1)

    def reach(self, share: float) -> int:
        """Return the lag that a share of all gradients is within, summed over lanes."""
        total = self.norms.nan_to_num().sum(1).cumsum(0)
        return int((total < share * total[-1]).sum())

    def band(self, least: float = 0.1, most: float = 0.9) -> tuple[Tensor, Tensor]:
        """Two quantiles over lanes, (K,) each."""
        return self.norms.nanquantile(least, dim=1), self.norms.nanquantile(most, dim=1)


def gradient_by_lag(
    layer: nn.Module,
    x: Tensor,
    loss_of_output: Loss,
    *,
    state: State | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    leaf: str | None = None,
) -> GradientByLag:
    """Measure how much a loss depends on the states of earlier steps.

    Shape letters: B lanes, T steps, F features, D outputs.

    Args:
        layer: any layer or stack, or an `nn.RNN`, `nn.LSTM` or `nn.GRU`.
        x: (B, T, F).
        loss_of_output: from y (B, T, D) to a loss, of which each lane has a part of its own: a sum
            or a mean over lanes, or (B,). Of the last step alone, it shows how far back that sees.
        state: before step 0; the initial one when None.
        lengths: (B,) int64 or None when every step is there. Lags count from a lane's last step.
        resets: (B, T) bool or None.
        leaf: name of the leaf that `norms` and `half_life` are of. When None the cell c where there
            is one, since that is what an LSTM remembers by, else what the uppermost layer computes,
            and not the past inputs that it keeps.

    Returns:
        Norms by lag and what follows from them.

    Raises:
        OptionError: when there is no such leaf, no lane or step, or the loss has no gradient.

    Example:
        >>> from throughtime.layers import GRU
        >>> _ = torch.manual_seed(0)
        >>> found = gradient_by_lag(GRU(2, 8), torch.randn(4, 30, 2), lambda y: y[:, -1].sum())
        >>> found.norms.shape, 0.5 < found.half_life < 5
        (torch.Size([30, 4]), True)
    """
    gradients = state_gradients(
        layer, x, loss_of_output, state=state, lengths=lengths, resets=resets
    )
    norms = {name: _by_lag(each, lengths, resets) for name, each in gradients.items()}
    leaf = _chosen(leaf, list(norms))
    slope, underflow = _decay(norms[leaf])
    return GradientByLag(norms[leaf], leaf, norms, slope, underflow)


def state_gradients(
    layer: nn.Module,
    x: Tensor,
    loss_of_output: Loss,
    *,
    state: State | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return dL/d state after each step, the total derivative, by the name of each leaf.

    The layer is run step by step; by law 1 that is what it computes however it is run.

    Args:
        layer: any layer or stack, or an `nn.RNN`, `nn.LSTM` or `nn.GRU`.
        x: (B, T, F).
        loss_of_output: from y (B, T, D) to a loss.
        state: before step 0; the initial one when None.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None.

    Returns:
        (B, T, ...) for each leaf with floating-point numbers; zero where a step is not there.

    Raises:
        OptionError: when there is no lane or step, or the loss has no gradient.
    """
    layer = as_layer(layer)
    lanes, steps = x.shape[:2]
    if not lanes or not steps:
        raise OptionError(f"expected x with a lane and a step or more, got {tuple(x.shape)}")
    current = layer.initial_state(lanes, device=x.device) if state is None else state
    # Where parameters are frozen, the states still have to be in a graph.
    current = states.tree_map(_watched, states.detach(current))
    outputs, passed = [], []
    with torch.enable_grad(), kernels.use("reference"):
        for t in range(steps):
            reset = None if resets is None else resets[:, t]
            y, current = layer.step(x[:, t].detach(), current, reset=reset)
            outputs.append(y)
            passed.append(float_leaves(current))
        y = torch.stack(outputs, 1)
        if lengths is not None:
            present = torch.arange(steps, device=x.device) < lengths[:, None]
            y = y.masked_fill(~present[:, :, None], 0)
        loss = loss_of_output(y).sum()
        if not loss.requires_grad:
            raise OptionError(
                "expected a loss that is computed from the output, got one without a gradient; "
                "leave out detach() and torch.inference_mode()"
            )
        flat = [leaf for step in passed for leaf in step.values()]
        wanted = [leaf for leaf in flat if leaf.requires_grad]
        found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    gradients = dict(zip(map(id, wanted), found, strict=True))
    return {
        name: torch.stack(
            [gradients.get(id(step[name]), torch.zeros_like(step[name])) for step in passed], 1
        )
        for name in passed[0]
    }


def _watched(leaf: Tensor) -> Tensor:
    return leaf.requires_grad_() if is_float(leaf) else leaf


def _by_lag(gradients: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Tensor:
    """Return norms (K, B), in float64: squares of small float32 numbers are zero in float32."""
    norms = gradients.flatten(2).to(torch.complex128 if gradients.is_complex() else torch.float64)
    by_step: Tensor = torch.linalg.vector_norm(norms, dim=2).T.contiguous()
    steps = len(by_step)
    last = torch.full_like(by_step[:1], steps - 1, dtype=torch.int64)
    if lengths is not None:
        last = lengths[None].to(last.device) - 1
    first = torch.zeros_like(last)
    if resets is not None:
        # No gradient passes a reset, which is not to be taken for one that is small.
        places = torch.arange(steps, device=resets.device)
        first = torch.where(resets & (places <= last.T), places, 0).amax(1)[None]
    at = last - torch.arange(steps, device=gradients.device)[:, None]
    return by_step.gather(0, at.clamp(min=0)).masked_fill(at < first, math.nan)


def _chosen(leaf: str | None, names: list[str]) -> str:
    if leaf is None:
        # The last ones are of the uppermost layer.
        cells = [name for name in names if name.split(".")[-1] == "c"]
        computed = [name for name in names if name.split(".")[-1] not in _AS_THEY_CAME]
        return (cells or computed or names)[-1]
    if leaf not in names:
        raise OptionError(f"expected a leaf among {', '.join(names)}, got {leaf!r}")
    return leaf


def _decay(norms: Tensor) -> tuple[float, int | None]:
    """Return the slope of the median's logarithm, by least squares, and where it underflows."""
    median = norms.nanquantile(0.5, dim=1)
    median = median[: int((~median.isnan()).sum())]
    held = torch.nonzero(median >= SMALLEST).flatten()
    first = int(held[0]) if len(held) else 0
    low = first + torch.nonzero(median[first:] < SMALLEST).flatten()
    floor = int(low[0]) if len(low) else len(median)
    logarithms = median[first:floor].log()
    lags = torch.arange(first, floor, dtype=torch.float64, device=norms.device)
    lags = lags - lags.mean()
    slope = float((lags * logarithms).sum() / (lags * lags).sum()) if len(lags) > 1 else math.nan
    return slope, floor if len(low) else None


def _doubling(slope: float) -> float:
    if math.isnan(slope):
        return slope
    return math.log(2) / slope if slope > 0 else math.inf
