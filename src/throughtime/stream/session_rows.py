"""Rows of many sessions of a forecasting run at once: what each remembers, and its answers.

The rules are those of `forecast_rows`, from which rows, notes and answers come. Only the arithmetic
between them is done for many rows together, element by element, so that a row's numbers are what
they would be alone. The states are stepped by the slab that what a session remembers lies in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from throughtime.data.grid import Admission, GridLane
from throughtime.errors import BundleError
from throughtime.model import SequenceModel
from throughtime.stream import cells
from throughtime.stream.forecast_rows import DROPPED, ForecastLane, Row
from throughtime.stream.lane import ForecastReader
from throughtime.stream.slab import Slab
from throughtime.tasks.features import _bounded
from throughtime.tasks.forecast import ForecastTask

Answer = dict[str, Any]

_POOLED = -1


@dataclass(slots=True)
class _Reading:
    """A row that is being read."""

    place: int
    row: Row
    admission: Admission
    notes: list[str]
    expected: float | None = None
    told: bool = False


class ForecastSessionRows(ForecastReader):
    """Reads rows of sessions of a forecasting run.

    What a session remembers, beside its state: whether it has `begun`; `time`, `held`, `made` and
    `told` as in `ForecastLane`; and `series`, the number of the series whose scale it has, or -1
    for all together.

    Args:
        task: the run's task.
        model: the run's model.

    Attributes:
        beside: what a session remembers at the beginning.
    """

    def __init__(self, task: ForecastTask, model: SequenceModel) -> None:
        super().__init__(task, model)
        self.beside = {
            "begun": np.array(False),
            "time": np.array(0, dtype=np.int64),
            "held": np.zeros(1 + len(self.format.covariates)),
            "made": np.zeros((self.horizon, 3)),
            "told": np.array(False),
            "series": np.array(_POOLED, dtype=np.int64),
        }
        self._series = sorted(task.scaler.series)
        self._number = {name: number for number, name in enumerate(self._series)}
        # The pooled scale last, which is what number -1 picks.
        scales = [*(task.scaler.series[name] for name in self._series), task.scaler.pooled]
        self._scales = np.array([(each.location, each.scale) for each in scales])
        of_covariates = [task.covariate_scaler.scale_of(name) for name in self.format.covariates]
        pairs = [(each.location, each.scale) for each in of_covariates]
        self._covariate_scales = np.array(pairs, dtype=np.float64).reshape(-1, 2)

    def opened(self, slab: Slab, keys: Sequence[str], slots: np.ndarray) -> None:
        """Give sessions the scales of the series that they are named after."""
        slab.leaves["series"][slots] = [self._number.get(key, _POOLED) for key in keys]

    def parse(self, slab: Slab, slot: int | None, row: Mapping[str, Any]) -> Row:
        """Return the cells of a row as numbers.

        Args:
            slab: where the sessions are.
            slot: of the row's session, None where it has none yet.
            row: cells by column.

        Raises:
            DataError: a cell can't be read.
        """
        return self._parse(row)

    def check(self, rows: Mapping[str, np.ndarray]) -> None:
        """Refuse what no session can remember.

        Raises:
            BundleError: a time or a series is none.
        """
        times, series = rows["time"].tolist(), rows["series"]
        if wrong := [time for time in times if not cells.in_range(time, self.format)]:
            raise BundleError(f"expected times of {self.format.time!r} in sessions, got {wrong[0]}")
        if not ((series >= _POOLED) & (series < len(self._series))).all():
            raise BundleError(
                f"expected series of {_POOLED} to {len(self._series) - 1} in sessions, got others"
            )

    def answers(
        self, slab: Slab, keys: Sequence[str], slots: np.ndarray, rows: Sequence[Row]
    ) -> list[Answer]:
        """Read a row of each of some sessions.

        Args:
            slab: where they are.
            keys: their keys.
            slots: (n,) int64, theirs.
            rows: one of each.

        Returns:
            The answer to each row.
        """
        leaves = slab.leaves
        made, series = leaves["made"][slots], leaves["series"][slots]
        lanes = self._lanes(leaves, slots, made)
        each = zip(range(len(keys)), lanes, series.tolist(), rows, strict=True)
        readings = [self._admit(*one) for one in each]
        admitted = [reading for reading in readings if reading.admission.admitted]
        self._fill(slab, slots, series, admitted)
        if admitted:
            places = np.array([reading.place for reading in admitted])
            read = slots[places]
            resets = np.array([reading.admission.kind == "restart" for reading in admitted])
            y = np.array([reading.row.y for reading in admitted])
            covariates = np.stack([reading.row.covariates for reading in admitted])
            future = np.stack([reading.row.future for reading in admitted])
            made[places] = self._advance(slab, read, series[places], y, covariates, future, resets)
            leaves["begun"][read] = True
            leaves["time"][read] = [reading.row.time for reading in admitted]
            leaves["told"][read] = [reading.told for reading in admitted]
            leaves["made"][read] = made[places]
        return [
            self._finish(key, reading, made[reading.place])
            for key, reading in zip(keys, readings, strict=True)
        ]

    def _lanes(
        self, leaves: Mapping[str, np.ndarray], slots: np.ndarray, made: np.ndarray
    ) -> list[ForecastLane | None]:
        """Return what each session remembers as a lane without its state, None before a row."""
        names = ("begun", "time", "told")
        remembered = [leaves[name][slots].tolist() for name in names]
        each = zip(*remembered, leaves["held"][slots], made, strict=True)
        return [
            ForecastLane(time, held, (), quantiles, told) if begun else None
            for begun, time, told, held, quantiles in each
        ]

    def _admit(self, place: int, lane: ForecastLane | None, series: int, row: Row) -> _Reading:
        last = None if lane is None else lane.time
        grid = GridLane(self.format.step_us, self.format.max_gap, self.format.step_months, last)
        admission = grid.admit(row.time)
        if not admission.admitted:
            return _Reading(place, row, admission, [DROPPED[admission.kind]])
        name = "" if series == _POOLED else self._series[series]
        reading = _Reading(place, row, admission, self._notes(name, row, lane, admission))
        reading.told = lane is not None and lane.told
        if not reading.told and (silent := self._silent(row)):
            reading.notes.append(f"future of {', '.join(silent)} not given: held")
            reading.told = True
        if lane is not None and admission.kind != "restart":
            reading.expected = float(lane.made[0, 0])
        return reading

    def _fill(
        self, slab: Slab, slots: np.ndarray, series: np.ndarray, readings: Sequence[_Reading]
    ) -> None:
        """Step through the missing steps before rows, those as far from theirs at the same time."""
        for steps in range(max((each.admission.fillers for each in readings), default=0), 0, -1):
            some = [reading for reading in readings if reading.admission.fillers >= steps]
            places = np.array([reading.place for reading in some])
            made = self._advance(
                slab,
                slots[places],
                series[places],
                np.full(len(some), np.nan),
                np.tile(self._missing, (len(some), 1)),
                np.stack([self._future_of_filler(reading.row, steps) for reading in some]),
                None,
            )
            for reading, each in zip(some, made, strict=True):
                reading.expected = float(each[0, 0])

    def _advance(
        self,
        slab: Slab,
        slots: np.ndarray,
        series: np.ndarray,
        y: np.ndarray,
        covariates: np.ndarray,
        future: np.ndarray,
        resets: np.ndarray | None,
    ) -> np.ndarray:
        """Step sessions, each by a row or a missing one.

        Args:
            slab: where they are.
            slots: (n,).
            series: (n,), whose scales they have.
            y: (n,), NaN where missing.
            covariates: (n, C), NaN where missing.
            future: (n, K, h) of the K covariates whose future is known, NaN where not said.
            resets: (n,) bool, or None for none.

        Returns:
            (n, h, 3): median, first and last quantile in the data's units.
        """
        held = slab.leaves["held"][slots]
        if resets is not None:
            held[resets] = 0.0
        scales = self._scales[series]
        features, now = self._features(scales, y, covariates, future, held)
        slab.leaves["held"][slots] = now
        outputs = slab.step(slots, features, resets)
        quantiles = self._in_units(scales, outputs, features)
        median = (quantiles[:, :, self._middle[0]] + quantiles[:, :, self._middle[1]]) / 2
        return np.stack([median, quantiles[:, :, 0], quantiles[:, :, -1]], axis=2)

    def _features(
        self,
        scales: np.ndarray,
        y: np.ndarray,
        covariates: np.ndarray,
        future: np.ndarray,
        held: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `FeatureReader.row` does, of n rows: features (n, F) and held (n, 1 + C)."""
        location, scale = self._covariate_scales[:, 0], self._covariate_scales[:, 1]
        own = (y - scales[:, 0]) / scales[:, 1]
        seen = np.concatenate([own[:, None], (covariates - location) / scale], axis=1)
        now = np.where(np.isnan(seen), held, seen)
        known = self.task.features.known
        said = (future - location[known, None]) / scale[known, None]
        later = np.where(np.isnan(said), now[:, 1:][:, known, None], said)
        there = (~np.isnan(seen[:, :1])).astype(np.float64)
        parts = [now[:, :1], there, now[:, 1:], later.reshape(len(y), -1)]
        return _bounded(np.concatenate(parts, axis=1)), now

    def _in_units(
        self, scales: np.ndarray, outputs: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
        """Return the quantiles (n, h, Q) in the data's units."""
        given = torch.from_numpy(outputs), torch.from_numpy(features)
        if self.task.options.head == "quantile":
            scaled = self.task.scaled_quantiles(*given)
        else:
            # Row by row: torch rounds exponentials otherwise beside other rows.
            each = zip(*(torch.split(part, 1) for part in given), strict=True)
            scaled = torch.cat([self.task.scaled_quantiles(*one) for one in each])
        units: np.ndarray = scaled.double().numpy() * scales[:, 1, None, None]
        units += scales[:, 0, None, None]
        return units

    def _finish(self, key: str, reading: _Reading, made: np.ndarray) -> Answer:
        answer = self._answer(key, reading.row, reading.expected, made)
        if reading.notes:
            answer["note"] = "; ".join(reading.notes)
        return answer
