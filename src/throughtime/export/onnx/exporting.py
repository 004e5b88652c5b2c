"""From a run to a folder of graphs: verified first, and put into place last."""

import os
from pathlib import Path
from typing import Any

from throughtime.errors import NotStreamableError, OptionError
from throughtime.export.exported import Exported
from throughtime.export.gate import LONG_STEPS, Verdict, verify
from throughtime.export.onnx.forecast import ForecastGraphs
from throughtime.export.onnx.gating import SequenceRunner, StepRunner
from throughtime.export.onnx.language import LanguageGraphs
from throughtime.export.onnx.layer import SEQUENCE, STEP
from throughtime.export.onnx.metadata import describe_run
from throughtime.export.onnx.network import of_model
from throughtime.export.onnx.size import GraphSize
from throughtime.export.placing import folder_to_export_to, put_files
from throughtime.run import Run, load
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

_SHIPPED = Path(__file__).with_name("shipped")
_RUNNER = ("runner.py", "runner_graphs.py", "runner_rows.py")
_HERE = "throughtime.export.onnx.shipped."
"""What names of modules begin with here, and not where they are shipped."""


def to_onnx(run: Run | str | os.PathLike[str], out: str | os.PathLike[str]) -> Exported:
    """Export a run as ONNX: `step.onnx`, `sequence.onnx` and `runner.py` with its two files.

    Both graphs take what is in the data, in its own units, and give quantiles in the same, or take
    symbols and give probabilities. The runner needs numpy and onnxruntime alone. The numbers of
    both are verified before anything is written: see `throughtime.export.verify`.

    Args:
        run: the run, or its directory.
        out: the folder; created if it is not there.

    Returns:
        What was written, with the largest error and the sizes.

    Raises:
        OptionError: a layer is no plain maths, or onnx and onnxruntime are not installed.
        NotStreamableError: the model needs the future.
        MismatchError: a graph gives other numbers than the run.
    """
    run = run if isinstance(run, Run) else load(run)
    folder = folder_to_export_to(out)
    models = write_graphs(run)
    verdict = verify_graphs(run, models)
    contents = {name: model.SerializeToString() for name, model in models.items()}
    size = GraphSize(run.model.parameter_count(), {k: len(v) for k, v in contents.items()})
    contents |= runner_files()
    put_files(folder, contents)
    return Exported(folder, tuple(contents), verdict, size)


def runner_files() -> dict[str, bytes]:
    """Return the files of the runner, by name, as they lie beside the graphs."""
    texts = {name: (_SHIPPED / name).read_text("utf-8") for name in _RUNNER}
    return {name: text.replace(_HERE, "").encode() for name, text in texts.items()}


def write_graphs(run: Run) -> dict[str, Any]:
    """Return the graphs of a run by the names of their files."""
    model, task = run.model, run.task
    if not model.layers.streamable:
        raise NotStreamableError(
            f"expected a run that can be streamed, got {run.config.model.layer}, which needs the "
            "future; export its layer by tt.export.layer_to_onnx"
        )
    network = of_model(model)
    graphs: ForecastGraphs | LanguageGraphs
    if isinstance(task, ForecastTask):
        graphs = ForecastGraphs(task, network)
    elif isinstance(task, LanguageTask):
        graphs = LanguageGraphs(task, network)
    else:
        raise OptionError(
            f"expected a forecast or language run to export to ONNX, got a {task.name} run"
        )
    metadata = describe_run(run, network.layout, graphs.metadata())
    about = f"{task.name} by {run.config.model.layer}"
    return {
        STEP: graphs.step().model("step", f"One step of {about}.", metadata),
        SEQUENCE: graphs.sequence().model("sequence", f"Many steps of {about}.", metadata),
    }


def verify_graphs(run: Run, models: dict[str, Any], *, steps: int = LONG_STEPS) -> Verdict:
    """Demand that both graphs give the numbers of a run; return what the gate found of both."""
    runners = (SequenceRunner(run, models[SEQUENCE]), StepRunner(run, models[STEP]))
    found = [verify(run, runner, steps=steps) for runner in runners]
    notes = [verdict.note for verdict in found if verdict.note]
    return Verdict(
        max(verdict.max_error for verdict in found),
        sum(verdict.steps for verdict in found),
        notes[0] if notes else "",
    )
