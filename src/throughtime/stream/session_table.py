"""What all kinds of sessions share: they are opened, used, forked, left, kept and brought back.

A session is a live stream with a key, and a row of every array of a slab. What it is fed with and
answers is added in `vectors` (what the model reads) and `sessions` (rows of a table, or text).
"""

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import islice

import numpy as np

from throughtime.errors import NotStreamableError, OptionError
from throughtime.model import SequenceModel
from throughtime.stream import cells
from throughtime.stream.directory import Directory, check_key
from throughtime.stream.session_files import (
    Arrays,
    decode_session,
    encode_session,
    read_snapshot,
    write_snapshot,
)
from throughtime.stream.slab import slab_for

SLOTS = 10_000
"""How many sessions there is room for where nothing is said."""

Leaving = Callable[[str, bytes], object]
"""Takes the key and the export of a session that goes without having been closed."""


class SessionTable:
    """Sessions of one model by key, in a fixed number of slots.

    Where a new session finds no free slot, the one that was not used for longest goes. A session is
    used when it is opened, loaded, forked from another or stepped. Each method holds a lock, so
    that threads may share the sessions; each sees the others' calls whole or not at all.

    Args:
        model: a model that can be streamed.
        fingerprint: of the model; snapshots and exports are bound to it.
        beside: what else a session remembers: by name, what it is at the beginning (...).
        slots: how many sessions there is room for; their memory is taken at once.
        idle: seconds without use after which a session goes; None for never.
        leaving: called with the key and the export of each session that goes for want of a slot or
            of use, before it does. `load` brings it back. It must not change the sessions itself.
        clock: gives the time in seconds and never goes back.

    Raises:
        NotStreamableError: the model needs the future.
        OptionError: `slots` or `idle` is out of range, or the model is not in float32 on the CPU.
        ThroughtimeError: there is not enough memory.
    """

    _kept: Container[str] = ()
    """Sessions that must not go now."""

    def __init__(
        self,
        model: SequenceModel,
        fingerprint: str,
        beside: Mapping[str, np.ndarray],
        *,
        slots: int,
        idle: float | None,
        leaving: Leaving | None,
        clock: Callable[[], float],
    ) -> None:
        if not model.layers.streamable:
            raise NotStreamableError(
                f"expected a model that can be streamed, got {model.config.layer}, which needs the "
                "future; train another layer"
            )
        if idle is not None and not idle > 0:
            raise OptionError(f"expected idle above 0 seconds, or None, got {idle}")
        self._slab = slab_for(model.eval(), slots, beside)
        self._directory = Directory(slots)
        self._fingerprint = fingerprint
        self._idle = math.inf if idle is None else idle
        self._leaving = leaving
        self._clock = clock
        self._lock = threading.RLock()
        self._writing = threading.Lock()

    @property
    def slots(self) -> int:
        """How many sessions there is room for."""
        return self._slab.slots

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the open sessions; the one not used for longest comes first."""
        with self._lock:
            return tuple(self._directory)

    def __len__(self) -> int:
        return len(self._directory)

    def __contains__(self, key: object) -> bool:
        return key in self._directory

    def open(self, key: str) -> None:
        """Begin a session, which the first step of an unknown key does too.

        Raises:
            OptionError: the key is taken or can't be one, or no session may go for it.
        """
        with self._lock:
            now = self._begin()
            self._check_new(key)
            self._open([key], now)

    def close(self, key: str) -> None:
        """End a session; its state is gone, unless `export` was called before.

        Raises:
            OptionError: there is no such session.
        """
        with self._lock:
            self._directory.slot(key)
            self._drop(key)

    def fork(self, key: str, new: str) -> None:
        """Begin a session in the state that another one is in; each then goes its own way.

        Args:
            key: of the session that is there.
            new: of the one that begins.

        Raises:
            OptionError: there is no such session, or the new key is taken or can't be one.
        """
        with self._lock:
            now = self._begin()
            self._directory.slot(key)
            self._check_new(new)
            self._open([new], now, stay={key})
            self._slab.copy(self._directory.slot(key), self._directory.slot(new))

    def expire(self) -> tuple[str, ...]:
        """End the sessions that were idle for too long, and return their keys.

        Each step does so too, before it looks for the sessions that it steps.
        """
        with self._lock:
            before = tuple(self._directory)
            self._begin()
            return tuple(key for key in before if key not in self._directory)

    def export(self, key: str) -> bytes:
        """Return a session as bytes that `load` reads, here or in another process.

        Raises:
            OptionError: there is no such session.
        """
        with self._lock:
            slot = self._directory.slot(key)
            rows = {name: leaf[slot : slot + 1] for name, leaf in self._slab.leaves.items()}
            return encode_session(rows, self._fingerprint)

    def load(self, key: str, content: bytes) -> None:
        """Begin a session in the state of an exported one; nothing in the bytes is executed.

        Args:
            key: of the new session, whatever the exported one had.
            content: what `export` returned.

        Raises:
            BundleError: the bytes were cut or altered, or are of another model.
            OptionError: the key is taken or can't be one.
        """
        with self._lock:
            now = self._begin()
            self._check_new(key)
            rows = decode_session(content, self._fingerprint, self._slab.leaves)
            self._check_rows(rows)
            self._open([key], now)
            self._put([self._directory.slot(key)], rows)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write all sessions into one file, bound to the model, for `restore`.

        The file appears whole or not at all: a process that is killed at any moment leaves the last
        one that was written. Other threads wait only while the states are copied.

        Raises:
            BundleError: it can't be written.
            OptionError: something that was pushed waits for a tick, which no file holds.
        """
        with self._writing:
            with self._lock:
                self._check_snapshot()
                keys = list(self._directory)
                slots = self._directory.find(keys)
                rows = {name: leaf[slots] for name, leaf in self._slab.leaves.items()}
                ages = np.maximum(self._clock() - self._directory.used[slots], 0.0)
            write_snapshot(path, keys, ages, rows, self._fingerprint)

    def _restore(self, path: str | os.PathLike[str]) -> None:
        """Fill sessions that were just made with those of a snapshot."""
        leaves = self._slab.leaves
        keys, ages, rows = read_snapshot(path, self._fingerprint, leaves, self.slots)
        self._check_rows(rows)
        now = self._clock()
        slots = [self._directory.take(key, now) for key in keys]
        self._put(slots, rows)
        self._directory.used[slots] = now - ages

    def _seat(self, keys: Sequence[str], now: float) -> np.ndarray:
        """Return the slots of sessions, each named once; those that are not there begin.

        Raises:
            OptionError: a key is named twice or can't be one, or there are more than slots.
        """
        if len(keys) > self.slots:
            raise OptionError(
                f"expected at most {self.slots:,} sessions in a step, as many as there are slots, "
                f"got {len(keys):,}"
            )
        slots = self._directory.find(keys)
        if slots is None:
            different = set(keys)
            if len(different) < len(keys):
                raise _named_twice(keys)
            new = [key for key in keys if key not in self._directory]
            for key in new:
                check_key(key)
            self._open(new, now, stay=different)
            slots = self._directory.find(keys)
            assert slots is not None
        if not self._directory.are_different(slots):
            raise _named_twice(keys)
        self._directory.use(slots, now)
        return slots

    def _begin(self) -> float:
        """Let go of what was idle for too long, and return the time."""
        now = self._clock()
        if self._idle != math.inf:
            for key in self._directory.idle_since(now - self._idle):
                if key not in self._kept:
                    self._leave(key)
        return now

    def _open(self, keys: Sequence[str], now: float, stay: Container[str] = ()) -> None:
        short = len(keys) - self._directory.free
        if short > 0:
            may_go = (key for key in self._directory if key not in self._kept and key not in stay)
            first = list(islice(may_go, short))
            if len(first) < short:
                raise OptionError(
                    f"expected a session that may go for a new one, got {self.slots:,} that have "
                    "to stay; tick first, or take more slots"
                )
            for key in first:
                self._leave(key)
        slots = np.array([self._directory.take(key, now) for key in keys], dtype=np.int64)
        self._slab.begin(slots)
        self._opened(keys, slots)

    def _leave(self, key: str) -> None:
        if self._leaving is not None:
            self._leaving(key, self.export(key))
        self._directory.drop(key)

    def _put(self, slots: Sequence[int], rows: Arrays) -> None:
        for name, leaf in self._slab.leaves.items():
            leaf[slots] = rows[name]

    def _check_new(self, key: str) -> None:
        check_key(key)
        if key in self._directory:
            raise OptionError(
                f"expected a new key, got {cells.show(key)}, which is open: close it first"
            )

    def _drop(self, key: str) -> None:
        """End a session that was closed."""
        self._directory.drop(key)

    def _opened(self, keys: Sequence[str], slots: np.ndarray) -> None:
        """Note what a session knows from its key."""

    def _check_rows(self, rows: Arrays) -> None:
        """Refuse, by a `BundleError`, what no session can remember."""

    def _check_snapshot(self) -> None:
        """Refuse, by an `OptionError`, to write sessions that a file can't hold."""


def _named_twice(keys: Sequence[str]) -> OptionError:
    [(twice, _)] = Counter(keys).most_common(1)
    return OptionError(
        f"expected each session at most once in a step, got {cells.show(twice)} twice; step again "
        "for the next item"
    )
