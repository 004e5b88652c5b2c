"""The run: a trained model with its task, on disk and in memory.

A run directory holds the bundle (see `throughtime.bundle`), the figures of training and, while it
is interrupted, a checkpoint. `load` gives a `Run` back, which evaluates, predicts and generates.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from throughtime import __version__
from throughtime import state as states
from throughtime.bundle import Bundle, check_weights, read_bundle, write_bundle
from throughtime.data.splits import parse_split
from throughtime.errors import BundleError, OptionError
from throughtime.files import write_atomically
from throughtime.formats import plain
from throughtime.model import ModelConfig, SequenceModel
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask
from throughtime.tasks.task import Metrics, Task

if TYPE_CHECKING:
    import polars as pl

FORMAT = "throughtime.run/1"
PARITY_LANES = 2
PARITY_STEPS = 64

RESULTS_FILE = "results.json"

Tell = Callable[[str], None]


class RunConfig(BaseModel):
    """`config.json`: what is needed to make the model again and to feed it.

    Attributes:
        format: of this file.
        model_type: for tools that sort folders by it.
        version: of throughtime that wrote it.
        task: name and description of the task: options, reading, scales.
        model: what the model is made of.
        training: how it was trained.
        state: name, shape and dtype of each leaf of a lane's state.
        source: where the training data was read from.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    format: str
    model_type: str = "throughtime"
    version: str
    task: dict[str, Any]
    model: ModelConfig
    training: dict[str, Any]
    state: list[tuple[str, tuple[int, ...], str]]
    source: str


class Run:
    """A trained model with its task.

    Attributes:
        path: the run directory.
        config: what `config.json` says.
        task: turns data into what the model reads, and outputs into what people read.
        model: the model, in evaluation mode.
        fingerprint: identity of the model; saved states are bound to it.
    """

    def __init__(
        self, path: Path, config: RunConfig, task: Task, model: SequenceModel, bundle: Bundle
    ) -> None:
        self.path = path
        self.config = config
        self.task = task
        self.model = model.eval()
        self.fingerprint = bundle.fingerprint
        self.parity = bundle.parity

    @property
    def source(self) -> str:
        """Where the training data lies as seen from here; empty when it was a frame."""
        return locate(self.config.source, self.path)

    def given(self, data: Any, purpose: str) -> Any:
        """Return data, or where that is None the source of what the run was trained on.

        Raises:
            OptionError: when no data is given and the run was trained on a frame.
        """
        source = self.source if data is None else data
        if isinstance(source, str) and not source:
            raise OptionError(
                f"expected data to {purpose} {self.path} on, got none: it was trained on a frame; "
                "give that one"
            )
        return source

    def evaluate(
        self, data: Any = None, *, split: str | None = None, tell: Tell | None = None
    ) -> dict[str, Any]:
        """Score the model and the baselines on data.

        Each series is run from its first row with carried state; only the rows of a part are
        scored.

        Args:
            data: a path, a frame or `demo:NAME`; the data the run was trained on when None.
            split: shares such as "70/15/15"; those of training when None.
            tell: called with each line about what was found in the data.

        Returns:
            "task"; "splits", the figures of each part; "baselines", the figures of each baseline
            on the last part; and "baselines_by_split".

        Raises:
            DataError: when the data can't be read as the training data was.
            OptionError: when no data is given and the run was trained on a frame.
        """
        source = self.given(data, "evaluate")
        fractions = None if split is None else parse_split(split)
        task = task_from_json(self.config.task, self.task.vocabulary_json())
        if fractions is not None and len(fractions) != len(task.parts):
            raise OptionError(
                f"expected a split into {' / '.join(task.parts)} for {task.name}, got {split!r}"
            )
        read = task.read(source, fractions)
        if tell is not None:
            for line in read.findings.lines:
                tell(line)
        return results(task, task.evaluate(self.model, read), task.baselines(read))

    def predict(self, data: Any, *, tell: Tell | None = None) -> "pl.DataFrame":
        """Forecast what follows the last row of each series.

        Args:
            data: a path, a frame or `demo:NAME`.
            tell: called with each line about what was found in the data.

        Returns:
            A frame with `unique_id`, `ds`, `horizon` (1 to h) and a column for each quantile,
            named by its level, such as `q0.5`.

        Raises:
            OptionError: when the run is no forecasting run.
        """
        from throughtime.tasks.prediction import predict

        return predict(self.forecast_task("predict"), self.model, data, tell=tell)

    def generate(self, prompt: str = "\n", **options: Any) -> Iterator[str]:
        """Continue a prompt; the options are those of `throughtime.tasks.generate`.

        Raises:
            OptionError: when the run is no language run, or an option is out of range.
        """
        from throughtime.tasks.sampling import generate

        if not isinstance(self.task, LanguageTask):
            raise OptionError(
                f"expected a language run for generate, got a {self.task.name} run in {self.path}"
            )
        return generate(self.task, self.model, prompt, **options)

    def forecast_task(self, purpose: str) -> ForecastTask:
        """Return the task of a forecasting run, or say that `purpose` needs one."""
        if not isinstance(self.task, ForecastTask):
            raise OptionError(
                f"expected a forecast run for {purpose}, got a {self.task.name} run in {self.path}"
            )
        return self.task


