"""Forecasts that cost nothing or next to nothing, to be shown beside every trained model.

Last value, seasonal naive and a ridge regression on lags, each direct for every step ahead, fitted
on the training rows and given intervals by their errors on the validation rows. Scoring is in
`metrics`; nothing here looks at a test row before it is in the past.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from throughtime.errors import OptionError, ShapeError
from throughtime.tasks.metrics import forecast_metrics, mase_scale, training_std
from throughtime.tasks.scaling import Scale, fit_scale

Array = npt.NDArray[np.float64]

DEFAULT_LAGS = (48, 336)
DEFAULT_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties to choose from, for each row and for lags of about unit size."""

_ROWS_FOR_A_LAG = 4
_ROWS_FOR_OWN_INTERVAL = 100
_CHUNK = 4096


@dataclass(frozen=True)
class Split:
    """One series and the rows of it that may be learned from.

    Attributes:
        y: the whole series (T,), NaN where missing.
        train: rows to fit on.
        validation: rows to choose the penalty and the intervals on.

    Raises:
        ShapeError: `y` is not one column of numbers.
    """

    y: np.ndarray
    train: slice
    validation: slice

    def __post_init__(self) -> None:
        if self.y.ndim != 1 or self.y.dtype.kind != "f":
            raise ShapeError(
                f"expected y as float numbers (T,), got {self.y.dtype} of shape {self.y.shape}"
            )


@dataclass(frozen=True)
class Baseline:
    """Forecasts of every row of every series.

    Row t of column k is the forecast of `y[t]` made k + 1 steps before it, from nothing later than
    `y[t - k - 1]`. Every row has a forecast, the first ones from the training part's median.

    Attributes:
        name: for example `last_value`, `seasonal_naive(48)`, `ridge(336)`.
        mean: forecasts (T, K) of each series, K steps ahead, in the data's units.
        errors: quantiles (K, Q) of `y - mean` on the validation rows, of each series.
        levels: levels (Q,) of the quantiles.
    """

    name: str
    mean: tuple[Array, ...]
    errors: tuple[Array, ...]
    levels: tuple[float, ...]

    def quantiles(self, index: int, rows: slice) -> Array:
        """Forecast quantiles (R, K, Q) of the R rows `rows` of series number `index`."""
        return self.mean[index][rows, :, None] + self.errors[index]

    def score(
        self, splits: Sequence[Split], rows: Sequence[slice], *, season: int = 1
    ) -> dict[str, float]:
        """Score the rows `rows[i]` of each series, all steps ahead together.

        Args:
            splits: the same series as the forecasts.
            rows: which rows of each series to score.
            season: season of the scale that mase divides by.
        """
        targets, means, quantiles, scales, spreads = [], [], [], [], []
        for index, (own, chosen) in enumerate(zip(splits, rows, strict=True)):
            mean = self.mean[index][chosen]
            shape = mean.shape
            targets.append(np.broadcast_to(own.y[chosen, None], shape).ravel())
            means.append(mean.ravel())
            quantiles.append(self.quantiles(index, chosen).reshape(-1, len(self.levels)))
            train = own.y[own.train]
            scales.append(np.full(mean.size, mase_scale(train, season)))
            spreads.append(np.full(mean.size, training_std(train)))
        return forecast_metrics(
            np.concatenate(targets),
            np.concatenate(quantiles),
            np.array(self.levels),
            np.concatenate(scales),
            np.concatenate(spreads),
            mean=np.concatenate(means),
        )


