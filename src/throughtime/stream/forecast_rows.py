"""What a row does to its key in a forecasting stream, whatever the model runs on.

The grid, the scales and the features are those of the offline reader (`data.grid`,
`tasks.features`), one row at a time. A lane is never changed: a row makes a new one, so that a row
that is refused leaves nothing behind. Numpy only: `lane` steps a model of torch, `runtime` one
without.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from throughtime.data.grid import Admission, GridLane, steps_between
from throughtime.stream import cells
from throughtime.tasks.features import FeatureReader

DROPPED = {
    "late": "late row dropped",
    "duplicate": "duplicate row dropped: a row of this time has been read",
    "off_grid": "row dropped: less than half a step after the one before",
}


@dataclass(frozen=True, slots=True)
class ForecastLane:
    """What one key remembers; its size does not depend on how many rows were read.

    Attributes:
        time: of the row read last, as in `Series.time`.
        held: (1 + C,) float64, the scaled values that are held where a later one is missing.
        state: of the model, one lane.
        made: (h, 3) float64, median and first and last quantile of the next h values.
        told: whether an answer has said that a known future was not given.
    """

    time: int
    held: np.ndarray
    state: Any
    made: np.ndarray
    told: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A row's cells as numbers.

    Attributes:
        time: as in `Series.time`.
        ds: the time as it was written.
        y: the target, NaN where missing.
        covariates: (C,), NaN where missing.
        future: (number of known covariates, h), NaN where not said.
    """

    time: int
    ds: str
    y: float
    covariates: np.ndarray
    future: np.ndarray


