"""What a forecasting model reads of a row, the same for a whole table and for one arriving row.

Features of a row, in order: the scaled target (held where it is missing, 0 before the first), 1
where the target was there and 0 where it was not, the scaled covariates (held likewise), and for
each covariate whose future is known its scaled values 1 to h steps later.
"""

import numpy as np

from throughtime.data.sequences import Series, TableFormat
from throughtime.tasks.scaling import RobustScaler

_LARGEST = 1e6
"""Scaled values beyond this are cut off."""


class FeatureReader:
    """Turns rows into features.

    Args:
        format: which columns there are.
        scaler: of the target, by series.
        covariate_scaler: of the covariates, by name.
        horizon: h, steps ahead.
    """

    def __init__(
        self,
        format: TableFormat,
        scaler: RobustScaler,
        covariate_scaler: RobustScaler,
        horizon: int,
    ) -> None:
        self.format = format
        self.scaler = scaler
        self.covariate_scaler = covariate_scaler
        self.horizon = horizon
        self.known = [format.covariates.index(name) for name in format.known_future]

    @property
    def size(self) -> int:
        """F, features of a row."""
        return 2 + len(self.format.covariates) + self.horizon * len(self.known)

    def inputs(self, series: Series) -> np.ndarray:
        """Return the features (T, F) float32 of every row of a series."""
        y = self.scaler.apply(series.unique_id, series.y)
        covariates = self._scaled_covariates(series.covariates)
        columns = [_held(y, series.restarts), (~np.isnan(y)).astype(np.float64)]
        columns += [_held(column, series.restarts) for column in covariates.T]
        for index in self.known:
            # The future is what the file says of it; where it says nothing the present is held.
            future = covariates[:, index].copy()
            for _ in range(self.horizon):
                future = np.append(future[1:], np.nan)
                present = columns[2 + index]
                columns.append(np.where(np.isnan(future), present, future))
        return _bounded(np.stack(columns, axis=1))

    def row(
        self,
        unique_id: str,
        y: float,
        covariates: np.ndarray,
        future: np.ndarray,
        held: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of one row that has just arrived.

        Args:
            unique_id: the series.
            y: the target, NaN where missing.
            covariates: (C,), NaN where missing.
            future: (number of known covariates, h) values 1 to h steps later, NaN where not said.
            held: (1 + C,) what is held from the rows before, or None at a start.

        Returns:
            The features (F,) float32 and what is held for the next row.
        """
        seen = np.append(
            self.scaler.apply(unique_id, np.array([y])),
            self._scaled_covariates(covariates[None])[0],
        )
        before = np.zeros_like(seen) if held is None else held
        now = np.where(np.isnan(seen), before, seen)
        later = np.empty((len(self.known), self.horizon))
        for place, index in enumerate(self.known):
            name = self.format.covariates[index]
            said = self.covariate_scaler.apply(name, future[place])
            later[place] = np.where(np.isnan(said), now[1 + index], said)
        flag = 0.0 if np.isnan(seen[0]) else 1.0
        features = np.concatenate([now[:1], [flag], now[1:], later.ravel()])
        return _bounded(features), now

    def ahead(self, series: Series, rows: slice) -> np.ndarray:
        """Return the values (T, h) that follow each row, in the data's units.

        NaN where the value is missing, not in `rows`, or on the other side of a restart.
        """
        count = len(series)
        allowed = np.full(count, np.nan)
        allowed[rows] = series.y[rows]
        segment = np.cumsum(series.restarts)
        found = np.full((count, self.horizon), np.nan)
        for k in range(min(self.horizon, count - 1)):
            same = segment[k + 1 :] == segment[: count - k - 1]
            found[: count - k - 1, k] = np.where(same, allowed[k + 1 :], np.nan)
        return found

    def targets(self, series: Series, rows: slice) -> np.ndarray:
        """Return what `ahead` returns, scaled and cut off as the inputs are, as float32."""
        return _bounded(self.scaler.apply(series.unique_id, self.ahead(series, rows)))

    def _scaled_covariates(self, covariates: np.ndarray) -> np.ndarray:
        if not self.format.covariates:
            return np.empty((len(covariates), 0))
        return np.stack(
            [
                self.covariate_scaler.apply(name, covariates[:, index])
                for index, name in enumerate(self.format.covariates)
            ],
            axis=1,
        )


def _bounded(features: np.ndarray) -> np.ndarray:
    """Return float32, with what no float32 holds cut off: one absurd row must not end a state."""
    bounded: np.ndarray = np.clip(features, -_LARGEST, _LARGEST).astype(np.float32)
    return bounded


def _held(values: np.ndarray, restarts: np.ndarray) -> np.ndarray:
    """Replace NaN by the last number since the last restart, or 0."""
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values) & ~restarts, 0, rows))
    held = values[last]
    return np.where(np.isnan(held), 0.0, held)