def default_lags(train_lengths: Sequence[int]) -> tuple[int, ...]:
    """Lag counts of the ridge baselines: 48 and 336 where the longest training part allows.

    A count is shown if the part has four rows for each lag; if not even 48 is, one shorter count
    is, a quarter of the part.

    Example:
        >>> default_lags([7224]), default_lags([1000]), default_lags([40])
        ((48, 336), (48,), (10,))
    """
    longest = max(train_lengths, default=0)
    fitting = tuple(lags for lags in DEFAULT_LAGS if longest >= _ROWS_FOR_A_LAG * lags)
    return fitting or (max(1, longest // _ROWS_FOR_A_LAG),)


def default_baselines(
    splits: Sequence[Split],
    *,
    season: int = 1,
    horizon: int = 1,
    levels: Sequence[float] = DEFAULT_LEVELS,
) -> tuple[Baseline, ...]:
    """The baselines of every table: last value, seasonal naive if there is a season, ridges."""
    found = [last_value(splits, horizon=horizon, levels=levels)]
    if season > 1:
        found.append(seasonal_naive(splits, season, horizon=horizon, levels=levels))
    for lags in default_lags([_length(own.y, own.train) for own in splits]):
        found.append(ridge(splits, lags, horizon=horizon, levels=levels))
    return tuple(found)


def last_value(
    splits: Sequence[Split], *, horizon: int = 1, levels: Sequence[float] = DEFAULT_LEVELS
) -> Baseline:
    """Forecast the last value seen, however long ago.

    Args:
        splits: the series.
        horizon: K, steps ahead.
        levels: levels of the quantiles.

    Example:
        >>> split = Split(np.array([1.0, 2.0, np.nan, 4.0]), slice(0, 2), slice(2, 4))
        >>> last_value([split]).mean[0][:, 0].tolist()
        [1.5, 1.0, 2.0, 2.0]
    """
    _check(splits, horizon, 1, "lag")
    means = [_held(own, fit_scale(own.y[own.train]), horizon) for own in splits]
    return _with_intervals("last_value", splits, means, levels)


def seasonal_naive(
    splits: Sequence[Split],
    season: int,
    *,
    horizon: int = 1,
    levels: Sequence[float] = DEFAULT_LEVELS,
) -> Baseline:
    """Forecast the last value seen at the same place in the season; before that, the last value.

    Args:
        splits: the series.
        season: steps in a season.
        horizon: K, steps ahead.
        levels: levels of the quantiles.

    Raises:
        OptionError: `season` or `horizon` is below 1.
    """
    _check(splits, horizon, season, "season")
    means = []
    for own in splits:
        length = own.y.size
        padded = np.full(-(-max(length, 1) // season) * season, math.nan)
        padded[:length] = own.y
        same_phase = _fill_forward(padded.reshape(-1, season)).ravel()[:length]
        mean = _held(own, fit_scale(own.y[own.train]), horizon)
        for k in range(horizon):
            # as many whole seasons back as it takes to be in the past when the forecast is made
            back = -(-(k + 1) // season) * season
            earlier = same_phase[: max(length - back, 0)]
            mean[back:, k] = np.where(np.isnan(earlier), mean[back:, k], earlier)
        means.append(mean)
    return _with_intervals(f"seasonal_naive({season})", splits, means, levels)


def ridge(
    splits: Sequence[Split],
    lags: int,
    *,
    horizon: int = 1,
    levels: Sequence[float] = DEFAULT_LEVELS,
) -> Baseline:
    """One ridge regression on the last `lags` values, for all series together.

    Each series is scaled by the median and interquartile range of its training rows. For each step
    ahead, `w` minimises `sum (y - w x - b)**2 + n penalty |w|**2` over the n training rows, and the
    penalty is the one of `PENALTIES` with the smallest error on the validation rows (Hoerl and
    Kennard 1970). A missing lag holds the value before it; rows with fewer than `lags` rows before
    the forecast is made take the last value instead.

    Args:
        splits: the series.
        lags: number of lags.
        horizon: K, steps ahead; each has its own regression.
        levels: levels of the quantiles.

    Raises:
        OptionError: `lags` or `horizon` is below 1.
    """
    _check(splits, horizon, lags, "number of lags")
    scales = [fit_scale(own.y[own.train]) for own in splits]
    scaled = [(own.y - s.location) / s.scale for own, s in zip(splits, scales, strict=True)]
    inputs = [_fill_forward(y) for y in scaled]
    chosen = _fit_ridge(splits, scaled, inputs, lags, horizon)
    means = []
    for own, scale, filled in zip(splits, scales, inputs, strict=True):
        mean = _held(own, scale, horizon)
        for first, x in _windows(filled, lags, 0, own.y.size - 1):
            made = (x @ chosen).numpy() * scale.scale + scale.location
            for k in range(horizon):
                # the forecast made at row t is of row t + k + 1
                to = slice(first + k + 1, min(first + k + 1 + len(made), own.y.size))
                fresh = made[: max(to.stop - to.start, 0), k]
                mean[to, k] = np.where(np.isnan(fresh), mean[to, k], fresh)
        means.append(mean)
    return _with_intervals(f"ridge({lags})", splits, means, levels)


def _fit_ridge(
    splits: Sequence[Split],
    scaled: Sequence[Array],
    inputs: Sequence[Array],
    lags: int,
    horizon: int,
) -> torch.Tensor:
    """Weights (lags + 1, K), the last row the intercept; zero where there is nothing to fit."""
    weights = torch.zeros(lags + 1, horizon, dtype=torch.float64)
    for k in range(horizon):
        fit = _moments(zip(inputs, scaled, (s.train for s in splits), strict=True), lags, k)
        test = _moments(zip(inputs, scaled, (s.validation for s in splits), strict=True), lags, k)
        if fit.rows == 0:
            continue
        best = math.inf
        for penalty in PENALTIES:
            added = torch.full((lags + 1,), penalty * fit.rows, dtype=torch.float64)
            added[-1] = 0.0
            factor, failed = torch.linalg.cholesky_ex(fit.xx + torch.diag(added))
            if failed:
                continue
            w = torch.cholesky_solve(fit.xy[:, None], factor)[:, 0]
            # sum of squared errors on the validation rows, less a constant
            error = float(w @ test.xx @ w - 2 * w @ test.xy)
            if error < best:
                best, weights[:, k] = error, w
    return weights


@dataclass(frozen=True)
class _Moments:
    """Sums over rows that a ridge regression needs."""

    xx: torch.Tensor
    xy: torch.Tensor
    rows: int


def _moments(
    parts: Iterator[tuple[Array, Array, slice]], lags: int, step: int
) -> _Moments:
    xx = torch.zeros(lags + 1, lags + 1, dtype=torch.float64)
    xy = torch.zeros(lags + 1, dtype=torch.float64)
    rows = 0
    for filled, target, part in parts:
        start, stop, _ = part.indices(target.size)
        for first, x in _windows(filled, lags, start - step - 1, stop - step - 1):
            y = torch.from_numpy(target[first + step + 1 : first + step + 1 + len(x)])
            there = ~(torch.isnan(y) | torch.isnan(x[:, 0]))
            x, y = x[there], y[there]
            xx += x.T @ x
            xy += x.T @ y
            rows += len(y)
    return _Moments(xx, xy, rows)
