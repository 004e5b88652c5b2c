"""`Sessions`: many live streams of one run, each fed its own rows, all stepped together.

A session reads and answers as a `Stream` does with one key. How sessions come, go and are kept is
in `session_table`; what a row does to its session is in `session_rows` (numbers) and
`session_text`; where the states lie is in `slab`.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from throughtime.errors import OptionError
from throughtime.stream import cells
from throughtime.stream.session_rows import ForecastSessionRows
from throughtime.stream.session_table import SLOTS, Leaving, SessionTable
from throughtime.stream.session_text import TextSessionRows
from throughtime.stream.slab import TOGETHER
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

if TYPE_CHECKING:
    from throughtime.run import Run


class Sessions(SessionTable):
    """Many live streams of one run: rows in, an answer for each.

    Every rule is that of `Stream`, and what a session answers does not depend on which others are
    ticked with it, bit for bit. A session is named after its series: its key decides by which scale
    it is read, as the key column does in a stream. A fork keeps the scale of what it was forked
    from.

    Args:
        run: a forecast or language run. Its weights are taken to stay as they are.
        slots: how many sessions there is room for. Where a new one finds none, the session that was
            not used for longest goes.
        idle: seconds without use after which a session goes; None for never.
        leaving: called with the key and the export of each session that goes in one of these ways,
            before it does. `load` brings it back.
        clock: gives the time in seconds and never goes back.

    Raises:
        NotStreamableError: the model needs the future.
        OptionError: the run is of another task, or an argument is out of range.

    Example:
        >>> import tempfile, throughtime as tt
        >>> run = tt.fit("demo:sunspots", budget="2steps", out=tempfile.mkdtemp(), show=False)
        >>> sessions = Sessions(run, slots=1000)
        >>> sessions.push("here", {"year": 1700, "sunspots": 5.0})
        >>> sessions.push("there", {"year": 1700, "sunspots": 80.0})
        >>> first = sessions.tick()
        >>> sessions.fork("here", "what if")
        >>> row = {"year": 1701, "sunspots": 11.0}
        >>> second = sessions.step({"here": row, "what if": row | {"sunspots": 90.0}})
        >>> second["what if"]["expected"] == first["here"]["prediction"]
        True
    """

    def __init__(
        self,
        run: "Run",
        *,
        slots: int = SLOTS,
        idle: float | None = None,
        leaving: Leaving | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader: ForecastSessionRows | TextSessionRows
        if isinstance(run.task, ForecastTask):
            self._reader = ForecastSessionRows(run.task, run.model)
        elif isinstance(run.task, LanguageTask):
            self._reader = TextSessionRows(run.task, run.model)
        else:
            raise OptionError(
                f"expected a forecast or language run for sessions, got a {run.task.name} run"
            )
        self._pending: dict[str, Any] = {}
        self._kept = self._pending
        super().__init__(
            run.model,
            run.fingerprint,
            self._reader.beside,
            slots=slots,
            idle=idle,
            leaving=leaving,
            clock=clock,
        )

    @property
    def pending(self) -> tuple[str, ...]:
        """The sessions whose row waits for the next tick."""
        with self._lock:
            return tuple(self._pending)

    def push(self, key: str, row: Mapping[str, Any]) -> None:
        """Give a session its row of the next tick; a key that is not open begins a session.

        A session that waits for a tick never goes unasked.

        Args:
            key: of the session.
            row: cells by column, as of `Stream.push`; a key column in it is not looked at.

        Raises:
            DataError: a cell can't be read; then nothing waits.
            OptionError: the session has a row already, or the key can't be one.
        """
        with self._lock:
            self._push({key: row})

    def tick(self) -> dict[str, dict[str, Any]]:
        """Read every row that waits, and answer each.

        Returns:
            The answers by key, in the order in which the rows came; each is what `Stream.push`
            gives.
        """
        with self._lock:
            keys, rows = list(self._pending), list(self._pending.values())
            slots = self._seat(keys, self._begin())
            answers: list[dict[str, Any]] = []
            with np.errstate(over="ignore", invalid="ignore"), torch.inference_mode():
                for begin in range(0, len(keys), TOGETHER):
                    part = slice(begin, begin + TOGETHER)
                    # Before they are read: a tick that is interrupted must not read them twice.
                    for key in keys[part]:
                        del self._pending[key]
                    answers += self._reader.answers(self._slab, keys[part], slots[part], rows[part])
            return dict(zip(keys, answers, strict=True))

    def step(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Push a row to each of some sessions, and tick.

        Args:
            rows: a row by the key of its session.

        Returns:
            The answers by key, those of rows that waited already among them.

        Raises:
            DataError: a cell can't be read; then none of these rows was pushed, and no tick was.
            OptionError: a session has a row already, or a key can't be one.
        """
        with self._lock:
            self._push(rows)
            return self.tick()

    @classmethod
    def restore(
        cls,
        run: "Run",
        path: str | os.PathLike[str],
        *,
        slots: int = SLOTS,
        idle: float | None = None,
        leaving: Leaving | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Sessions":
        """Go on with the sessions of a snapshot; nothing in the file is executed.

        Every answer that follows is what it would have been without the break, to the last bit.
        The time between snapshot and restart does not count as idle.

        Args:
            run: the run that they are of.
            path: the file that `snapshot` wrote.
            slots: how many sessions there is room for; not below those of the file.
            idle: as of `Sessions`, and so are the others.
            leaving: see there.
            clock: see there.

        Raises:
            BundleError: the file is missing, truncated, altered, foreign, of another model or of
                more sessions than slots.
        """
        sessions = cls(run, slots=slots, idle=idle, leaving=leaving, clock=clock)
        sessions._restore(path)
        return sessions

    def _push(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Let all of some rows wait, or none."""
        for key in rows:
            if key in self._pending:
                raise OptionError(
                    f"expected one row of each session in a tick, got a second of "
                    f"{cells.show(key)}; tick first"
                )
        now, keys = self._begin(), list(rows)
        read = [
            self._reader.parse(self._slab, self._directory.get(key), row)
            for key, row in rows.items()
        ]
        self._seat(keys, now)
        self._pending.update(zip(keys, read, strict=True))

    def _drop(self, key: str) -> None:
        self._pending.pop(key, None)
        super()._drop(key)

    def _opened(self, keys: Sequence[str], slots: np.ndarray) -> None:
        self._reader.opened(self._slab, keys, slots)

    def _check_rows(self, rows: Mapping[str, np.ndarray]) -> None:
        self._reader.check(rows)

    def _check_snapshot(self) -> None:
        if self._pending:
            raise OptionError(
                f"expected no rows that wait for a tick, which a snapshot does not hold, got "
                f"{len(self._pending):,}; tick first"
            )
