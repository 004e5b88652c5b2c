"""How good a forecast or a language model was, as numbers that other libraries report too.

Everything is float64 NumPy on flat rows (N,) in the data's own units. A row whose target is NaN is
left out of every figure. A NaN forecast of a target that is there is not left out: the figure
becomes NaN. With no row to score every figure is NaN. Which rows of a series are scored, for a
model and a baseline alike, is in `Split` and `score_forecasts`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from throughtime.errors import OptionError, ShapeError

Array = npt.NDArray[np.float64]


def mae(y: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error, `mean |y - f|`, of targets (N,) and forecasts (N,).

    Example:
        >>> mae(np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 9.0]))
        0.5
    """
    target, point = _rows(y, forecast)
    return _mean(np.abs(target - point))


def mse(y: np.ndarray, forecast: np.ndarray) -> float:
    """Mean squared error, `mean (y - f)**2`, of targets (N,) and forecasts (N,)."""
    target, point = _rows(y, forecast)
    return _mean((target - point) ** 2)


def mse_scaled(y: np.ndarray, forecast: np.ndarray, train_std: np.ndarray | float) -> float:
    """Mean squared error in units of the training part's variance, `mean ((y - f) / s)**2`.

    1 is the error of always forecasting the training mean, where the level has not moved.

    Args:
        y: targets (N,).
        forecast: forecasts (N,).
        train_std: `s`, from `training_std`: one number, or (N,) if rows are of several series.
            Rows where it is NaN are left out.
    """
    target, point, std = _rows(y, forecast, _spread(train_std, y))
    scaled = (target - point) / std
    return _mean(scaled[~np.isnan(std)] ** 2)


def training_std(train: np.ndarray) -> float:
    """Standard deviation (ddof 0) of a training part (T,), NaN left out; NaN where it is zero."""
    seen = np.asarray(train, dtype=np.float64)
    seen = seen[~np.isnan(seen)]
    return (float(seen.std()) or math.nan) if seen.size else math.nan


def mase(y: np.ndarray, forecast: np.ndarray, scale: np.ndarray | float) -> float:
    """Mean absolute scaled error, `mean |y - f| / q` (Hyndman and Koehler 2006).

    Below 1 is better than the seasonal naive forecast was inside the training part.

    Args:
        y: targets (N,).
        forecast: forecasts (N,).
        scale: `q`, from `mase_scale`: one number, or (N,) if rows are of several series. Rows
            where it is NaN are left out.
    """
    target, point, own = _rows(y, forecast, _spread(scale, y))
    scaled = np.abs(target - point) / own
    return _mean(scaled[~np.isnan(own)])


def mase_scale(train: np.ndarray, season: int, *, restarts: np.ndarray | None = None) -> float:
    """Mean absolute error of the seasonal naive forecast inside a training part (T,).

    `q = mean over t of |y[t] - y[t - season]|` over the pairs without NaN and without a restart
    between them. Where the part holds no such pair, the lag is 1. NaN where there is none then
    either, or the part never moves.

    Args:
        train: the training part of one series (T,), NaN where missing.
        season: steps in a season; 1 for none.
        restarts: (T,) bool, True where a row does not follow on the one before; None: nowhere.

    Raises:
        OptionError: `season` is below 1.

    Example:
        >>> mase_scale(np.array([1.0, 2.0, 1.5, 4.0]), season=2)
        1.25
    """
    if season < 1:
        raise OptionError(f"expected a season of at least 1 step, got {season}; 1 means none")
    y = np.asarray(train, dtype=np.float64)
    segment = np.zeros(y.size) if restarts is None else np.cumsum(restarts)
    for lag in dict.fromkeys((season, 1)):
        steps = np.abs(y[lag:] - y[:-lag])
        steps = steps[~np.isnan(steps) & (segment[lag:] == segment[:-lag])]
        if steps.size:
            return float(steps.mean()) or math.nan
    return math.nan


