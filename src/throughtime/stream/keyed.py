"""Keys and what each remembers: a stream that reads one row at a time and answers each.

Whatever the rows are and whatever the model runs on: `forecast_rows` and `text_rows` say what a row
does to its key.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from throughtime.errors import DataError, OptionError
from throughtime.formats import plain
from throughtime.stream import cells
from throughtime.stream.forecast_rows import ForecastRows
from throughtime.stream.text_rows import TextRows

_MOST_NOTED = 20


class KeyedStream:
    """Reads rows, with what each key remembers.

    Args:
        reader: what a row does to its key.
        key: the column that tells the streams apart; that of training when None.

    Attributes:
        key: the column that tells the streams apart, or None where all rows are of one stream.

    Raises:
        OptionError: the key column has another role already.
    """

    def __init__(self, reader: ForecastRows | TextRows, key: str | None) -> None:
        self._reader: Any = reader
        self.key = reader.key if key is None else key
        if self.key is not None and self.key in reader.columns:
            raise OptionError(
                f"expected a column that tells the streams apart, got {self.key!r}, which is read "
                "as something else; name another"
            )
        self._columns = reader.columns | {self.key}
        self._lanes: dict[str, Any] = {}
        self._noted: list[str] = []
        self._count = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that have a state, in the order in which they came."""
        return tuple(self._lanes)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        return (*(() if self.key is None else (self.key,)), *self._reader.required)

    @property
    def reads_lines(self) -> bool:
        """Whether a row is a line of text, as nothing but the text is in it."""
        return self.key is None and isinstance(self._reader, TextRows)

    def push(self, row: Mapping[str, Any], *, number: int | None = None) -> dict[str, Any]:
        """Read one row and answer it.

        Of a forecast run, a row has the columns of the training table; a missing target is None,
        NaN or empty. A covariate `NAME` whose future is known may come with the columns
        `NAME@+1` to `NAME@+h`, its values 1 to h steps later; what is not said is held, which is
        noted once a key. Of a
        language run, a row has the column `text`.

        Args:
            row: the cells by column, as text or as numbers, dates and times.
            number: of the row, for messages; counted from 1 when None.

        Returns:
            JSON values. Of a forecast run: `unique_id`, `ds`, `y`; `expected`, what was predicted
            for this row before it came (None where nothing was); `prediction`, `lower` and
            `upper` for the next row, its median and its first and last quantile; with more than
            one step ahead `ahead`, a list of the same by `horizon`. Of a language run:
            `unique_id`, the number of `symbols` and `nats`, the mean surprise of each. In both,
            `note` where something odd was dealt with.

        Raises:
            DataError: a cell can't be read; the stream is then as if the row had not come.
        """
        self._count += 1
        place = self._count if number is None else number
        try:
            return self._push(row)
        except DataError as error:
            raise DataError(f"row {place}: {error}") from None

    def reset(self, key: str) -> None:
        """Forget a key: its next row is a first row.

        Raises:
            OptionError: there is no such key.
        """
        if key not in self._lanes:
            known = plain(", ".join(map(repr, self._lanes)), longest=200) or "none"
            raise OptionError(f"expected a key among {known}, got {key!r}")
        del self._lanes[key]

    def _push(self, row: Mapping[str, Any]) -> dict[str, Any]:
        key = cells.read_key(row, self.key)
        with np.errstate(over="ignore", invalid="ignore"):
            answer: dict[str, Any]
            lane, answer, notes = self._reader.read(key, row, self._lanes.get(key))
        notes += self._surplus(row)
        if lane is not None:
            self._lanes[key] = lane
        if notes:
            answer["note"] = "; ".join(notes)
        return answer

    def _surplus(self, row: Mapping[str, Any]) -> list[str]:
        """Say once of each column that the run does not read it; there may be no end of them."""
        notes = []
        for column in row:
            if column in self._columns or len(self._noted) >= _MOST_NOTED:
                continue
            name = plain(str(column), longest=60)
            if name not in self._noted:
                self._noted.append(name)
                notes.append(f"unknown column {name} ignored")
        return notes
