"""What a row does to its key in a text stream: how surprising its text is to a language model.

Pieces are read one after the other with carried state, so that any way of cutting a text gives the
same surprise for each of its symbols. It is what `evaluate` gives to a text that is read likewise:
`evaluate` begins at the last training symbol with a fresh state, not at the start of the training
text. Where a model was trained on documents that are sequences of their own, each row is one such
document. Numpy only: `text` runs a model of torch, `runtime` one without.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from throughtime.data.text import Vocabulary
from throughtime.errors import DataError
from throughtime.stream import cells

COLUMN = "text"


@dataclass(frozen=True, slots=True)
class TextLane:
    """What one key remembers.

    Attributes:
        symbol: the last symbol, which the model has not read yet.
        state: of the model before that symbol, one lane.
    """

    symbol: int
    state: Any


class TextRows:
    """Reads rows of text; `begin` and `surprise` are its model's.

    Args:
        vocabulary: of the run.
        independent: whether each row is a sequence of its own.

    Attributes:
        columns: names that a row may have, beside that of its key.
        required: those of them that every row must have.
        key: None, as training knows no keys.
    """

    columns = frozenset([COLUMN])
    required = (COLUMN,)
    key: str | None = None

    def __init__(self, vocabulary: Vocabulary, independent: bool) -> None:
        self.vocabulary = vocabulary
        self.independent = independent

    def begin(self) -> Any:
        """Return the model's state before a first symbol, of one lane."""
        raise TypeError(f"{type(self).__name__} must define begin()")

    def surprise(self, tape: np.ndarray, state: Any) -> tuple[float, Any]:
        """Read a tape.

        Args:
            tape: (T + 1,) int64 symbols; the model reads all but the last.
            state: of the model before them, one lane.

        Returns:
            The summed surprise, in nats, of all symbols but the first, and the state after.
        """
        raise TypeError(f"{type(self).__name__} must define surprise(tape, state)")

    def read(
        self, key: str, row: Mapping[str, Any], lane: TextLane | None
    ) -> tuple[TextLane | None, dict[str, Any], list[str]]:
        """Read a row; arguments and result as in `ForecastRows.read`.

        Raises:
            DataError: the row has no text that the vocabulary can encode.
        """
        ids = self._encode(cells.cell(row, COLUMN, "text"), first=lane is None)
        unknown = self.vocabulary.unknown
        strange = 0 if unknown is None else int((ids == unknown).sum())
        notes = [f"symbols unknown to the vocabulary: {strange:,}"] if strange else []
        after, total, count = self._score(ids, lane)
        nats = total / count if count and math.isfinite(total) else None
        answer = {"unique_id": key, "symbols": count, "nats": nats}
        return None if self.independent else after, answer, notes

    def _encode(self, value: Any, *, first: bool) -> np.ndarray:
        """Return the symbols of a row's text, changed as `read_text` changes a file."""
        as_bytes = self.vocabulary.mode == "bytes"
        if not isinstance(value, str | bytes):
            raise DataError(f"expected text in column {COLUMN!r}, came {cells.show(value)}")
        try:
            if as_bytes:
                content = value if isinstance(value, bytes) else value.encode()
                text = content.decode("latin-1")
            else:
                text = value.decode() if isinstance(value, bytes) else value
        except UnicodeError as error:
            raise DataError(f"expected text in UTF-8 in column {COLUMN!r}, came {error}") from None
        if not as_bytes:
            text = text.removeprefix("\ufeff") if first else text
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.independent:
            text = text.removesuffix("\n")
        return self.vocabulary.encode(text)

    def _score(self, ids: np.ndarray, lane: TextLane | None) -> tuple[TextLane | None, float, int]:
        """Return the lane after symbols (T,), their summed surprise, and how many have one.

        The first symbol of all has none, as nothing was said before it.
        """
        if not len(ids):
            return lane, 0.0, 0
        if lane is None:
            tape, state = ids, self.begin()
        else:
            tape, state = np.append(lane.symbol, ids), lane.state
        total = 0.0
        if len(tape) > 1:
            total, state = self.surprise(tape, state)
        return TextLane(int(tape[-1]), state), total, len(tape) - 1
