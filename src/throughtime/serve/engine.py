"""Rows to sequences: `Sessions` under Triton's flags.

Everything here is called from one thread, one call after the other; who calls, and when, is in
`batcher`. Nothing here knows HTTP.
"""

from collections.abc import Sequence
from typing import Any

from throughtime.errors import DataError, OptionError
from throughtime.serve.ownership import open_elsewhere
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Outcome, Step
from throughtime.serve.worker import Worker, unknown


class Engine(Worker):
    """A worker that reads rows.

    A row of an unknown sequence is refused unless it begins one: a sequence that went, by its end
    or for want of use, must not come back without its past and say nothing.
    """

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
        lost = self._agree()
        for place, step in enumerate(steps):
            if step.key in lost and isinstance(outcomes[place], Answer):
                outcomes[place] = open_elsewhere(step.key)
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
        self._note_begun(new)
        if self._owned is not None and key in self._owned.restored:
            self._owned.restored.add(new)
        lost = self._agree()
        if key in lost and new not in lost and new in self._sessions:
            self._sessions.close(new)
            self._note_ended(new)
        _check_kept(lost, key, new)

    def export(self, key: str) -> bytes:
        """Return a sequence as bytes.

        Raises:
            Refusal: there is no such sequence.
        """
        self._begin()
        self._recall(key)
        content = self._sessions.export(key)
        _check_kept(self._agree(), key)
        return content

    def load(self, key: str, content: bytes) -> None:
        """Begin a sequence in the state of an exported one.

        Raises:
            Refusal: the bytes are no state of this run, the sequence is open, or there is no room.
        """
        self._begin()
        self._check_new(key)
        self._load(key, content)
        self._note_begun(key)
        _check_kept(self._agree(), key)

    def close(self, key: str) -> None:
        """End a sequence.

        Raises:
            Refusal: there is no such sequence.
        """
        self._begin()
        self._recall(key)
        self._sessions.close(key)
        self._note_ended(key)
        _check_kept(self._agree(), key)

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
            started = step.key in began
            outcomes.append(
                Answer(answers[step.key], started, step.end, self._answered(step.key, started))
            )
            if step.end:
                self._sessions.close(step.key)
                self._note_ended(step.key)
        return outcomes

    def _answered(self, key: str, started: bool) -> bool:
        """Note that a sequence was stepped; return whether it comes from a copy and now says so."""
        if self._owned is None:
            return False
        if started:
            self._owned.begin(key)
        self._owned.change([key])
        restored = key in self._owned.restored
        self._owned.restored.discard(key)
        return restored

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
                refused[step.key] = unknown(step.key)
            elif self._owned is None and len(self._sessions) + new >= self.slots:
                refused[step.key] = self._full()
            else:
                new += 1
        return refused


def _check_kept(lost: set[str], *keys: str) -> None:
    for key in keys:
        if key in lost:
            raise open_elsewhere(key)
