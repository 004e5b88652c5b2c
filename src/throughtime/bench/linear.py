r"""Part `linear`: training a diagonal linear recurrence, against two parallel scans.

$$h_t = a_t \odot h_{t-1} + b_t, \quad h_0 = b_0$$

The peers are torch's associative scan, and the scan over logarithms of Heinsen (2023,
https://arxiv.org/abs/2311.06281) that minGRU (Feng et al. 2024, https://arxiv.org/abs/2410.01201)
is usually written with. The latter is given the logarithms of a and b and gradients are
taken with respect to these, as there; it needs positive ones, so those are drawn.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from throughtime import kernels
from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.measure import Effort, Way, agree, drawn, interleave
from throughtime.bench.pairs import FLOAT32, as_text

SIZE = (8, 1024, 256)
"""B lanes, T steps, N states."""
ASSOCIATIVE, LOGARITHMIC = "associative_scan", "log-space scan"
ASKED = {ASSOCIATIVE: 5.0, LOGARITHMIC: 20.0}
IN_LOGARITHMS = 1e-2
"""Sums over a whole sequence are taken from one another, which costs digits."""

Scan = Callable[[Tensor, Tensor], Tensor]


def cases(*, quick: bool) -> list[Case]:
    """Return the one case; it is quick."""
    plan = tuple(
        Figure(
            part="linear",
            layer="linear",
            case=as_text(SIZE),
            peer=peer,
            unit="ms",
            asked=(Bar("ratio", "at least", bar),),
            size=SIZE,
        )
        for peer, bar in ASKED.items()
    )
    return [Case(plan, _measure, 6.0)]


def associative(a: Tensor, b: Tensor) -> Tensor:
    """Return h (B, T, N) by torch's associative scan, which on CPU has the mode "generic" alone.

    Args:
        a: (B, T, N).
        b: (B, T, N).
    """
    from torch._higher_order_ops import associative_scan

    def combine(first: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return first[0] * then[0], first[1] * then[0] + then[1]

    scan: Any = associative_scan
    _, h = scan(combine, (a, b), dim=1, combine_mode="generic")
    out: Tensor = h
    return out


def logarithmic(log_a: Tensor, log_b: Tensor) -> Tensor:
    r"""Return h (B, T, N) from logarithms.

    $$\log h_t = A_t + \log \sum_{s \le t} \exp(\log b_s - A_s), \quad
      A_t = \sum_{s \le t} \log a_s$$

    Args:
        log_a: (B, T, N).
        log_b: (B, T, N).
    """
    total = log_a.cumsum(dim=1)
    return (total + (log_b - total).logcumsumexp(dim=1)).exp()


class _Scan:
    """Forward and backward of a scan, with gradients of both inputs."""

    def __init__(self, scan: Scan, first: Tensor, second: Tensor, weighting: Tensor) -> None:
        self.scan = scan
        self.inputs = (first.clone().requires_grad_(), second.clone().requires_grad_())
        self.weighting = self.h = weighting

    @property
    def way(self) -> Way:
        return Way(self, self.clear)

    def clear(self) -> None:
        self.h = self.weighting
        for tensor in self.inputs:
            tensor.grad = None

    def __call__(self) -> None:
        h = self.scan(*self.inputs)
        torch.autograd.backward(h, self.weighting)
        self.h = h.detach()

    def results(self, *, scales: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
        """Return h and the gradients, divided by `scales`."""
        gradients = [tensor.grad for tensor in self.inputs]
        da, db = (torch.empty(0) if gradient is None else gradient for gradient in gradients)
        if scales is not None:
            da, db = da / scales[0], db / scales[1]
        return {"h": self.h, "gradient of a": da, "gradient of b": db}


def _measure(plan: Plan, effort: Effort) -> list[Figure]:
    against_associative, against_logarithmic = plan
    # a in (0.5, 1): what is remembered; b away from zero, whose logarithm has no gradient.
    a = torch.sigmoid(drawn(*SIZE, seed=1) + 2).clamp(min=0.5)
    b = drawn(*SIZE, seed=2).abs() + 0.01
    weighting = drawn(*SIZE, seed=3)
    start = torch.zeros(SIZE[0], SIZE[2])

    def ours(a: Tensor, b: Tensor) -> Tensor:
        h, _ = kernels.linear_recurrence(a, b, start)
        return h

    scans = {
        "ours": _Scan(ours, a, b, weighting),
        ASSOCIATIVE: _Scan(associative, a, b, weighting),
        LOGARITHMIC: _Scan(logarithmic, a.log(), b.log(), weighting),
    }
    times = interleave({name: scan.way for name, scan in scans.items()}, effort)
    taken = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    own = scans["ours"].results()
    exact = agree(own, scans[ASSOCIATIVE].results(), FLOAT32)
    # The gradient with respect to log a is a times the one with respect to a.
    rough = agree(own, scans[LOGARITHMIC].results(scales=(a, b)), IN_LOGARITHMS)
    return [
        against_associative.measured(taken["ours"], taken[ASSOCIATIVE], difference=exact),
        against_logarithmic.measured(taken["ours"], taken[LOGARITHMIC], difference=rough),
    ]
