"""Forecasts that cost nothing or next to nothing, to be shown beside every trained model.

Last value, seasonal naive and a ridge regression on lags, each direct for every step ahead, fitted
on the training rows and given intervals by their errors on the rows before those that are scored.
Scoring is in `metrics`; nothing here looks at a test row before it is in the past.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from throughtime.errors import OptionError
from throughtime.tasks.metrics import Split, score_forecasts
from throughtime.tasks.scaling import Scale, fit_scale

Array = npt.NDArray[np.float64]

DEFAULT_LAGS = (48, 336)
DEFAULT_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties to choose from, for each row and for lags of about unit size."""

_PENALTY_UNJUDGED = 1e-2
_ROWS_FOR_A_LAG = 4
_ROWS_FOR_OWN_INTERVAL = 100
_CHUNK = 4096


@dataclass(frozen=True)
class Baseline:
    """Forecasts of every row of every series.

    Row t of column k is the forecast of `y[t]` made k + 1 steps before it, from nothing later than
    `y[t - k - 1]`. Every row has a forecast, the first ones from the training part's median.

    Attributes:
        name: for example `last_value`, `seasonal_naive(48)`, `ridge(336)`.
        mean: forecasts (T, K) of each series, K steps ahead, in the data's units.
        early_errors: quantiles (K, Q) of `y - mean` of each series on its last training rows, as
            many as there are validation rows: for the rows up to the validation part's end.
        errors: the same on the validation rows: for the rows behind them.
        levels: levels (Q,) of the quantiles.
    """

    name: str
    mean: tuple[Array, ...]
    early_errors: tuple[Array, ...]
    errors: tuple[Array, ...]
    levels: tuple[float, ...]

    def quantiles(self, splits: Sequence[Split], index: int, rows: slice) -> Array:
        """Forecast quantiles (R, K, Q) of the R rows `rows` of series number `index`."""
        mean, own = self.mean[index], splits[index]
        _, behind, _ = own.validation.indices(own.y.size)
        late = (np.arange(own.y.size) >= behind)[rows, None, None]
        return mean[rows, :, None] + np.where(late, self.errors[index], self.early_errors[index])

    def score(
        self, splits: Sequence[Split], rows: Sequence[slice], *, season: int = 1
    ) -> dict[str, float]:
        """Score the rows `rows[i]` of each series, all steps ahead together.

        `mean` is scored by every error of a point, the quantiles only by crps and coverage.

        Args:
            splits: the same series as the forecasts.
            rows: which rows of each series to score.
            season: season of the scale that mase divides by.
        """
        return score_forecasts(
            splits,
            rows,
            [self.quantiles(splits, index, chosen) for index, chosen in enumerate(rows)],
            self.levels,
            season=season,
            points=[mean[chosen] for mean, chosen in zip(self.mean, rows, strict=True)],
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

    The place is that of the time grid, so a gap does not put the season out of phase.

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
        rows = np.arange(length)
        phase = (rows if own.position is None else own.position) % season
        mean = _held(own, fit_scale(own.y[own.train]), horizon)
        # the rows with a value by phase and then time, each under a number that rises so
        seen = np.flatnonzero(~np.isnan(own.y))
        seen = seen[np.argsort(phase[seen], kind="stable")]
        numbers = phase[seen] * length + seen
        for k in range(min(horizon, length) if seen.size else 0):
            # the last one of the row's phase up to when the forecast is made
            wanted = phase[k + 1 :]
            found = np.searchsorted(numbers, wanted * length + rows[: length - k - 1], "right") - 1
            source = seen[found]
            same = (found >= 0) & (phase[source] == wanted)
            mean[k + 1 :, k] = np.where(same, own.y[source], mean[k + 1 :, k])
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
    Kennard 1970). A missing lag holds the value before it; rows with fewer than `lags` rows between
    the last restart and when the forecast is made take the last value instead.

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
    pieces = [
        (index, start, stop) for index, own in enumerate(splits) for start, stop in _pieces(own)
    ]
    between = [scaled[index][start:stop] for index, start, stop in pieces]
    train = [_within(splits[index].train, start, stop) for index, start, stop in pieces]
    validation = [_within(splits[index].validation, start, stop) for index, start, stop in pieces]
    weights = _fit_ridge(
        _Rows(between, train, lags, horizon), _Rows(between, validation, lags, horizon)
    )
    means = [_held(own, scale, horizon) for own, scale in zip(splits, scales, strict=True)]
    for (index, start, stop), y in zip(pieces, between, strict=True):
        x, _, first = _lagged(y, slice(0, y.size), lags, horizon)
        made = np.concatenate([(part @ weights).numpy() for part in _designs(x)])
        made = made * scales[index].scale + scales[index].location
        mean = means[index][start:stop]
        for k in range(horizon):
            # what is made after row t is the forecast of row t + k + 1
            mean[first + k + 1 :, k] = made[: max(y.size - first - k - 1, 0), k]
    return _with_intervals(f"ridge({lags})", splits, means, levels)


