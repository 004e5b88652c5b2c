"""Where states come to rest: fixed and slow points under one input, and whether they are stable."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.inspect.flow import Flow
from throughtime.inspect.layer import as_layer
from throughtime.state import State

STEPS = 200
"""Newton's method needs ten from nearby; from afar it is damped, and goes astray first."""
FIXED, SLOW = 1e-9, 1e-2
"""How far a state may move in a step, relative to its size, to be a fixed and a slow point."""
_SAME = 1e-3


class FixedPoints(NamedTuple):
    """States that a step leaves nearly where they are.

    Shape letters: P points, S numbers of a state.

    Attributes:
        points: (P, S) float64, the leaves of the state one after the other.
        speeds: (P,): how far each moves in a step, relative to 1 and its size.
        eigenvalues: (P, S) complex128 of the derivative of a step there, the largest first.
        found: (P,): how many starts ended there.
    """

    points: Tensor
    speeds: Tensor
    eigenvalues: Tensor
    found: Tensor

    @property
    def unstable(self) -> Tensor:
        """(P,): along how many directions states go away; 0 where it is stable."""
        return (self.eigenvalues.abs() > 1).sum(1)


def fixed_points(
    layer: nn.Module, x: Tensor, starts: State, *, slow: bool = False, steps: int = STEPS
) -> FixedPoints:
    r"""Find where a layer rests under an input that stays the same.

    From each start, Newton's method goes to where $F(s, x) = s$, shortened where it would lead away
    (Sussillo and Barak 2013, "Opening the black box"). Points that are the same are counted once.

    Args:
        layer: any layer or stack, or one of torch.nn's.
        x: (F,): the input.
        starts: (N, ...) states, such as those of a run; noise around them finds more.
        slow: also return points that are not fixed and hardly move.
        steps: of Newton's method, at most.

    Returns:
        Points, the ones that most starts lead to first.

    Raises:
        OptionError: when x is not one input.

    Example:
        A GRU of one unit that remembers one bit rests in two states, and on the edge between:

        >>> from throughtime.layers import GRU
        >>> layer = GRU(1, 1)
        >>> with torch.no_grad():
        ...     for parameter in layer.parameters():
        ...         _ = parameter.zero_()
        ...     _ = layer.weight_hh[2].fill_(3.0)
        ...     _ = layer.bias_ih[0].fill_(9.0)
        >>> found = fixed_points(layer, torch.zeros(1), layer.initial_state(1)._replace(
        ...     h=torch.linspace(-1, 1, 9)[:, None]))
        >>> sorted(found.points.flatten().round(decimals=2).tolist()), found.unstable.sum()
        ([-0.99, 0.0, 0.99], tensor(1))
    """
    layer = as_layer(layer)
    if x.dim() != 1 or len(x) != layer.input_size:
        raise OptionError(f"expected x as ({layer.input_size},), got {tuple(x.shape)}")
    flow = Flow(layer)
    count = states.lanes(starts)
    inputs = x.double().expand(count, -1)
    starts = states.to(states.detach(starts), dtype=torch.float64)
    points, speeds = _newton(flow, inputs, flow.flat(starts), starts, steps)
    kept = speeds < (SLOW if slow else FIXED)
    points, speeds = points[kept], speeds[kept]
    chosen, found = _distinct(points, speeds)
    points, speeds = points[chosen], speeds[chosen]
    like = states.take(starts, torch.zeros(len(points), dtype=torch.int64))
    _, jacobian = flow.jacobian(inputs[: len(points)], points, like)
    eigenvalues = torch.linalg.eigvals(jacobian)
    order = eigenvalues.abs().argsort(1, descending=True)
    return FixedPoints(points, speeds, eigenvalues.gather(1, order), found)


