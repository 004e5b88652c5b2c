"""What the store must hear of a worker's sequences, and which of them are the worker's own.

A sequence that begins is claimed, one that was stepped is copied now and then, one that left is
handed on, one that ended is forgotten. Where the store can't be reached, all of that is done later.
When anything of it is done is in `engine`; how the store keeps apart what is whose, in `store`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from throughtime.serve.refusals import Refusal
from throughtime.serve.store import Store, unavailable
from throughtime.stream.cells import show


class Ownership:
    """The sequences of one worker, as the store has to know them.

    Args:
        store: where other workers find them.

    Attributes:
        left: sequences that left their slots and are not in the store yet.
        restored: sequences from a copy of a worker that is gone, which have not answered since.
    """

    def __init__(self, store: Store) -> None:
        self.left: dict[str, bytes] = {}
        self.restored: set[str] = set()
        self._store = store
        # Of those that left: what may be in the store all the same, as its answer was lost.
        self._unsure: set[str] = set()
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._changed: set[str] = set()
        self._all_copied_at = time.monotonic()

    @property
    def settled(self) -> bool:
        """Whether the store knows of all that began, ended and left."""
        return not (self._begun or self._ended or self.left)

    def begin(self, key: str) -> None:
        """Note that a sequence begins, whatever the store has under its name."""
        self._ended.discard(key)
        self.restored.discard(key)
        self._begun.add(key)
        self._changed.add(key)

    def change(self, keys: Iterable[str]) -> None:
        """Note that sequences were stepped."""
        self._changed.update(keys)

    def end(self, key: str) -> None:
        """Note that a sequence ended."""
        self._drop(key)
        self._ended.add(key)

    def take(self, keys: Sequence[str]) -> tuple[dict[str, bytes], dict[str, Refusal]]:
        """Take from the store what is neither open nor has left only now.

        Returns:
            The bytes of those that were there, and which can't be had.
        """
        asked = [key for key in keys if key not in self.left]
        # Whether these are still here is known when the store answers.
        refused = {key: unavailable() for key in keys if key in self._unsure}
        if not asked:
            return {}, refused
        try:
            if not self._ended.isdisjoint(asked):
                self._forget()
            found, elsewhere = self._store.take(asked)
        except Refusal as refusal:
            return {}, refused | dict.fromkeys(asked, refusal)
        self.restored.update(key for key, taken in found.items() if taken.is_copy)
        refused |= {key: open_elsewhere(key) for key in elsewhere}
        return {key: taken.content for key, taken in found.items()}, refused

    def agree(self, open_here: Callable[[], Iterable[str]], *, renew: bool = False) -> set[str]:
        """Let the store know what has become of the sequences, as far as it can be reached.

        Args:
            open_here: gives the sequences that are open.
            renew: whether the lease is renewed before it must be.

        Returns:
            Sequences that are another worker's by now, and must not go on here.
        """
        lost: set[str] = set()
        # The first may find out that the lease has lapsed; the second then knows what that cost.
        for _ in range(2):
            try:
                if renew or self._store.due:
                    lost |= self._renew(open_here)
                self._settle(lost)
                break
            except Refusal:
                continue
        for key in lost:
            self._drop(key)
        return lost

    def uncopied(self, open_here: Iterable[str]) -> list[str]:
        """Return the sequences that are to be copied: stepped since the last time, or long ago."""
        now = time.monotonic()
        if now - self._all_copied_at > self._store.expiry / 2:
            self._all_copied_at = now
            self._changed.update(open_here)
        return list(self._changed)

    def copy(self, states: Mapping[str, bytes]) -> set[str]:
        """Keep copies of open sequences, and return those that are another worker's by now.

        Raises:
            Refusal: the store can't be reached; they are to be copied as before.
        """
        lost = self._store.copy(states)
        self._begun.difference_update(states)
        self._changed.difference_update(states)
        for key in lost:
            self._drop(key)
        return lost

    def _renew(self, open_here: Callable[[], Iterable[str]]) -> set[str]:
        def keys() -> list[str]:
            # What has just begun is claimed after this.
            return [key for key in (*open_here(), *self.left) if key not in self._begun]

        lost = self._store.renew(keys)
        if lost is None:
            return set()
        for key in lost:
            self._drop(key)
        self._unsure.clear()
        self._changed.update(open_here())
        return lost

    def _settle(self, lost: set[str]) -> None:
        """Claim what began, forget what ended, hand on what left; note what is another worker's."""
        if self._begun:
            lost |= self._store.copy(dict.fromkeys(self._begun, b""))
            self._begun.clear()
        if self._ended:
            lost |= self._forget()
        for key in lost:
            self.left.pop(key, None)
        if self.left:
            self._unsure.update(self.left)
            lost |= self._store.put(self.left, self.restored)
            for key in list(self.left):
                self._drop(key)
            self._unsure.clear()

    def _forget(self) -> set[str]:
        lost = self._store.forget(self._ended)
        self._ended.clear()
        return lost

    def _drop(self, key: str) -> None:
        """Note that a sequence is here no longer."""
        self.left.pop(key, None)
        self.restored.discard(key)
        self._unsure.discard(key)
        self._begun.discard(key)
        self._changed.discard(key)


def open_elsewhere(key: str) -> Refusal:
    """Return what is said of a sequence that another worker has."""
    return Refusal(
        "elsewhere",
        f"expected a sequence of this worker, got {show(key)}, which is open on another one; "
        "ask again, or send it there",
    )
