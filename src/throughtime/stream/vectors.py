"""Sessions that are fed what the model itself reads: vectors of features, or symbols.

Nothing here knows rows, times or units; those are in `sessions`.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from throughtime.errors import ShapeError
from throughtime.model import SequenceModel
from throughtime.stream.session_table import SLOTS, Leaving, SessionTable


class VectorSessions(SessionTable):
    """Many live streams of one model, fed vectors and stepped together.

    What a session gets does not depend on which others it is stepped with, bit for bit.

    Args:
        model: on the CPU; its weights are taken to stay as they are.
        slots: how many sessions there is room for.
        idle: seconds without use after which a session goes; None for never.
        leaving: called with the key and the export of each session that goes unasked.
        clock: gives the time in seconds and never goes back.

    Raises:
        NotStreamableError: the model needs the future.
        OptionError: an argument is out of range, or the model is not in float32 on the CPU.

    Example:
        >>> from throughtime.model import ModelConfig
        >>> model = SequenceModel(ModelConfig(features=2, layer="gru:8", outputs=1))
        >>> sessions = VectorSessions(model, slots=100)
        >>> y = sessions.step(["a", "b"], np.ones((2, 2), dtype=np.float32))
        >>> sessions.fork("b", "c")
        >>> y = sessions.step(["c", "b", "d"], np.ones((3, 2), dtype=np.float32))
        >>> bool((y[0] == y[1]).all()), y.shape, sessions.keys
        (True, (3, 1), ('a', 'c', 'b', 'd'))
    """

    def __init__(
        self,
        model: SequenceModel,
        *,
        slots: int = SLOTS,
        idle: float | None = None,
        leaving: Leaving | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            model, _fingerprint(model), {}, slots=slots, idle=idle, leaving=leaving, clock=clock
        )
        config = model.config
        self._size = (config.features,) if config.symbols is None else ()
        self._symbols = config.symbols

    def step(self, keys: Sequence[str], x: np.ndarray) -> np.ndarray:
        """Step sessions, one item each; a key that is not open begins a session.

        Args:
            keys: of n different sessions.
            x: (n, F) float32, or (n,) int64 symbols where the model reads those.

        Returns:
            The model's outputs (n, O).

        Raises:
            ShapeError: x has another shape or dtype, or a symbol is none.
            OptionError: a key is named twice or can't be one, or there are more than slots.
        """
        dtype = np.float32 if self._symbols is None else np.int64
        if x.shape != (len(keys), *self._size) or x.dtype != dtype:
            raise ShapeError(
                f"expected x as {np.dtype(dtype)} {(len(keys), *self._size)} for {len(keys)} keys, "
                f"got {x.dtype} {x.shape}"
            )
        if self._symbols is not None and len(x) and not 0 <= x.min() <= x.max() < self._symbols:
            raise ShapeError(
                f"expected symbols of 0 to {self._symbols - 1}, got {x.min()} to {x.max()}"
            )
        with self._lock:
            return self._slab.step(self._seat(keys, self._begin()), np.ascontiguousarray(x))

    @classmethod
    def restore(
        cls,
        model: SequenceModel,
        path: str | os.PathLike[str],
        *,
        slots: int = SLOTS,
        idle: float | None = None,
        leaving: Leaving | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "VectorSessions":
        """Go on with the sessions of a snapshot, as `Sessions.restore` does.

        Raises:
            BundleError: the file is missing, truncated, altered, foreign, of another model or of
                more sessions than slots.
        """
        sessions = cls(model, slots=slots, idle=idle, leaving=leaving, clock=clock)
        sessions._restore(path)
        return sessions


def _fingerprint(model: SequenceModel) -> str:
    """Name a model by its configuration and weights."""
    digest = hashlib.sha256(model.config.model_dump_json().encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
