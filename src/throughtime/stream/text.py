"""One key of a text stream: how surprising each piece of text is to a language model.

Pieces are read one after the other with carried state, so that any way of cutting a text gives the
same surprise for each of its symbols. It is what `evaluate` gives to a text that is read likewise:
`evaluate` begins at the last training symbol with a fresh state, not at the start of the training
text. Where a model was trained on documents that are sequences of their own, each row is one such
document.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from throughtime import state as states
from throughtime.errors import BundleError, DataError
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.stream import cells
from throughtime.tasks.language import LanguageTask

COLUMN = "text"
_PIECE = 512


@dataclass(frozen=True, slots=True)
class TextLane:
    """What one key remembers.

    Attributes:
        symbol: the last symbol, which the model has not read yet.
        state: of the model before that symbol, one lane.
    """

    symbol: int
    state: State


class TextReader:
    """Reads rows of a language run.

    Args:
        task: the run's task.
        model: the run's model.

    Attributes:
        columns: names that a row may have, beside that of its key.
        required: those of them that every row must have.
        key: None, as training knows no keys.
    """

    columns = frozenset([COLUMN])
    required = (COLUMN,)
    key: str | None = None

    def __init__(self, task: LanguageTask, model: SequenceModel) -> None:
        self.task = task
        self.model = model
        self._device = next(model.parameters()).device

    def read(
        self, key: str, row: Mapping[str, Any], lane: TextLane | None
    ) -> tuple[TextLane | None, dict[str, Any], list[str]]:
        """Read a row; arguments and result as in `ForecastReader.read`.

        Raises:
            DataError: the row has no text that the vocabulary can encode.
        """
        ids = self._encode(cells.cell(row, COLUMN, "text"), first=lane is None)
        unknown = self.task.vocabulary.unknown
        strange = 0 if unknown is None else int((ids == unknown).sum())
        notes = [f"symbols unknown to the vocabulary: {strange:,}"] if strange else []
        after, total, count = self._score(ids, lane)
        nats = total / count if count and math.isfinite(total) else None
        answer = {"unique_id": key, "symbols": count, "nats": nats}
        return None if self.task.independent else after, answer, notes

    def pack(self, lanes: Sequence[TextLane]) -> dict[str, Tensor]:
        """Return what lanes remember, beside their states, as tensors (K,)."""
        return {"symbol": torch.tensor([lane.symbol for lane in lanes], dtype=torch.int64)}

    def unpack(self, packed: Mapping[str, Tensor], each: Sequence[State]) -> list[TextLane]:
        """Return the lanes that `pack` packed, with their states.

        Raises:
            BundleError: a symbol is none of the vocabulary's.
        """
        symbols = packed["symbol"].tolist()
        if not all(0 <= symbol < len(self.task.vocabulary) for symbol in symbols):
            raise BundleError("expected symbols of the vocabulary in a saved stream, got others")
        return [TextLane(symbol, state) for symbol, state in zip(symbols, each, strict=True)]

    def _encode(self, value: Any, *, first: bool) -> np.ndarray:
        """Return the symbols of a row's text, changed as `read_text` changes a file."""
        as_bytes = self.task.options.mode == "bytes"
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
        if self.task.independent:
            text = text.removesuffix("\n")
        return self.task.vocabulary.encode(text)

    def _score(self, ids: np.ndarray, lane: TextLane | None) -> tuple[TextLane | None, float, int]:
        """Return the lane after symbols (T,), their summed surprise, and how many have one.

        The first symbol of all has none, as nothing was said before it.
        """
        if not len(ids):
            return lane, 0.0, 0
        if lane is None:
            tape, state = ids, self.model.initial_state(1, device=self._device)
        else:
            tape, state = np.append(lane.symbol, ids), lane.state
        total = 0.0
        for start in range(0, len(tape) - 1, _PIECE):
            piece = torch.from_numpy(tape[start : start + _PIECE + 1]).to(self._device)
            outputs, state = self.model(piece[None, :-1], state)
            surprise = functional.cross_entropy(outputs[0].float(), piece[1:], reduction="sum")
            total += float(surprise)
        # Copied, as a state may be a view of everything the last piece computed.
        kept = states.tree_map(torch.clone, state)
        return TextLane(int(tape[-1]), kept), total, len(tape) - 1