def _pieces(own: Split) -> list[tuple[int, int]]:
    """First row, and the row behind the last, of each piece of a series without restarts."""
    edges = [0, *(np.flatnonzero(np.diff(own.segments)) + 1).tolist(), own.y.size]
    return list(pairwise(edges))


def _within(part: slice, start: int, stop: int) -> slice:
    """The rows of a part in a piece, counted from the piece's first row."""
    begin, end, _ = part.indices(stop)
    return slice(max(begin - start, 0), max(end - start, 0))


class _Rows:
    """The regression rows of one part of all pieces of series, as views, and sums over them.

    X (n, L + 1) holds the lags, oldest first, and a one; Y (n, K) the targets, NaN where missing.
    """

    def __init__(
        self, series: Sequence[Array], parts: Sequence[slice], lags: int, horizon: int
    ) -> None:
        views = (_lagged(y, part, lags, horizon) for y, part in zip(series, parts, strict=True))
        self.views = [(lagged, targets) for lagged, targets, _ in views if len(lagged)]
        self.xx = torch.zeros(lags + 1, lags + 1, dtype=torch.float64)
        self.xy = torch.zeros(lags + 1, horizon, dtype=torch.float64)
        self.rows = np.zeros(horizon, dtype=np.int64)
        for lagged, targets in self.views:
            begin = 0
            for x in _designs(lagged):
                y = targets[begin : begin + len(x)]
                begin += len(x)
                self.xx += x.T @ x
                self.xy += x.T @ torch.from_numpy(np.nan_to_num(y))
                self.rows += (~np.isnan(y)).sum(axis=0)

    def gram(self, k: int) -> torch.Tensor:
        """Sum of x x' over the rows whose target k + 1 steps ahead is there."""
        xx = self.xx.clone()
        for lagged, targets in self.views:
            for x in _designs(lagged[np.isnan(targets[:, k])]):
                xx -= x.T @ x
        return xx


def _fit_ridge(train: _Rows, validation: _Rows) -> torch.Tensor:
    """Weights (L + 1, K), those of the last value where there is nothing to fit."""
    weights = torch.zeros_like(train.xy)
    weights[-2] = 1.0
    for k in range(weights.shape[1]):
        rows = int(train.rows[k])
        if rows == 0:
            continue
        xx, judge = train.gram(k), validation.gram(k)
        best = math.inf
        for penalty in PENALTIES if validation.rows[k] else (_PENALTY_UNJUDGED,):
            added = torch.full((len(xx),), penalty * rows, dtype=torch.float64)
            added[-1] = 0.0
            factor, failed = torch.linalg.cholesky_ex(xx + torch.diag(added))
            if failed:
                continue
            w = torch.cholesky_solve(train.xy[:, k : k + 1], factor)[:, 0]
            # sum of squared errors on the validation rows, less a constant
            error = float(w @ judge @ w - 2 * w @ validation.xy[:, k])
            if error < best:
                best = error
                weights[:, k] = w
    return weights


