"""One key of a text stream of a torch run: how it is read in pieces, and how it is packed.

What a row does to its key is in `text_rows`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from throughtime import state as states
from throughtime.errors import BundleError
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.stream.text_rows import TextLane, TextRows
from throughtime.tasks.language import LanguageTask

_PIECE = 512


class TextReader(TextRows):
    """Reads rows of a language run.

    Args:
        task: the run's task.
        model: the run's model.
    """

    def __init__(self, task: LanguageTask, model: SequenceModel) -> None:
        super().__init__(task.vocabulary, task.independent)
        self.task = task
        self.model = model
        self._device = next(model.parameters()).device

    def begin(self) -> State:
        """Return the state before a first symbol, of one lane."""
        return self.model.initial_state(1, device=self._device)

    def surprise(self, tape: np.ndarray, state: State) -> tuple[float, State]:
        """Read a tape of symbols (T + 1,)."""
        total = 0.0
        for start in range(0, len(tape) - 1, _PIECE):
            piece = torch.from_numpy(tape[start : start + _PIECE + 1]).to(self._device)
            outputs, state = self.model(piece[None, :-1], state)
            surprise = functional.cross_entropy(outputs[0].float(), piece[1:], reduction="sum")
            total += float(surprise)
        # Copied, as a state may be a view of everything the last piece computed.
        return total, states.tree_map(torch.clone, state)

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