class ForecastRows:
    """Reads rows of a forecast; `begin` and `advance` are its model's.

    Args:
        features: from rows to what the model reads, and the scales.
        levels: the quantile levels that the model puts out.

    Attributes:
        columns: names that a row may have, beside that of its key.
        required: those of them that every row must have.
        key: the column that told the series apart in training, or None.
    """

    def __init__(self, features: FeatureReader, levels: Sequence[float]) -> None:
        self.features = features
        self.format = features.format
        self.horizon = features.horizon
        self.key = self.format.key
        self.ahead = [
            [f"{name}@+{k + 1}" for k in range(self.horizon)] for name in self.format.known_future
        ]
        self.required = (self.format.time, self.format.target)
        self.columns = frozenset(
            [
                self.format.time,
                self.format.target,
                *self.format.covariates,
                *(name for names in self.ahead for name in names),
            ]
        )
        self._middle = [(len(levels) - 1) // 2, len(levels) // 2]
        self._missing = np.full(len(self.format.covariates), np.nan)

    def begin(self) -> Any:
        """Return the model's state before a first step, of one lane."""
        raise TypeError(f"{type(self).__name__} must define begin()")

    def advance(self, features: np.ndarray, state: Any, *, reset: bool) -> tuple[np.ndarray, Any]:
        """Take one step.

        Args:
            features: (F,) float32.
            state: of the model, one lane.
            reset: whether the state restarts first.

        Returns:
            Quantiles (h, Q) float64 in the model's scale, in order, and the state after.
        """
        raise TypeError(f"{type(self).__name__} must define advance(features, state)")

    def read(
        self, key: str, row: Mapping[str, Any], lane: ForecastLane | None
    ) -> tuple[ForecastLane, dict[str, Any], list[str]]:
        """Read a row.

        Args:
            key: the row's key.
            row: its cells by column.
            lane: what its key remembers, None before its first row.

        Returns:
            What the key remembers now, the answer, and what was done about anything odd.

        Raises:
            DataError: a cell can't be read.
        """
        arrived = self._parse(row)
        last = None if lane is None else lane.time
        grid = GridLane(self.format.step_us, self.format.max_gap, self.format.step_months, last)
        admission = grid.admit(arrived.time)
        if lane is not None and not admission.admitted:
            return lane, self._answer(key, arrived, None, lane.made), [DROPPED[admission.kind]]
        notes = self._notes(key, arrived, lane, admission)
        told = lane is not None and lane.told
        if not told and (silent := self._silent(arrived)):
            notes.append(f"future of {', '.join(silent)} not given: held")
            told = True
        expected: float | None = None
        if lane is None:
            state, held, reset = self.begin(), None, True
        elif admission.kind == "restart":
            state, held, reset = lane.state, None, True
        else:
            state, held, reset = lane.state, lane.held, False
            expected = float(lane.made[0, 0])
            for steps in range(admission.fillers, 0, -1):
                future = self._future_of_filler(arrived, steps)
                scaled, held, state = self._step(
                    key, math.nan, self._missing, future, held, state, reset=False
                )
                if steps == 1:
                    expected = float(self._in_short(key, scaled)[0, 0])
        scaled, held, state = self._step(
            key, arrived.y, arrived.covariates, arrived.future, held, state, reset=reset
        )
        made = self._in_short(key, scaled)
        answer = self._answer(key, arrived, expected, made)
        return ForecastLane(arrived.time, held, state, made, told), answer, notes

    def _parse(self, row: Mapping[str, Any]) -> Row:
        time, ds = cells.read_moment(row, self.format)
        y = cells.read_number(cells.cell(row, self.format.target, "target"), self.format.target)
        names = self.format.covariates
        covariates = [cells.read_number(row.get(name), name) for name in names]
        future = [[cells.read_number(row.get(name), name) for name in each] for each in self.ahead]
        return Row(
            time,
            ds,
            y,
            np.array(covariates, dtype=np.float64),
            np.array(future, dtype=np.float64).reshape(len(self.ahead), self.horizon),
        )

    def _notes(
        self, key: str, row: Row, lane: ForecastLane | None, admission: Admission
    ) -> list[str]:
        notes = []
        if lane is None:
            if key not in self.features.scaler.series:
                notes.append("series never seen in training: pooled scale")
        elif admission.kind == "restart":
            step, months = self.format.step_us, self.format.step_months
            times, first = np.array([lane.time, row.time]), np.array([True, False])
            gap = int(steps_between(times, first, step, months)[1]) - 1
            notes.append(f"state starts afresh after a gap of {gap:,} steps")
        elif admission.fillers:
            plural = "s" if admission.fillers > 1 else ""
            notes.append(f"{admission.fillers:,} missing step{plural} filled")
        if math.isnan(row.y):
            notes.append("y missing")
        if len(row.covariates) and np.isnan(row.covariates).any():
            absent = np.flatnonzero(np.isnan(row.covariates))
            notes.append(f"{', '.join(self.format.covariates[i] for i in absent)} missing")
        return notes

    def _silent(self, row: Row) -> list[str]:
        """Return the covariates of known future whose future a row does not wholly say."""
        names = self.format.known_future
        return [names[i] for i in np.flatnonzero(np.isnan(row.future).any(axis=1))]

    def _future_of_filler(self, row: Row, steps: int) -> np.ndarray:
        """Return what is known to follow a missing step, so many steps before a row."""
        future = np.full_like(row.future, np.nan)
        if steps <= self.horizon and self.ahead:
            future[:, steps - 1] = row.covariates[self.features.known]
            future[:, steps:] = row.future[:, : self.horizon - steps]
        return future

    def _step(
        self,
        key: str,
        y: float,
        covariates: np.ndarray,
        future: np.ndarray,
        held: np.ndarray | None,
        state: Any,
        *,
        reset: bool,
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        features, held = self.features.row(key, y, covariates, future, held)
        scaled, state = self.advance(features, state, reset=reset)
        return scaled, held, state

    def _in_short(self, key: str, scaled: np.ndarray) -> np.ndarray:
        """Return (h, 3): median, first and last quantile in the data's units."""
        quantiles = self.features.scaler.undo(key, scaled)
        median = (quantiles[:, self._middle[0]] + quantiles[:, self._middle[1]]) / 2
        return np.stack([median, quantiles[:, 0], quantiles[:, -1]], axis=1)

    def _answer(
        self, key: str, row: Row, expected: float | None, made: np.ndarray
    ) -> dict[str, Any]:
        values = [[_finite(value) for value in each] for each in made.tolist()]
        named = [dict(zip(("prediction", "lower", "upper"), each, strict=True)) for each in values]
        answer: dict[str, Any] = {
            "unique_id": key,
            "ds": row.ds,
            "y": _finite(row.y),
            "expected": _finite(expected),
            **named[0],
        }
        if self.horizon > 1:
            answer["ahead"] = [{"horizon": k, **each} for k, each in enumerate(named, start=1)]
        return answer


def _finite(value: float | None) -> float | None:
    """Return a number that JSON has a word for, None otherwise."""
    return value if value is not None and math.isfinite(value) else None
