"""The sequences of a server: `Sessions` under Triton's flags, with a place for those that leave.

Everything here is called from one thread, one call after the other; who calls, and when, is in
`batcher`. Nothing here knows HTTP.
"""

import heapq
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from throughtime.errors import BundleError, DataError, OptionError
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Outcome, Step
from throughtime.serve.store import Store
from throughtime.stream.cells import show
from throughtime.stream.sessions import Sessions
from throughtime.tasks.forecast import ForecastTask

if TYPE_CHECKING:
    from throughtime.run import Run


class Engine:
    """The sequences of one run.

    A row of an unknown sequence is refused unless it begins one: a sequence that went, by its end
    or for want of use, must not come back without its past and say nothing.

    Where a new sequence finds no slot, it is refused; with a store, the one that was not used for
    longest goes there, and comes back when it is asked for.

    Args:
        run: a forecast or language run.
        slots: how many sequences there is room for.
        idle: seconds without use after which a sequence goes; None for never.
        implicit_start: whether a row of an unknown sequence begins it.
        store: where sequences go that leave, or None.
        snapshot: a file of sequences to go on with.

    Attributes:
        state_bytes: of an exported sequence.
        columns: that a row may have.
        required: those of them that every row must have.

    Raises:
        BundleError: the snapshot is none of this run.
        OptionError: the run can't be served, or an argument is out of range.
    """

    def __init__(
        self,
        run: "Run",
        *,
        slots: int,
        idle: float | None,
        implicit_start: bool = False,
        store: Store | None = None,
        snapshot: str | os.PathLike[str] | None = None,
    ) -> None:
        self.implicit_start = implicit_start
        self.idle = idle
        self._store = store
        self._left: dict[str, bytes] = {}
        # Of those that left: what may be in the store all the same, as its answer was lost.
        self._unsure: set[str] = set()
        self._now = time.monotonic()
        options: dict[str, Any] = {
            "slots": slots,
            "idle": idle,
            "leaving": None if store is None else self._left.__setitem__,
            "clock": lambda: self._now,
        }
        probe = Sessions(run, slots=1)
        probe.open("probe")
        self.state_bytes = len(probe.export("probe"))
        if snapshot is None:
            self._sessions = Sessions(run, **options)
        else:
            self._sessions = Sessions.restore(run, snapshot, **options)
        self.columns, self.required = _columns(run)

    @property
    def slots(self) -> int:
        """How many sequences there is room for."""
        return self._sessions.slots

    def __len__(self) -> int:
        return len(self._sessions)

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Read rows, those of one sequence one after the other, those of several together.

        Args:
            steps: in order; a sequence may come several times.

        Returns:
            What each gave.
        """
        self._begin()
        outcomes: list[Outcome | None] = [None] * len(steps)
        rest = list(range(len(steps)))
        while rest:
            # At most half of the room, so that who is brought back displaces none of them.
            most = max(self.slots // 2, 1)
            now: dict[str, int] = {}
            later = []
            for place in rest:
                key = steps[place].key
                if key in now or len(now) >= most:
                    later.append(place)
                else:
                    now[key] = place
            given = self._together([steps[place] for place in now.values()])
            for place, outcome in zip(now.values(), given, strict=True):
                outcomes[place] = outcome
            rest = later
        self._keep_left()
        return [outcome for outcome in outcomes if outcome is not None]

    def fork(self, key: str, new: str) -> None:
        """Begin a sequence in the state that another one is in.

        Raises:
            Refusal: there is no such sequence, the new one is open, or there is no room.
        """
        self._begin()
        self._recall(key)
        self._check_new(new)
        # It may have had to go for the other.
        self._recall(key)
        try:
            self._sessions.fork(key, new)
        except OptionError:
            raise self._full() from None
        self._keep_left()

    def export(self, key: str) -> bytes:
        """Return a sequence as bytes.

        Raises:
            Refusal: there is no such sequence.
        """
        self._begin()
        self._recall(key)
        content = self._sessions.export(key)
        self._keep_left()
        return content

    def load(self, key: str, content: bytes) -> None:
        """Begin a sequence in the state of an exported one.

        Raises:
            Refusal: the bytes are no state of this run, the sequence is open, or there is no room.
        """
        self._begin()
        self._check_new(key)
        self._load(key, content)
        self._keep_left()

    def close(self, key: str) -> None:
        """End a sequence.

        Raises:
            Refusal: there is no such sequence.
        """
        self._begin()
        self._recall(key)
        self._sessions.close(key)
        self._keep_left()

    def page(self, after: str, most: int) -> tuple[list[str], str | None]:
        """List open sequences in alphabetical order.

        Args:
            after: the key that they come after; empty for the first page.
            most: keys on the page.

        Returns:
            The keys, and what to give as `after` for the next page, None on the last one.
        """
        keys = heapq.nsmallest(most + 1, (key for key in self._sessions.keys if key > after))
        return keys[:most], keys[most - 1] if len(keys) > most else None

    def expire(self) -> int:
        """Let go of what was idle for too long, and return how many these were."""
        before = len(self._sessions)
        self._begin()
        self._keep_left()
        return before - len(self._sessions)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write all sequences into a file; may be called from any thread.

        Raises:
            BundleError: it can't be written.
        """
        self._sessions.snapshot(path)

    def drain(self) -> int:
        """Put all sequences into the store, and return how many these were.

        Raises:
            Refusal: the store can't be reached; then all are still here.
        """
        self._begin()
        if self._store is None:
            return 0
        count = 0
        keys = self._sessions.keys
        for begin in range(0, len(keys), 1000):
            some = keys[begin : begin + 1000]
            self._store.put({key: self._sessions.export(key) for key in some})
            for key in some:
                self._sessions.close(key)
            count += len(some)
        self._store.put(self._left)
        count += len(self._left)
        self._left.clear()
        return count

    def _begin(self) -> None:
        """Let the time go on, and let go of what was idle for too long.

        Within a call the time stands still, so that nothing goes between two looks at it.
        """
        self._now = time.monotonic()
        # A step of none does it, without looking at all that stay as `expire` does.
        self._sessions.step({})

    def _together(self, steps: Sequence[Step]) -> list[Outcome]:
        """Read a row of each of different sequences."""
        refused = self._admit(steps)
        before: dict[str, bytes] = {}
        began = set()
        for step in steps:
            if step.key in refused:
                continue
            if step.start and step.key in self._sessions:
                before[step.key] = self._sessions.export(step.key)
                self._sessions.close(step.key)
            if step.key not in self._sessions:
                began.add(step.key)
        rows = {step.key: step.row for step in steps if step.key not in refused}
        answers = self._step(rows, refused)
        for key, content in before.items():
            if key in refused:
                self._sessions.load(key, content)
        outcomes: list[Outcome] = []
        for step in steps:
            if step.key in refused:
                outcomes.append(refused[step.key])
                continue
            if step.end:
                self._sessions.close(step.key)
            outcomes.append(Answer(answers[step.key], step.key in began, step.end))
        return outcomes

    def _step(
        self, rows: dict[str, dict[str, Any]], refused: dict[str, Refusal]
    ) -> dict[str, dict[str, Any]]:
        """Step sequences that are open or begin; note which rows can't be read."""
        try:
            return self._sessions.step(rows) if rows else {}
        except DataError:
            pass
        answers: dict[str, dict[str, Any]] = {}
        for key, row in rows.items():
            try:
                answers |= self._sessions.step({key: row})
            except DataError as error:
                refused[key] = Refusal("unreadable_row", f"{error}; the sequence is as before")
        return answers

    def _admit(self, steps: Sequence[Step]) -> dict[str, Refusal]:
        """Bring back the sequences that are in the store, and say which steps can't be taken."""
        # Those that begin anew as well: where the row can't be read, they are as they were.
        refused = self._bring([step.key for step in steps])
        for step in steps:
            if step.start and step.key in refused and refused[step.key].code == "foreign_state":
                del refused[step.key]
        new = 0
        for step in steps:
            if step.key in self._sessions or step.key in refused:
                continue
            if not (step.start or self.implicit_start):
                refused[step.key] = _unknown(step.key)
            elif self._store is None and len(self._sessions) + new >= self.slots:
                refused[step.key] = self._full()
            else:
                new += 1
        return refused

    def _bring(self, keys: Sequence[str]) -> dict[str, Refusal]:
        """Bring sequences back from where they left to, and say which can't be."""
        refused: dict[str, Refusal] = {}
        if self._store is None:
            return refused
        here = self._left.keys() - self._unsure
        asked = [key for key in keys if key not in self._sessions and key not in here]
        found: dict[str, bytes] = {}
        if asked:
            try:
                found = self._store.take(asked)
                self._unsure.difference_update(asked)
            except Refusal as refusal:
                refused = dict.fromkeys(asked, refusal)
        for key, content in found.items():
            if key in self._left:
                continue
            try:
                self._load(key, content)
            except Refusal as refusal:
                refused[key] = refusal
        # One that was open may have had to go for these. Each that is brought back is the one used
        # last, so this comes to an end.
        while waiting := [key for key in keys if key in self._left and key not in refused]:
            for key in waiting:
                self._load(key, self._left.pop(key))
        return refused

    def _recall(self, key: str) -> None:
        """Bring one sequence back, or refuse because there is none."""
        refused = self._bring([key])
        if refused:
            raise refused[key]
        if key not in self._sessions:
            raise _unknown(key)

    def _check_new(self, key: str) -> None:
        refused = self._bring([key])
        if key in refused and refused[key].code != "foreign_state":
            raise refused[key]
        if key in self._sessions:
            raise Refusal(
                "sequence_open",
                f"expected a sequence that is not open, got {show(key)}; end it first",
            )
        if self._store is None and len(self._sessions) >= self.slots:
            raise self._full()

    def _load(self, key: str, content: bytes) -> None:
        try:
            self._sessions.load(key, content)
        except BundleError as error:
            raise Refusal("foreign_state", str(error)) from None

    def _keep_left(self) -> None:
        """Put what has left into the store; where it can't be reached, later."""
        if self._store is None or not self._left:
            return
        try:
            self._store.put(self._left)
        except Refusal:
            self._unsure.update(self._left)
        else:
            self._left.clear()
            self._unsure.clear()

    def _full(self) -> Refusal:
        return Refusal(
            "full",
            f"expected a free slot for a new sequence, got {self.slots:,} that are taken; end "
            "some, or serve with more --slots or a shorter --idle",
        )


def _unknown(key: str) -> Refusal:
    return Refusal(
        "unknown_sequence",
        f"expected an open sequence, got {show(key)}, which is none (it ended, went after --idle, "
        "or is of another worker); begin it with sequence_start",
    )


def _columns(run: "Run") -> tuple[list[str], list[str]]:
    """Return the columns that a row may have, and those that it must have."""
    if not isinstance(run.task, ForecastTask):
        return ["text"], ["text"]
    format = run.task.format
    ahead = range(1, run.task.options.horizon + 1)
    future = [f"{name}@+{k}" for name in format.known_future for k in ahead]
    required = [format.time, format.target]
    return [*required, *format.covariates, *future], required
