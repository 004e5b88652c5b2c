"""The plain records that readers hand to everything else: a table, its series, its format.

Numpy arrays and text only. How a file becomes these is in `tables`; how rows are placed on the
time grid is in `grid`; how a time is written is in `clock`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from throughtime.data.findings import Findings
from throughtime.errors import DataError

ONE_SERIES = "series"
"""The key of the one series of a table that has no key column."""

LONGEST_GAP = 100_000
"""Most missing steps in a row that may be filled: a stream takes a step of the model for each."""

_MOST_MONTHS = 12_000

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
            made = cls(**values)
        except TypeError as error:
            raise DataError(
                f"expected the fields of a table format, came {sorted(fields)} ({error}): "
                "take what TableFormat.to_json() wrote"
            ) from error
        if wrong := made._fault():
            raise DataError(
                f"expected {wrong[1]} as {wrong[0]} of a table format, came "
                f"{getattr(made, wrong[0])!r:.80}: take what TableFormat.to_json() wrote"
            )
        return made

    def _fault(self) -> tuple[str, str] | None:
        """Return the first field that can't be of a table, and what it should be."""
        texts = ("time", "target", "time_format")
        lists = ("covariates", "known_future")
        checks: list[tuple[str, str, bool]] = [
            *((name, "text", isinstance(getattr(self, name), str)) for name in texts),
            ("key", "text or nothing", self.key is None or isinstance(self.key, str)),
            *((name, "names of columns", _are_texts(getattr(self, name))) for name in lists),
            ("time_kind", "timestamp or integer", self.time_kind in get_args(TimeKind)),
            ("duplicates", "last, first, mean or error", self.duplicates in get_args(Duplicates)),
            ("season", "a whole number from 1 on", _is_whole(self.season, 1)),
            ("max_gap", f"0 to {LONGEST_GAP:,} steps", _is_whole(self.max_gap, 0, LONGEST_GAP)),
        ]
        if self.step_us is not None:
            checks.append(("step_us", "a step from 1 on", _is_whole(self.step_us, 1)))
        if self.step_months is not None:
            counted = self.time_kind == "timestamp" and self.step_us is not None
            months = counted and _is_whole(self.step_months, 1, _MOST_MONTHS)
            checks.append(("step_months", f"1 to {_MOST_MONTHS:,} months of timestamps", months))
        if not (fault := [(name, wanted) for name, wanted, fits in checks if not fits]):
            unknown = set(self.known_future) - set(self.covariates)
            fault = [("known_future", "names of covariates")] if unknown else []
        return fault[0] if fault else None


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


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)


def _is_whole(value: object, least: int, most: int = 2**63 - 1) -> bool:
    return type(value) is int and least <= value <= most
