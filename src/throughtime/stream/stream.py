"""`Stream`: a trained run that reads rows for ever, a state for each key.

A row costs about one step of the model, however many came before it, and memory grows with the
number of keys only. What a row does to its key is in `forecast_rows` and `text_rows`; how a stream
is kept on disk is in `snapshot`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from throughtime import state as states
from throughtime.errors import BundleError, NotStreamableError, OptionError
from throughtime.kernels import threads_for
from throughtime.stream.keyed import KeyedStream
from throughtime.stream.lane import ForecastReader
from throughtime.stream.snapshot import Snapshot, read_snapshot, write_snapshot
from throughtime.stream.text import TextReader
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

if TYPE_CHECKING:
    from throughtime.run import Run


class Stream(KeyedStream):
    """A run that reads one row at a time and answers each.

    Every rule is that of the offline reader: the time grid, filled gaps, restarts after long ones,
    held values, scales. So the `expected` of a row is the forecast that `Run.evaluate` scores.
    Only what came late or twice can't be put in order any more; it is dropped, which is said.

    Args:
        run: a forecast or language run. Its model belongs to the stream while it is used: moving
            it to another device or training it on is not noticed.
        key: the column that tells the streams apart; that of training when None.

    Attributes:
        key: the column that tells the streams apart, or None where all rows are of one stream.

    Raises:
        OptionError: the key column has another role already.
        NotStreamableError: the model needs the future.

    Example:
        >>> import tempfile, throughtime as tt
        >>> run = tt.fit("demo:sunspots", budget="2steps", out=tempfile.mkdtemp(), show=False)
        >>> stream = Stream(run)
        >>> first = stream.push({"year": 1700, "sunspots": 5.0})
        >>> second = stream.push({"year": 1701, "sunspots": 11.0})
        >>> second["expected"] == first["prediction"]
        True
    """

    def __init__(self, run: "Run", *, key: str | None = None) -> None:
        model = run.model.eval()
        if not model.layers.streamable:
            raise NotStreamableError(
                f"expected a run that can be streamed, got {run.config.model.layer} in {run.path}, "
                "which needs the future; train another layer"
            )
        task = run.task
        reader: ForecastReader | TextReader
        if isinstance(task, ForecastTask):
            reader = ForecastReader(task, model)
        elif isinstance(task, LanguageTask):
            reader = TextReader(task, model)
        else:
            raise OptionError(
                f"expected a forecast or language run to stream, got a {task.name} run"
            )
        super().__init__(reader, key)
        self._model = model
        self._work = model.parameter_count()
        self._fingerprint = run.fingerprint

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole stream into one file, bound to the run.

        A stream that is loaded from it goes on bit for bit as this one does. The file appears
        whole or not at all.

        Raises:
            BundleError: it can't be written.
        """
        lanes = list(self._lanes.values())
        state = states.cat([lane.state for lane in lanes]) if lanes else self._no_state()
        packed = self._reader.pack(lanes)
        kept = Snapshot(self.keys, self.key, tuple(self._noted), state, packed)
        write_snapshot(path, kept, self._fingerprint)

    @classmethod
    def load(cls, run: "Run", path: str | os.PathLike[str], *, key: str | None = None) -> "Stream":
        """Go on with a stream that `save` wrote; nothing in the file is executed.

        Args:
            run: the run that the stream was of.
            path: the file.
            key: the column that tells the streams apart; that of the saved stream when None.

        Raises:
            BundleError: the file is missing, truncated, altered, foreign or of another model.
            OptionError: the saved stream told its keys apart by another column.
        """
        probe = cls(run)
        saved = read_snapshot(
            path, run.fingerprint, like=probe._no_state(), packed=probe._reader.pack([])
        )
        if key is not None and key != saved.key:
            raise OptionError(
                f"expected the key column {saved.key!r}, by which the saved stream tells its keys "
                f"apart, got {key!r}"
            )
        stream = cls(run, key=saved.key)
        if (saved.key is None) != (stream.key is None):
            raise BundleError(
                f"expected a saved stream with the key {stream.key!r}, got one without"
            )
        device = next(run.model.parameters()).device
        # Copied, so that each lane can be forgotten by itself.
        each = [
            states.tree_map(lambda leaf: leaf.clone().to(device), lane)
            for lane in (states.split(saved.state) if saved.keys else [])
        ]
        stream._lanes = dict(
            zip(saved.keys, stream._reader.unpack(saved.packed, each), strict=True)
        )
        stream._noted = list(saved.noted)
        return stream

    @torch.inference_mode()
    def _push(self, row: Mapping[str, Any]) -> dict[str, Any]:
        with threads_for(self._work):
            return super()._push(row)

    def _no_state(self) -> states.State:
        """Return a state of no lanes, for its tree, shapes and dtypes."""
        state = self._model.initial_state(1)
        return states.tree_map(lambda leaf: leaf[:0].detach(), state)
