"""The plain records that readers hand to everything else: a table, its series, its format.

Numpy arrays and text only. How a file becomes these is in `tables`; how rows are placed on the
time grid is in `grid`; how a time is written is in `clock`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from throughtime.data.findings import Findings
from throughtime.errors import DataError

Duplicates = Literal["last", "first", "mean", "error"]
TimeKind = Literal["timestamp", "integer"]


@dataclass(frozen=True)
class TableFormat:
    """How the rows of a table are read: what a stream needs to read one row the same way.

    Attributes:
        time: name of the time column, as it is in the file.
        target: name of the column that is forecast.
        key: name of the column that tells the series apart, or None: one series, "series".
        covariates: names of the other columns that are read, in order.
        known_future: those of `covariates` whose future values are known.
        step_us: the grid step, in microseconds for timestamps and in units for integers;
            None where the series are irregular (each row is one step). Where `step_months` is
            set, this is only the mean length of such a step.
        time_kind: "timestamp" (microseconds since 1970, UTC) or "integer" (a year, a number).
        season: length of the season in steps, 1 for none.
        max_gap: most missing steps in a row that are filled; after more the state starts afresh.
        duplicates: which of several rows with the same key and time is kept.
        step_months: the grid step in calendar months where it is one (1, 3, 12 ...), or None.
        time_format: how times are written: see `throughtime.data.clock`.
    """

    time: str
    target: str
    key: str | None
    covariates: tuple[str, ...]
    known_future: tuple[str, ...]
    step_us: int | None
    time_kind: TimeKind
    season: int
    max_gap: int
    duplicates: Duplicates
    step_months: int | None = None
    time_format: str = "iso"

    @property
    def regular(self) -> bool:
        """Whether the rows lie on a time grid."""
        return self.step_us is not None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as a dictionary of JSON values.

        Returns:
            What `from_json` takes.
        """
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TableFormat":
        """Make a format of what `to_json` gave.

        Args:
            fields: the fields by name.

        Returns:
            The format.

        Raises:
            DataError: a field is unknown or missing.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise DataError(
                f"expected the fields of a table format, came {sorted(fields)} ({error}): "
                "take what TableFormat.to_json() wrote"
            ) from error


@dataclass(frozen=True)
class Series:
    """One key's rows in time order, on the grid where there is one.

    Attributes:
        unique_id: the key's value, as text.
        time: (T,) int64, microseconds since 1970 (UTC) or whole units, strictly increasing.
        y: (T,) float64, NaN where missing: empty in the file, or a filled gap.
        covariates: (T, C) float64, NaN where missing, columns as in `TableFormat.covariates`.
        filler: (T,) bool, True where the row was not in the file.
        restarts: (T,) bool, True where the state starts afresh: row 0, and the first row after
            a gap longer than `TableFormat.max_gap`.
    """

    unique_id: str
    time: np.ndarray
    y: np.ndarray
    covariates: np.ndarray
    filler: np.ndarray
    restarts: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Table:
    """All series of a file or frame, how they were read, and what was found on the way.

    Attributes:
        series: the series, in the order in which the file first names them.
        format: how the rows were read.
        findings: counts and lines of everything found and guessed.
    """

    series: tuple[Series, ...]
    format: TableFormat
    findings: Findings

    def __len__(self) -> int:
        return len(self.series)