def locate(source: str, path: Path) -> str:
    """Return a run's source: as it was named, or else so named from a folder around the run."""
    if os.path.exists(source):
        return source
    around = (parent / source for parent in path.resolve().parents)
    return next((str(place) for place in around if source and place.is_file()), source)


def load(path: str | os.PathLike[str]) -> Run:
    """Load a run; nothing in it is executed, and every file is verified.

    Args:
        path: the run directory.

    Raises:
        BundleError: when a file is missing, altered, corrupt or of an unknown version.
    """
    bundle = read_bundle(path)
    shown = plain(str(path), longest=1000)
    try:
        config = RunConfig.model_validate(bundle.config)
        if config.format != FORMAT:
            raise BundleError(
                f"expected a run of format {FORMAT}, got {plain(config.format)} in {shown}; open "
                "it with the throughtime that wrote it"
            )
        task = task_from_json(config.task, bundle.vocabulary)
        fitting = task.model_config(config.model.layer)
        for name in ("features", "symbols", "outputs"):
            expected, got = getattr(fitting, name), getattr(config.model, name)
            if expected != got:
                raise BundleError(
                    f"expected a model with {expected} {name} for its task, got {got} in {shown}; "
                    "the configuration is not one that throughtime wrote"
                )
    except ValidationError as error:
        first = error.errors()[0]
        place = plain(".".join(str(part) for part in first["loc"]))
        raise BundleError(
            f"expected a run configuration in {shown}, got one whose {place or 'content'} does not "
            f"fit: {plain(first['msg'], longest=400)}"
        ) from None
    with torch.device("meta"):
        skeleton = SequenceModel(config.model)
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in skeleton.state_dict().items()}
    check_weights(wanted, bundle.weights)
    skeleton.load_state_dict(bundle.weights, assign=True)
    leaves = [tuple(leaf) for leaf in states.spec(skeleton.eval().initial_state(1))]
    if config.state != leaves:
        raise BundleError(
            f"expected the state {plain(str(config.state), longest=300)} as {shown} describes it, "
            f"got {plain(str(leaves), longest=300)} of its layers; the files are not of one model"
        )
    return Run(Path(path), config, task, skeleton, bundle)


def save(
    path: Path,
    task: Task,
    model: SequenceModel,
    *,
    data: Any,
    training: dict[str, Any],
    source: str,
    figures: dict[str, Any],
) -> Run:
    """Write a run directory's bundle and `results.json`, and return the run.

    Args:
        path: the run directory.
        task: the task.
        model: the trained model.
        data: the training data, from which the parity vectors are taken.
        training: how it was trained, as JSON values.
        source: where the data was read from.
        figures: what `results` returned.
    """
    model = model.cpu().eval()
    config = RunConfig(
        format=FORMAT,
        version=__version__,
        task={"name": task.name, **task.to_json()},
        model=model.config,
        training=training,
        state=list(states.spec(model.initial_state(1))),
        source=source,
    )
    write_bundle(
        path,
        config=config.model_dump(mode="json"),
        weights=model.state_dict(),
        vocabulary=task.vocabulary_json(),
        parity=parity_vectors(task, model, data),
        card=card(config, model, figures),
    )
    content = json.dumps(figures, indent=2) + "\n"
    write_atomically(path / RESULTS_FILE, content.encode())
    return load(path)


