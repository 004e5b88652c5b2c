"""Text of many sessions of a language run at once: how surprising each piece is.

The rules are those of `text_rows`. Symbols are read one after the other, those of all sessions that
have one left at the same time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from throughtime.errors import BundleError
from throughtime.model import SequenceModel
from throughtime.stream import cells
from throughtime.stream.slab import Slab
from throughtime.stream.text import TextReader
from throughtime.stream.text_rows import COLUMN
from throughtime.tasks.language import LanguageTask

Answer = dict[str, Any]


class TextSessionRows(TextReader):
    """Reads rows of sessions of a language run.

    What a session remembers, beside its state: whether it has `begun`, and `symbol`, the last one,
    which the model has not read yet.

    Args:
        task: the run's task.
        model: the run's model.

    Attributes:
        beside: what a session remembers at the beginning.
    """

    def __init__(self, task: LanguageTask, model: SequenceModel) -> None:
        super().__init__(task, model)
        self.beside = {"begun": np.array(False), "symbol": np.array(0, dtype=np.int64)}

    def opened(self, slab: Slab, keys: Sequence[str], slots: np.ndarray) -> None:
        """Note nothing: a text is the same under any key."""

    def parse(self, slab: Slab, slot: int | None, row: Mapping[str, Any]) -> np.ndarray:
        """Return the symbols (T,) of a row; arguments as those of `ForecastSessionRows`.

        Raises:
            DataError: the row has no text that the vocabulary can encode.
        """
        first = slot is None or not slab.leaves["begun"][slot]
        return self._encode(cells.cell(row, COLUMN, "text"), first=first)

    def check(self, rows: Mapping[str, np.ndarray]) -> None:
        """Refuse what no session can remember.

        Raises:
            BundleError: a symbol is none of the vocabulary's.
        """
        symbols = rows["symbol"]
        if not ((symbols >= 0) & (symbols < len(self.task.vocabulary))).all():
            raise BundleError("expected symbols of the vocabulary in sessions, got others")

    def answers(
        self, slab: Slab, keys: Sequence[str], slots: np.ndarray, rows: Sequence[np.ndarray]
    ) -> list[Answer]:
        """Read a row of each of some sessions; arguments as those of `ForecastSessionRows`."""
        begun, symbols = slab.leaves["begun"][slots].tolist(), slab.leaves["symbol"][slots]
        tapes = [
            np.append(symbols[place], ids) if begun[place] and len(ids) else ids
            for place, ids in enumerate(rows)
        ]
        totals = self._surprise(slab, slots, tapes)
        said = np.array([len(ids) > 0 for ids in rows], dtype=np.bool_)
        if self.task.independent:
            slab.begin(slots)
        else:
            slab.leaves["begun"][slots[said]] = True
            slab.leaves["symbol"][slots[said]] = [tape[-1] for tape in tapes if len(tape)]
        scored = [max(len(tape) - 1, 0) for tape in tapes]
        each = zip(keys, rows, totals.tolist(), scored, strict=True)
        return [self._answer(*one) for one in each]

    def _surprise(self, slab: Slab, slots: np.ndarray, tapes: Sequence[np.ndarray]) -> np.ndarray:
        """Return the summed surprise (n,) of tapes, of all their symbols but the first."""
        lengths = np.array([len(tape) for tape in tapes])
        order = np.argsort(-lengths, kind="stable")
        totals = np.zeros(len(tapes))
        for step in range(int(lengths.max(initial=0)) - 1):
            some = order[: int((lengths > step + 1).sum())]
            now = np.array([tapes[place][step] for place in some], dtype=np.int64)
            then = np.array([tapes[place][step + 1] for place in some], dtype=np.int64)
            outputs = slab.step(slots[some], now).astype(np.float64)
            top = outputs.max(axis=1)
            beyond = np.log(np.exp(outputs - top[:, None]).sum(axis=1))
            totals[some] += beyond + top - outputs[np.arange(len(some)), then]
        return totals

    def _answer(self, key: str, ids: np.ndarray, total: float, scored: int) -> Answer:
        nats = total / scored if scored and math.isfinite(total) else None
        answer: Answer = {"unique_id": key, "symbols": scored, "nats": nats}
        unknown = self.task.vocabulary.unknown
        if unknown is not None and (strange := int((ids == unknown).sum())):
            answer["note"] = f"symbols unknown to the vocabulary: {strange:,}"
        return answer