def _lagged(y: Array, part: slice, lags: int, horizon: int) -> tuple[Array, Array, int]:
    """Lags (n, L) and targets (n, K) of the n rows after which forecasts can be made.

    The rows run from the first one with all its lags to the last one with a target in `part`. The
    third value is the first row's number.
    """
    start, stop, _ = part.indices(y.size)
    seen = np.flatnonzero(~np.isnan(y))
    first = max(start - 1, lags - 1 + (int(seen[0]) if seen.size else y.size))
    last = stop - 2
    if last < first:
        return np.zeros((0, lags)), np.zeros((0, horizon)), first
    windows = np.lib.stride_tricks.sliding_window_view
    ahead = np.concatenate([y[:stop], np.full(horizon, math.nan)])
    lagged = windows(_fill_forward(y[: last + 1]), lags)[first - lags + 1 :]
    return lagged, windows(ahead, horizon)[first + 1 : stop], first


def _designs(lagged: Array) -> Iterator[torch.Tensor]:
    """Rows of lags (n, L) in pieces (m, L + 1) that fit in the cache, with a one at the end."""
    for begin in range(0, max(len(lagged), 1), _CHUNK):
        piece = lagged[begin : begin + _CHUNK]
        yield torch.from_numpy(np.concatenate([piece, np.ones((len(piece), 1))], axis=1))


def _held(own: Split, scale: Scale, horizon: int) -> Array:
    """The last value seen (T, K), k + 1 steps before; the training median where there is none."""
    filled = _fill_forward(own.y)
    mean = np.full((own.y.size, horizon), math.nan)
    for k in range(horizon):
        mean[k + 1 :, k] = filled[: max(own.y.size - k - 1, 0)]
    return np.where(np.isnan(mean), scale.location, mean)


def _fill_forward(values: Array) -> Array:
    """Each NaN of (T,) replaced by the last number before it; leading NaN stay."""
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.size)))
    return np.asarray(values[last], dtype=np.float64)


def _with_intervals(
    name: str, splits: Sequence[Split], means: Sequence[Array], levels: Sequence[float]
) -> Baseline:
    """Add the quantiles of the errors on the last training rows and on the validation rows."""
    late = [own.validation for own in splits]
    early = []
    for own in splits:
        start, stop, _ = own.train.indices(own.y.size)
        early.append(slice(max(stop - _length(own.y, own.validation), start), stop))
    return Baseline(
        name,
        tuple(means),
        _error_quantiles(splits, means, early, levels),
        _error_quantiles(splits, means, late, levels),
        tuple(levels),
    )


def _error_quantiles(
    splits: Sequence[Split], means: Sequence[Array], parts: Sequence[slice], levels: Sequence[float]
) -> tuple[Array, ...]:
    """Quantiles (K, Q) of the errors on the scored forecasts of a part of each series.

    A series with fewer than a hundred of them takes those of all series together, in units of each
    series' scale.
    """
    errors = [
        own.targets(part, mean.shape[1]) - mean[part]
        for own, mean, part in zip(splits, means, parts, strict=True)
    ]
    scales = [fit_scale(own.y[own.train]).scale for own in splits]
    pooled = _quantiles(
        np.concatenate([e / scale for e, scale in zip(errors, scales, strict=True)]), levels
    )
    found = []
    for e, scale in zip(errors, scales, strict=True):
        enough = (~np.isnan(e)).sum(axis=0) >= _ROWS_FOR_OWN_INTERVAL
        found.append(np.where(enough[:, None], _quantiles(e, levels), pooled * scale))
    return tuple(found)


def _quantiles(errors: Array, levels: Sequence[float]) -> Array:
    """Quantiles (K, Q) of the columns of errors (R, K); zero where a column has none."""
    found = np.zeros((errors.shape[1], len(levels)))
    for k, column in enumerate(errors.T):
        seen = column[~np.isnan(column)]
        if seen.size:
            found[k] = np.quantile(seen, levels)
    return found


def _length(y: np.ndarray, part: slice) -> int:
    return len(range(*part.indices(y.size)))


def _check(splits: Sequence[Split], horizon: int, number: int, what: str) -> None:
    if not splits:
        raise OptionError("expected at least one series, got none; give the series to forecast")
    if horizon < 1 or number < 1:
        raise OptionError(
            f"expected a horizon and a {what} of at least 1, got {horizon} and {number}"
        )
