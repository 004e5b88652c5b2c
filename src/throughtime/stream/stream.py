"""`Stream`: a trained run that reads rows for ever, a state for each key.

A row costs about one step of the model, however many came before it, and memory grows with the
number of keys only. What a row does to its key is in `lane` (numbers) and `text`; how a stream is
kept on disk is in `snapshot`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from throughtime import state as states
from throughtime.errors import BundleError, DataError, NotStreamableError, OptionError
from throughtime.formats import plain
from throughtime.kernels import threads_for
from throughtime.stream import cells
from throughtime.stream.lane import ForecastReader
from throughtime.stream.snapshot import Snapshot, read_snapshot, write_snapshot
from throughtime.stream.text import TextReader
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

if TYPE_CHECKING:
    from throughtime.run import Run

_MOST_NOTED = 20


class Stream:
    """A run that reads one row at a time and answers each.

    Every rule is that of the offline reader: the time grid, filled gaps, restarts after long ones,
    held values, scales. So the `expected` of a row is the forecast that `Run.evaluate` scores.
    Only what came late or twice can't be put in order any more; it is dropped, which is said.

    Args:
        run: a forecast or language run. Its model belongs to the stream while it is used: moving
            it to another device or training it on is not noticed.
        key: the column that tells the streams apart; that of training when None.

    Attributes:
        key: the column that tells the streams apart, or None where all rows are of one stream.

    Raises:
        OptionError: the key column has another role already.
        NotStreamableError: the model needs the future.

    Example:
        >>> import tempfile, throughtime as tt
        >>> run = tt.fit("demo:sunspots", budget="2steps", out=tempfile.mkdtemp(), show=False)
        >>> stream = Stream(run)
        >>> first = stream.push({"year": 1700, "sunspots": 5.0})
        >>> second = stream.push({"year": 1701, "sunspots": 11.0})
        >>> second["expected"] == first["prediction"]
        True
    """

    def __init__(self, run: "Run", *, key: str | None = None) -> None:
        model = run.model.eval()
        if not model.layers.streamable:
            raise NotStreamableError(
                f"expected a run that can be streamed, got {run.config.model.layer} in {run.path}, "
                "which needs the future; train another layer"
            )
        task = run.task
        self._reader: ForecastReader | TextReader
        if isinstance(task, ForecastTask):
            self._reader = ForecastReader(task, model)
        elif isinstance(task, LanguageTask):
            self._reader = TextReader(task, model)
        else:
            raise OptionError(
                f"expected a forecast or language run to stream, got a {task.name} run"
            )
        self.key = self._reader.key if key is None else key
        if self.key is not None and self.key in self._reader.columns:
            raise OptionError(
                f"expected a column that tells the streams apart, got {self.key!r}, which is read "
                "as something else; name another"
            )
        self._columns = self._reader.columns | {self.key}
        self._model = model
        self._work = model.parameter_count()
        self._fingerprint = run.fingerprint
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole stream into one file, bound to the run.

        A stream that is loaded from it goes on bit for bit as this one does. The file appears
        whole or not at all.

        Raises:
            BundleError: it can't be written.
        """
        lanes = list(self._lanes.values())
        state = states.cat([lane.state for lane in lanes]) if lanes else self._no_state()
        packed = self._reader.pack(lanes)
        kept = Snapshot(self.keys, self.key, tuple(self._noted), state, packed)
        write_snapshot(path, kept, self._fingerprint)

    @classmethod
    def load(cls, run: "Run", path: str | os.PathLike[str], *, key: str | None = None) -> "Stream":
        """Go on with a stream that `save` wrote; nothing in the file is executed.

        Args:
            run: the run that the stream was of.
            path: the file.
            key: the column that tells the streams apart; that of the saved stream when None.

        Raises:
            BundleError: the file is missing, truncated, altered, foreign or of another model.
            OptionError: the saved stream told its keys apart by another column.
        """
        probe = cls(run)
        saved = read_snapshot(
            path, run.fingerprint, like=probe._no_state(), packed=probe._reader.pack([])
        )
        if key is not None and key != saved.key:
            raise OptionError(
                f"expected the key column {saved.key!r}, by which the saved stream tells its keys "
                f"apart, got {key!r}"
            )
        stream = cls(run, key=saved.key)
        if (saved.key is None) != (stream.key is None):
            raise BundleError(
                f"expected a saved stream with the key {stream.key!r}, got one without"
            )
        device = next(run.model.parameters()).device
        # Copied, so that each lane can be forgotten by itself.
        each = [
            states.tree_map(lambda leaf: leaf.clone().to(device), lane)
            for lane in (states.split(saved.state) if saved.keys else [])
        ]
        stream._lanes = dict(
            zip(saved.keys, stream._reader.unpack(saved.packed, each), strict=True)
        )
        stream._noted = list(saved.noted)
        return stream

    @torch.inference_mode()
    def _push(self, row: Mapping[str, Any]) -> dict[str, Any]:
        key = cells.read_key(row, self.key)
        with np.errstate(over="ignore", invalid="ignore"), threads_for(self._work):
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

    def _no_state(self) -> states.State:
        """Return a state of no lanes, for its tree, shapes and dtypes."""
        state = self._model.initial_state(1)
        return states.tree_map(lambda leaf: leaf[:0].detach(), state)
