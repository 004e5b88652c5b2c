"""Robust scaling of series: one location and one scale for each, from its training rows.

Models see `(y - location) / scale`; everything that is shown to people is in the data's own units.
Only the numbers are here: which rows are training rows is decided in `data.splits`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from throughtime.errors import BundleError, OptionError

IQR_OF_NORMAL = 1.349
"""Interquartile range of the standard normal distribution, 2 * 0.6745."""

_MAXIMUM_SERIES = 10_000_000

# larger numbers have no finite square, so they are taken for faults in the data
_LARGEST = 1e150


@dataclass(frozen=True)
class Scale:
    """Location and scale of one series, in the data's units.

    Raises:
        OptionError: a number is not finite, or the scale is not above zero.
    """

    location: float
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.location) and math.isfinite(self.scale) and self.scale > 0):
            raise OptionError(
                "expected a finite location and a finite scale above zero, got "
                f"{self.location!r} and {self.scale!r}; fit them to the training rows"
            )


def fit_scale(values: np.ndarray) -> Scale:
    """Location and scale of `values`, any shape; NaN and what is beyond 1e150 are left out.

    The location is the median. The scale is the interquartile range / 1.349, which is the standard
    deviation where the values are normal and ignores outliers up to a quarter of the rows on each
    side. Where the range is zero (a series that mostly stands still) it is the standard deviation,
    and where that is zero too, or there are no values, 1.

    Example:
        >>> fit_scale(np.array([1.0, 2.0, 3.0, 1e9, np.nan])).location
        2.5
    """
    seen = np.asarray(values, dtype=np.float64)
    seen = seen[np.abs(seen) < _LARGEST]
    if seen.size == 0:
        return Scale(0.0, 1.0)
    # a spread below the rounding of the values themselves is no spread
    floor = 64 * np.finfo(np.float64).eps * float(np.abs(seen).max())
    low, location, high = np.quantile(seen, (0.25, 0.5, 0.75))
    candidates = ((high - low) / IQR_OF_NORMAL, seen.std())
    scale = next((float(s) for s in candidates if s > floor), 1.0)
    return Scale(float(location), scale)


@dataclass(frozen=True)
class RobustScaler:
    """The scales of many series, and one for series that training never saw.

    Attributes:
        series: scale of each series, by `unique_id`.
        pooled: scale of all training values together, used for any other series.

    Example:
        >>> scaler = RobustScaler.fit({"a": np.array([1.0, 2.0, 3.0])})
        >>> scaler.undo("a", scaler.apply("a", np.array([5.0]))).tolist()
        [5.0]
    """

    series: dict[str, Scale]
    pooled: Scale

    @classmethod
    def fit(cls, training: Mapping[str, np.ndarray]) -> "RobustScaler":
        """Fit on the training rows (T,) of each series; NaN is left out.

        A series without a single training value gets no scale of its own.
        """
        seen = {key: np.asarray(y, dtype=np.float64) for key, y in training.items()}
        scales = {key: fit_scale(y) for key, y in seen.items() if (np.abs(y) < _LARGEST).any()}
        together = [y.ravel() for y in seen.values()] or [np.zeros(0)]
        return cls(scales, fit_scale(np.concatenate(together)))

    def scale_of(self, unique_id: str) -> Scale:
        """Scale of a series, the pooled one if training never saw it."""
        return self.series.get(unique_id, self.pooled)

    def apply(self, unique_id: str, values: np.ndarray) -> npt.NDArray[np.float64]:
        """Values of any shape from the data's units to the model's; NaN stays NaN."""
        own = self.scale_of(unique_id)
        return (np.asarray(values, dtype=np.float64) - own.location) / own.scale

    def undo(self, unique_id: str, values: np.ndarray) -> npt.NDArray[np.float64]:
        """Values of any shape from the model's units back to the data's; NaN stays NaN."""
        own = self.scale_of(unique_id)
        return np.asarray(values, dtype=np.float64) * own.scale + own.location

    def to_json(self) -> dict[str, object]:
        """A dictionary for `json.dumps`, which writes floats so that they read back exactly."""
        series = {key: [own.location, own.scale] for key, own in self.series.items()}
        return {"series": series, "pooled": [self.pooled.location, self.pooled.scale]}

    @classmethod
    def from_json(cls, content: object) -> "RobustScaler":
        """Read what `to_json` gave, after any trip through JSON, trusting nothing.

        Raises:
            BundleError: fields are missing or foreign, or a number is not usable as a scale.
        """
        if not isinstance(content, dict) or set(content) != {"series", "pooled"}:
            got = sorted(map(str, content))[:9] if isinstance(content, dict) else type(content)
            raise BundleError(f"expected a scaler with fields pooled and series, got {got}")
        series = content["series"]
        if not isinstance(series, dict) or len(series) > _MAXIMUM_SERIES:
            raise BundleError(
                f"expected a scaler's series as up to {_MAXIMUM_SERIES:,} named pairs, got "
                f"{type(series).__name__}; restore the file or train again"
            )
        if not all(isinstance(key, str) for key in series):
            raise BundleError("expected names of series as text; restore the file or train again")
        scales = {key: _read_scale(key, pair) for key, pair in series.items()}
        return cls(scales, _read_scale("pooled", content["pooled"]))


def _read_scale(name: str, pair: object) -> Scale:
    if (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(number) in (int, float) for number in pair)
    ):
        try:
            return Scale(float(pair[0]), float(pair[1]))
        except (OptionError, OverflowError):
            pass
    raise BundleError(
        f"expected a finite location and a scale above zero for {name[:60]!r}, got "
        f"{pair!r:.80}; restore the file or train again"
    )