def task_from_json(content: dict[str, Any], vocabulary: Any) -> Task:
    """Make the task that a configuration describes.

    Raises:
        BundleError: when it names no task or does not fit.
    """
    fields = {name: value for name, value in content.items() if name != "name"}
    match content.get("name"):
        case ForecastTask.name:
            return ForecastTask.from_json(fields)
        case LanguageTask.name:
            return LanguageTask.from_json(fields, vocabulary)
        case other:
            raise BundleError(f"expected a task forecast or language, got {plain(other)!r}")


@torch.no_grad()
def parity_vectors(task: Task, model: SequenceModel, data: Any) -> dict[str, Tensor]:
    """Return what every other way of running the model must match.

    That is, of the first steps of the validation data in two lanes of different length: `inputs`,
    `lengths`, `outputs` and end states `state.*`. Of a piece of the data as it was read, `data.*`:
    what task and model make of it, `answer.*`. And `description`, the digest of the task.
    """
    examples = task.examples(data, "validation")
    longest = sorted(examples, key=len, reverse=True)[0]
    half = max(len(longest) // 2, 1)
    pieces = [longest.inputs[:PARITY_STEPS], longest.inputs[half - 1 :][:PARITY_STEPS]]
    lengths = torch.tensor([len(piece) for piece in pieces])
    inputs = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(piece) for piece in pieces], batch_first=True
    )
    outputs, state = model(inputs, lengths=lengths)
    outputs = outputs * (torch.arange(inputs.shape[1]) < lengths[:, None])[:, :, None]
    vectors = {"inputs": inputs, "lengths": lengths, "outputs": outputs}
    for name, leaf in zip(states.names(state), states.leaves(state), strict=True):
        vectors[f"state.{name}"] = leaf
    sample = task.sample(data)
    vectors |= {f"data.{name}": part for name, part in sample.items()}
    vectors |= {f"answer.{name}": part for name, part in task.answer(model, sample).items()}
    description = {"name": task.name, **task.to_json()}
    return vectors | {"description": digest(description, task.vocabulary_json())}


def digest(description: dict[str, Any], vocabulary: dict[str, Any] | None) -> Tensor:
    """Return the SHA-256 (32,) uint8 of a task as `config.json` and `vocabulary.json` have it."""
    content = json.dumps([description, vocabulary], sort_keys=True).encode()
    return torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8)


def results(
    task: Task, figures: dict[str, Metrics], baselines: dict[str, dict[str, Metrics]]
) -> dict[str, Any]:
    """Put the figures of a model and its baselines into the form of `evaluate --json`."""
    return {
        "task": task.name,
        "splits": _jsonable(figures),
        "baselines": _jsonable(baselines[task.parts[-1]]),
        "baselines_by_split": _jsonable(baselines),
    }


def card(config: RunConfig, model: SequenceModel, figures: dict[str, Any]) -> str:
    """Return the model card: what it is, what it was trained on, and its figures."""
    part = list(figures["splits"])[-1]
    names = list(figures["splits"][part])
    rows = {"this model": figures["splits"][part], **figures["baselines"]}
    table = [f"| {part} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row, values in rows.items():
        shown = (f"{values[name]:.4g}" if values[name] is not None else "-" for name in names)
        table.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(
        [
            f"# A {config.task['name']} model: {config.model.layer}",
            "",
            f"Trained by throughtime {config.version} on `{config.source}`; "
            f"{model.parameter_count():,} parameters.",
            "",
            *table,
            "",
            "`throughtime check` verifies that it runs the same offline, in chunks, step by step "
            "and restored; `throughtime stream` runs it on what arrives.",
            "",
        ]
    )


def _jsonable(value: Any) -> Any:
    """Replace numbers that JSON has no word for by null."""
    if isinstance(value, dict):
        return {str(name): _jsonable(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
