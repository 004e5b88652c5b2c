"""Where the states of a stretch go, and where they would come to rest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.inspect.dynamics import FIXED, FixedPoints, fixed_points, principal_components
from throughtime.inspect.leaves import float_leaves
from throughtime.inspect.report.reading import NotMeasured, Units, states_at
from throughtime.model import SequenceModel

STARTS = 8
"""States of the stretch that resting states are searched from."""
SEARCHED = 320
"""Numbers of a state up to which resting states are searched: time goes with their cube."""
SLOW = 1e-3
"""How far a state may move in a step, relative to its size, to count as slow."""
_NEWTON = 25


class Rest(NamedTuple):
    """States that an input, given again and again, leaves where they are, or nearly.

    Attributes:
        under: the input, in words.
        points: (P, 2) in the components of the path.
        speeds: (P,) as in `FixedPoints`.
        unstable: (P,) as in `FixedPoints`.
    """

    under: str
    points: Tensor
    speeds: Tensor
    unstable: Tensor

    @property
    def fixed(self) -> Tensor:
        """(P,) bool: whether each stays where it is, and does not only move slowly."""
        return self.speeds < FIXED


class Path(NamedTuple):
    """The states of the uppermost layer over the stretch, in two principal components.

    Attributes:
        layer: as in `Units`.
        what: as in `Units`.
        points: (T, 2).
        shares: (2,) of the variance that each component has.
        rest: where states come to rest.
    """

    layer: str
    what: str
    points: Tensor
    shares: Tensor
    rest: Rest | NotMeasured


def path(
    model: SequenceModel,
    units: Sequence[Units],
    inputs: Tensor,
    start: int,
    under: tuple[str, Tensor],
    *,
    resets: Tensor | None = None,
) -> Path | NotMeasured:
    """Draw the states of a stretch, and search where they come to rest.

    Args:
        model: in evaluation mode.
        units: of each layer over the stretch.
        inputs: (L, F) or (L,) int64.
        start: where the stretch begins.
        under: an input in words, and as the layers get it, (F,).
        resets: (L,) bool or None.
    """
    shown = units[-1]
    if min(shown.values.shape) < 2:
        return NotMeasured("a path needs two steps and two units")
    found = principal_components(shown.values[None])
    rest: Rest | NotMeasured
    if shown.offset is None:
        rest = NotMeasured(
            "the state of the uppermost layer is no vector (a window or a matrix), so the path is "
            "that of its outputs, and resting states have no place in it"
        )
    else:
        size = sum(leaf.numel() for leaf in float_leaves(model.layers.initial_state(1)).values())
        if size > SEARCHED:
            rest = NotMeasured(
                f"resting states were not searched: the state has {size:,} numbers, and the time "
                f"of the search goes with their cube; up to {SEARCHED} are searched"
            )
        else:
            places = np.linspace(start, len(inputs), STARTS).astype(int).tolist()
            starts = states_at(model, inputs, places, resets=resets)
            name, x = under
            points = fixed_points(model.layers, x, starts, slow=True, steps=_NEWTON)
            first = size - shown.offset
            own = points.points[:, first : first + shown.values.shape[1]]
            rest = _rest(name, points, (own - found.mean) @ found.axes.T)
    return Path(shown.layer, shown.what, found.points[0], found.shares, rest)


def _rest(under: str, found: FixedPoints, points: Tensor) -> Rest:
    kept = found.speeds < SLOW
    return Rest(under, points[kept], found.speeds[kept], found.unstable[kept])


def usual_input(model: SequenceModel, inputs: Tensor) -> tuple[int | None, Tensor]:
    """Return the most frequent symbol and its vector, or None and the median of the features."""
    with torch.no_grad():
        if inputs.is_floating_point():
            return None, inputs.median(0).values
        symbol = inputs.mode().values
        return int(symbol), model._encode(symbol[None])[0]
