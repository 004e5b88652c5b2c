"""The sequences of one worker: those in its slots, and how they come, leave and are kept.

Everything here is called from one thread, one call after the other; who calls, and when, is in
`batcher`. What rows do to sequences is in `engine`; what the store hears of them, in `ownership`.
"""

import heapq
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from throughtime.errors import BundleError
from throughtime.serve.ownership import Ownership
from throughtime.serve.refusals import Refusal
from throughtime.serve.store import AT_ONCE, Store, unavailable
from throughtime.stream.cells import show
from throughtime.stream.sessions import Sessions
from throughtime.tasks.forecast import ForecastTask

if TYPE_CHECKING:
    from throughtime.run import Run


class Worker:
    """The sequences of one run in one process.

    Where a new sequence finds no slot, it is refused; with a store, the one that was not used for
    longest goes there, and comes back when it is asked for. Of those that are open the store has
    copies, and whatever another worker has taken meanwhile does not go on here.

    Args:
        run: a forecast or language run.
        slots: how many sequences there is room for.
        idle: seconds without use after which a sequence goes; None for never.
        implicit_start: whether a row of an unknown sequence begins it.
        store: where sequences go that leave, and copies of those that are open; or None.
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
        self._owned = None if store is None else Ownership(store)
        self._now = time.monotonic()
        options: dict[str, Any] = {
            "slots": slots,
            "idle": idle,
            "leaving": None if self._owned is None else self._owned.left.__setitem__,
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

    @property
    def held(self) -> int:
        """How many sequences are here: those that are open, and those that could not leave yet."""
        return len(self._sessions) + (0 if self._owned is None else len(self._owned.left))

    def __len__(self) -> int:
        return len(self._sessions)

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
        self._agree()
        return before - len(self._sessions)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write all sequences into a file; may be called from any thread.

        Raises:
            BundleError: it can't be written.
        """
        self._sessions.snapshot(path)

    def renew(self) -> None:
        """Renew the lease of this worker; nothing is said where the store can't be reached."""
        self._begin(renew=True)
        self._agree()

    def uncopied(self) -> list[list[str]]:
        """Return the sequences that are to be copied, in pieces for `copy` that hold up nobody."""
        if self._owned is None:
            return []
        keys = self._owned.uncopied(self._sessions.keys)
        most = min(max(AT_ONCE // self.state_bytes, 1), 100)
        return [keys[begin : begin + most] for begin in range(0, len(keys), most)]

    def copy(self, keys: Iterable[str]) -> None:
        """Put copies of those of these sequences that are open into the store.

        Raises:
            Refusal: the store can't be reached.
        """
        self._begin()
        self._agree()
        if self._owned is not None:
            states = {key: self._sessions.export(key) for key in keys if key in self._sessions}
            self._close_lost(self._owned.copy(states))

    def drain(self) -> None:
        """Put all sequences into the store.

        Raises:
            Refusal: the store can't be reached; then what is not there is still here.
        """
        self._begin()
        if self._owned is None:
            return
        while True:
            self._agree()
            if not self._owned.settled:
                raise unavailable()
            keys = self._sessions.keys[:1000]
            if not keys:
                return
            for key in keys:
                self._owned.left[key] = self._sessions.export(key)
                self._sessions.close(key)

    def _begin(self, *, renew: bool = False) -> None:
        """Let the time go on, and let go of what is another worker's or was idle for too long.

        Within a call the time stands still, so that nothing goes between two looks at it.
        """
        self._now = time.monotonic()
        self._agree(renew=renew)
        # A step of none does it, without looking at all that stay as `expire` does.
        self._sessions.step({})

    def _agree(self, *, renew: bool = False) -> set[str]:
        """Let the store know what became of the sequences; return those that are lost to others.

        That is done before anything is read, and again before its answers go out: this worker may
        have been paused for so long, before or meanwhile, that another one took them.
        """
        if self._owned is None:
            return set()
        lost = self._owned.agree(lambda: self._sessions.keys, renew=renew)
        self._close_lost(lost)
        return lost

    def _close_lost(self, lost: Iterable[str]) -> None:
        for key in lost:
            if key in self._sessions:
                self._sessions.close(key)

    def _note_begun(self, key: str) -> None:
        if self._owned is not None:
            self._owned.begin(key)

    def _note_ended(self, key: str) -> None:
        if self._owned is not None:
            self._owned.end(key)

    def _bring(self, keys: Sequence[str]) -> dict[str, Refusal]:
        """Bring sequences back from where they left to, and say which can't be."""
        if self._owned is None:
            return {}
        left = self._owned.left
        found, refused = self._owned.take([key for key in keys if key not in self._sessions])
        for key, content in found.items():
            try:
                self._load(key, content)
            except Refusal as refusal:
                refused[key] = refusal
                self._owned.end(key)
        # One that was open may have had to go for these. Each that is brought back is the one used
        # last, so this comes to an end.
        while waiting := [key for key in keys if key in left and key not in refused]:
            for key in waiting:
                self._load(key, left.pop(key))
        return refused

    def _recall(self, key: str) -> None:
        """Bring one sequence back, or refuse because there is none."""
        refused = self._bring([key])
        if refused:
            raise refused[key]
        if key not in self._sessions:
            raise unknown(key)

    def _check_new(self, key: str) -> None:
        refused = self._bring([key])
        if key in refused and refused[key].code != "foreign_state":
            raise refused[key]
        if key in self._sessions:
            raise Refusal(
                "sequence_open",
                f"expected a sequence that is not open, got {show(key)}; end it first",
            )
        if self._owned is None and len(self._sessions) >= self.slots:
            raise self._full()

    def _load(self, key: str, content: bytes) -> None:
        try:
            self._sessions.load(key, content)
        except BundleError as error:
            raise Refusal("foreign_state", str(error)) from None

    def _full(self) -> Refusal:
        return Refusal(
            "full",
            f"expected a free slot for a new sequence, got {self.slots:,} that are taken; end "
            "some, or serve with more --slots or a shorter --idle",
        )


def unknown(key: str) -> Refusal:
    """Return what is said of a sequence that is none."""
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
