"""`load`: a run directory becomes a model that steps without torch.

The bundle is verified as `throughtime.load` verifies it: manifest, digests, sizes, strict JSON,
headers, shapes, finite weights. Nothing in it is executed, and no more memory is taken than the
files have bytes.
"""

import os
from pathlib import Path
from typing import Any

from throughtime.bundle_files import CONFIG, MODEL, PARITY, VOCABULARY, read_files
from throughtime.errors import BundleError
from throughtime.formats import parse_json, plain
from throughtime.runtime.arrays import check_finite, read_arrays
from throughtime.runtime.config import Config, read_config
from throughtime.runtime.forecast import Forecast, ForecastReader
from throughtime.runtime.language import Language, TextReader
from throughtime.runtime.layer import Array
from throughtime.runtime.model import Network, State
from throughtime.runtime.parity import Verified, digest, verify
from throughtime.stream.keyed import KeyedStream


class RuntimeModel:
    """A trained model, running on NumPy and the compiled library.

    Attributes:
        path: the run directory.
        config: what `config.json` says, checked.
        task: what the numbers mean: a `Forecast` or a `Language`.
        network: the maths alone.
        fingerprint: identity of the model, the same as that of the run.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        task: Forecast | Language,
        network: Network,
        parity: dict[str, Array],
        fingerprint: str,
        description: bytes,
    ) -> None:
        self.path = path
        self.config = config
        self.task = task
        self.network = network
        self.fingerprint = fingerprint
        self._parity = parity
        self._description = description

    @property
    def backend(self) -> str:
        """What the layers run on: `native`, `numpy`, or both."""
        return self.network.backend

    def initial_state(self, lanes: int) -> dict[str, Array]:
        """Return the state before the first step, for B lanes, by the names of `config.json`."""
        return self.network.initial_state(lanes)

    def step(
        self, x: Array, state: State, *, reset: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Take one step: x (B, F) float32 or (B,) int64 to outputs (B, O) and the state after.

        Args:
            x: what the model reads.
            state: of B lanes; it is not changed.
            reset: (B,) bool, lanes whose state restarts before the step.

        Raises:
            ShapeError: x or reset has another shape or dtype.
            StateError: the state is of another model or another number of lanes.
        """
        return self.network.step(x, state, reset=reset)

    def run(
        self, x: Array, state: State | None = None, *, resets: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Take T steps: x (B, T, F) or (B, T) to outputs (B, T, O) and the state after the last.

        Args:
            x: what the model reads.
            state: of B lanes, before step 0; the initial one when None.
            resets: (B, T) bool, True at t where the state restarts before step t.

        Raises:
            ShapeError: x or resets has another shape or dtype.
            StateError: the state is of another model or another number of lanes.
        """
        return self.network.run(x, state, resets=resets)

    def stream(self, *, key: str | None = None) -> KeyedStream:
        """Return a stream that reads rows and answers them, as `throughtime.Stream` does.

        Args:
            key: the column that tells the streams apart; that of training when None.

        Raises:
            OptionError: the key column has another role already.
        """
        if isinstance(self.task, Forecast):
            return KeyedStream(ForecastReader(self.task, self.network), key)
        return KeyedStream(TextReader(self.task, self.network), key)

    def verify(self) -> Verified:
        """Compare with what was recorded when the model was trained, step by step.

        Raises:
            ParityError: naming the first step that lies further apart than 1e-5, relative to
                1 + |value|.
        """
        return verify(self.network, self.task, self._parity, self._description)


def load(path: str | os.PathLike[str]) -> RuntimeModel:
    """Load a trained run; nothing in it is executed, and every file is verified.

    Args:
        path: the folder that `train --out` wrote, or a copy of its bundle.

    Raises:
        BundleError: a file is missing, altered, corrupt or of an unknown version, or the model
            has a layer that does not run without torch.

    Example:
        >>> import tempfile, throughtime as tt
        >>> run = tt.fit("demo:sunspots", budget="2steps", out=tempfile.mkdtemp(), show=False)
        >>> stream = load(run.path).stream()
        >>> first = stream.push({"year": 1700, "sunspots": 5.0})
        >>> second = stream.push({"year": 1701, "sunspots": 11.0})
        >>> second["expected"] == first["prediction"]
        True
    """
    directory = Path(path)
    contents, fingerprint = read_files(directory)
    config = read_config(parse_json(contents[CONFIG], source=CONFIG))
    weights = read_arrays(contents[MODEL], MODEL)
    check_finite(weights, MODEL)
    vocabulary = None
    if VOCABULARY in contents:
        vocabulary = parse_json(contents[VOCABULARY], source=VOCABULARY)
    parity = read_arrays(contents[PARITY], PARITY)
    task = _read_task(config.task, vocabulary)
    made = config.model
    sizes = (made.symbols if isinstance(task, Language) else made.features, made.outputs)
    if sizes != task.sizes():
        raise BundleError(
            f"expected a model of {task.sizes()} inputs and outputs for its task, got {sizes} in "
            f"{plain(str(directory), longest=1000)}"
        )
    network = Network(config, weights)
    description = digest(config.task, vocabulary)
    return RuntimeModel(directory, config, task, network, parity, fingerprint, description)


def _read_task(content: dict[str, Any], vocabulary: dict[str, Any] | None) -> Forecast | Language:
    match content.get("name"):
        case Forecast.name:
            return Forecast(content)
        case Language.name:
            return Language(content, vocabulary)
        case other:
            raise BundleError(f"expected a task forecast or language, got {str(other)[:40]!r}")