def smape(y: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, 0 to 200 percent, as in the M4 competition.

    `100 * mean(2 |y - f| / (|y| + |f|))` (Makridakis, Spiliotis and Assimakopoulos 2020); a row
    where both are zero counts 0.
    """
    target, point = _rows(y, forecast)
    size = np.abs(target) + np.abs(point)
    error = np.abs(target - point)
    return 200.0 * _mean(np.divide(error, size, out=np.zeros_like(error), where=size != 0))


def pinball(y: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> Array:
    """Mean quantile loss (Q,) of each level (Koenker and Bassett 1978).

    `mean max(p (y - q), (p - 1) (y - q))` for the forecast `q` of the quantile of level `p`.

    Args:
        y: targets (N,).
        quantiles: forecast quantiles (N, Q).
        levels: their levels (Q,), between 0 and 1.
    """
    target, forecast, level = _quantile_rows(y, quantiles, levels)
    if not target.size:
        return np.full(level.shape, math.nan)
    error = target[:, None] - forecast
    loss: Array = np.maximum(level * error, (level - 1) * error).mean(axis=0)
    return loss


def crps(y: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> float:
    """Continuous ranked probability score, approximated from quantiles, in the data's units.

    The score is `2 * integral over p of the quantile loss` (Laio and Tamea 2007, after Gneiting
    and Raftery 2007). Here the integral is the plain mean over an even grid of levels: exact in
    the limit of many levels, and for few it leaves out the tails outside the grid, so compare only
    figures from the same levels.

    Raises:
        OptionError: the levels are not evenly spaced.
    """
    level = np.asarray(levels, dtype=np.float64)
    steps = np.diff(level)
    if steps.size and not np.allclose(steps, steps[0], rtol=1e-3, atol=0):
        raise OptionError(
            f"expected evenly spaced levels, got {level.tolist()}; take an even grid, for example "
            "0.1, 0.2, ... 0.9"
        )
    return 2 * float(pinball(y, quantiles, level).mean())


def coverage(y: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Share of targets (N,) inside their interval, both ends included, 0 to 1."""
    target, low, high = _rows(y, lower, upper)
    inside = ((low <= target) & (target <= high)).astype(np.float64)
    return _mean(np.where(np.isnan(low) | np.isnan(high), math.nan, inside))


def forecast_metrics(
    y: np.ndarray,
    quantiles: np.ndarray,
    levels: np.ndarray,
    scale_for_mase: np.ndarray | float,
    train_std: np.ndarray | float,
    *,
    mean: np.ndarray,
    median: np.ndarray | None = None,
) -> dict[str, float]:
    """Every figure of a forecast at once, for a model and a baseline alike.

    Mean and median are scored by the error that each of them minimises: mse and mse_scaled take
    `mean`; mae, mase and smape take `median`. Coverage is that of the interval between the first
    and last level.

    Args:
        y: targets (N,), NaN where missing; several series and horizons flattened together.
        quantiles: forecast quantiles (N, Q).
        levels: their levels (Q,), increasing, evenly spaced and symmetric about 0.5.
        scale_for_mase: `mase_scale` of each row's series (N,), or one number.
        train_std: `training_std` of each row's series (N,), or one number.
        mean: forecast means (N,).
        median: forecast medians (N,); None: those of the quantiles, interpolated between the two
            levels next to 0.5 where 0.5 is not one of them.

    Returns:
        Figures under mae, mse, mse_scaled, mase, smape, crps and coverage.

    Raises:
        ShapeError: shapes do not fit together.
        OptionError: levels are not increasing, even and symmetric.

    Example:
        >>> y, levels = np.array([1.0, 3.0]), np.array([0.25, 0.5, 0.75])
        >>> quantiles = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
        >>> forecast_metrics(y, quantiles, levels, 2.0, 1.0, mean=np.array([1.0, 1.0]))["mase"]
        0.5
    """
    level = np.asarray(levels, dtype=np.float64)
    if not np.allclose(level + level[::-1], 1.0):
        raise OptionError(
            f"expected levels symmetric about 0.5, got {level.tolist()}; take 0.1 to 0.9, say"
        )
    forecast = np.asarray(quantiles, dtype=np.float64)
    score = crps(y, forecast, level)
    if median is None:
        middle = (level.size - 1) // 2, level.size // 2
        median = (forecast[:, middle[0]] + forecast[:, middle[1]]) / 2
    return {
        "mae": mae(y, median),
        "mse": mse(y, mean),
        "mse_scaled": mse_scaled(y, mean, train_std),
        "mase": mase(y, median, scale_for_mase),
        "smape": smape(y, median),
        "crps": score,
        "coverage": coverage(y, forecast[:, 0], forecast[:, -1]),
    }


@dataclass(frozen=True)
class Split:
    """One series, the rows of it that may be learned from, and where its rows lie in time.

    Attributes:
        y: the whole series (T,), NaN where missing.
        train: rows to fit on.
        validation: rows to choose on.
        restarts: (T,) bool, True where a row does not follow on the one before; None: nowhere.
        position: (T,) int, steps of the time grid since any beginning; None: a row is a step.

    Raises:
        ShapeError: a column does not have its kind of numbers or its length.
    """

    y: np.ndarray
    train: slice
    validation: slice
    restarts: np.ndarray | None = None
    position: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, kinds in (("y", "f"), ("restarts", "b"), ("position", "iu")):
            column = getattr(self, name)
            if column is not None and (
                column.shape != (self.y.size,) or column.dtype.kind not in kinds
            ):
                raise ShapeError(
                    f"expected y as float numbers (T,), restarts as bool (T,) and position as "
                    f"whole numbers (T,), got {name} as {column.dtype} of shape {column.shape}"
                )

    @property
    def segments(self) -> np.ndarray:
        """Number (T,) of the piece without restarts that each row is in."""
        zeros = np.zeros(self.y.size, dtype=np.int64)
        return zeros if self.restarts is None else np.cumsum(self.restarts)

    def targets(self, rows: slice, horizon: int) -> Array:
        """What is scored: `y[t]` (R, K) of the R rows, once for each of K steps ahead.

        NaN where the value is missing, or the row k + 1 steps before is in another segment.
        """
        row = np.arange(self.y.size)[rows, None]
        made = row - 1 - np.arange(horizon)
        segments = self.segments
        same = (made >= 0) & (segments[np.maximum(made, 0)] == segments[row])
        return np.where(same, self.y[row], math.nan)


def score_forecasts(
    splits: Sequence[Split],
    rows: Sequence[slice],
    quantiles: Sequence[np.ndarray],
    levels: Sequence[float],
    *,
    season: int = 1,
    points: Sequence[np.ndarray] | None = None,
) -> dict[str, float]:
    """Score forecasts of rows of several series, all steps ahead together.

    Args:
        splits: the series.
        rows: which rows of each series to score.
        quantiles: forecasts (R, K, Q) of the R rows of each series, made k + 1 steps before.
        levels: levels (Q,) of the quantiles.
        season: season of the scale that mase divides by.
        points: what is named as the forecast itself (R, K), scored by every error; None: the
            mean and the median of the quantiles, each by its own.

    Returns:
        What `forecast_metrics` returns.
    """
    columns: list[tuple[Array, ...]] = []
    for index, (own, chosen, made) in enumerate(zip(splits, rows, quantiles, strict=True)):
        target = own.targets(chosen, made.shape[1])
        there = ~np.isnan(target)
        train = own.y[own.train]
        restarts = None if own.restarts is None else own.restarts[own.train]
        scale = np.full(there.sum(), mase_scale(train, season, restarts=restarts))
        spread = np.full(there.sum(), training_std(train))
        mean = (made.mean(axis=-1) if points is None else points[index])[there]
        columns.append((target[there], made[there], scale, spread, mean))
    target, made, scale, spread, mean = map(np.concatenate, zip(*columns, strict=True))
    median = None if points is None else mean
    return forecast_metrics(target, made, np.array(levels), scale, spread, mean=mean, median=median)


def nats(log_probabilities: np.ndarray) -> float:
    """Cross-entropy in nats for each symbol: minus the mean natural log-probability, any shape.

    NaN entries are symbols that were not predicted, and are left out.
    """
    values = np.asarray(log_probabilities, dtype=np.float64)
    return _mean(-values[~np.isnan(values)])


def language_metrics(nats_per_symbol: float) -> dict[str, float]:
    """The three common units of one cross-entropy: nats, bits, perplexity.

    `bits = nats / ln 2`, `perplexity = exp(nats)`, infinite where that overflows.

    Example:
        >>> language_metrics(math.log(8.0))["bits"]
        3.0
    """
    try:
        perplexity = math.exp(nats_per_symbol)
    except OverflowError:
        perplexity = math.inf
    bits = nats_per_symbol / math.log(2)
    return {"nats": nats_per_symbol, "bits": bits, "perplexity": perplexity}


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _spread(value: np.ndarray | float, y: np.ndarray) -> np.ndarray:
    """A number for every row, unless there is one for each already."""
    spread = np.asarray(value, dtype=np.float64)
    return np.broadcast_to(spread, np.shape(y)) if spread.ndim == 0 else spread


def _rows(y: np.ndarray, *others: np.ndarray) -> tuple[Array, ...]:
    """The rows with a target, of everything."""
    columns = [np.asarray(column, dtype=np.float64) for column in (y, *others)]
    shapes = [column.shape for column in columns]
    if columns[0].ndim != 1 or len(set(shapes)) != 1:
        raise ShapeError(
            f"expected targets (N,) and as many forecasts (N,), got {shapes}; flatten them alike"
        )
    there = ~np.isnan(columns[0])
    return tuple(column[there] for column in columns)


def _quantile_rows(
    y: np.ndarray, quantiles: np.ndarray, levels: np.ndarray
) -> tuple[Array, Array, Array]:
    target = np.asarray(y, dtype=np.float64)
    forecast = np.asarray(quantiles, dtype=np.float64)
    level = np.asarray(levels, dtype=np.float64)
    if target.ndim != 1 or level.ndim != 1 or forecast.shape != (target.size, level.size):
        raise ShapeError(
            f"expected y (N,), quantiles (N, Q) and levels (Q,), got {target.shape}, "
            f"{forecast.shape} and {level.shape}; give one quantile for each row and level"
        )
    increasing = level.size > 0 and bool(np.all(np.diff(level) > 0))
    if not (increasing and level[0] > 0 and level[-1] < 1):
        raise OptionError(
            f"expected increasing levels between 0 and 1, got {level.tolist()}; sort them"
        )
    there = ~np.isnan(target)
    return target[there], forecast[there], level