def _newton(flow: Flow, x: Tensor, flat: Tensor, like: State, steps: int) -> tuple[Tensor, Tensor]:
    """Return where each start ends and how fast it still moves."""
    unit = torch.eye(flat.shape[1], dtype=flat.dtype)
    for _ in range(steps):
        moved, jacobian = flow.jacobian(x, flat, like)
        apart = moved - flat
        speed = _speed(apart, flat)
        if bool((speed < FIXED).all()):
            break
        # Where I - J has no inverse, the least of the steps that are as good.
        way = torch.linalg.lstsq(unit - jacobian, apart[:, :, None], driver="gelsd").solution[
            :, :, 0
        ]
        best, least = flat, speed
        for share in (1.0, 0.5, 0.25, 0.1, 0.03, 0.01):
            tried = flat + share * way
            with torch.no_grad():
                after = flow.flat(flow.step(x, flow.shaped(tried, like))[1])
            fast = _speed(after - tried, tried)
            better = fast < least
            best = torch.where(better[:, None], tried, best)
            least = torch.where(better, fast, least)
        # A start that Newton's method takes no further goes where the layer itself takes it.
        stuck = least >= speed
        flat = torch.where(stuck[:, None], moved, best)
    with torch.no_grad():
        moved = flow.flat(flow.step(x, flow.shaped(flat, like))[1])
    return flat, _speed(moved - flat, flat)


def _speed(apart: Tensor, flat: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(flat, dim=1)
    speed: Tensor = torch.linalg.vector_norm(apart, dim=1) / (1 + size)
    return speed


def _distinct(points: Tensor, speeds: Tensor) -> tuple[Tensor, Tensor]:
    """Return one place of each group of points that are the same, and how many each has."""
    waiting = speeds.argsort().tolist()
    chosen, counts = [], []
    while waiting:
        first = waiting[0]
        reach = _SAME * (1 + points[first].norm())
        near = [each for each in waiting if float((points[each] - points[first]).norm()) < reach]
        chosen.append(first)
        counts.append(len(near))
        waiting = [each for each in waiting if each not in set(near)]
    found = torch.tensor(counts, dtype=torch.int64)
    order = found.argsort(descending=True, stable=True)
    return torch.tensor(chosen, dtype=torch.int64)[order], found[order]


class Components(NamedTuple):
    """States along the directions in which they differ most.

    Attributes:
        points: (B, T, C): coordinates of each state.
        axes: (C, H): the directions.
        mean: (H,): what coordinates are relative to.
        shares: (C,): of the variance that each direction has.
    """

    points: Tensor
    axes: Tensor
    mean: Tensor
    shares: Tensor


def principal_components(h: Tensor, count: int = 2, *, lengths: Tensor | None = None) -> Components:
    """Return states (B, T, H) in their first principal components, (B, T, C).

    Args:
        h: (B, T, H), such as `replay(layer, x)["h"]`.
        count: C.
        lengths: (B,): steps beyond them have no part in the directions.

    Raises:
        OptionError: when there are not so many directions.
    """
    states_there = _present(h, lengths).double()
    most = min(states_there.shape)
    if not 1 <= count <= most:
        raise OptionError(f"expected a count of 1 to {most} directions, got {count}")
    mean = states_there.mean(0)
    _, sizes, axes = torch.linalg.svd(states_there - mean, full_matrices=False)
    shares = sizes**2 / (sizes**2).sum().clamp(min=1e-300)
    points = (h.detach().double() - mean) @ axes[:count].T
    return Components(points, axes[:count], mean, shares[:count])


def saturation(
    gate: Tensor, *, low: float = 0.1, high: float = 0.9, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return how much of the time each unit's gate is shut and open, (H,) each.

    Args:
        gate: (B, T, H) in [0, 1], such as `replay(layer, x)["f"]`.
        low: below this a gate is shut.
        high: above this it is open.
        lengths: (B,): steps beyond them don't count.
    """
    rows = _present(gate, lengths)
    return (rows < low).double().mean(0), (rows > high).double().mean(0)


def _present(numbers: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the rows (N, H) of the steps of (B, T, H) that are there."""
    numbers = numbers.detach()
    if lengths is None:
        return numbers.flatten(0, 1)
    return numbers[torch.arange(numbers.shape[1]) < lengths[:, None]]
