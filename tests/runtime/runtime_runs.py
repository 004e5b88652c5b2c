"""What the tests of the runtime share: runs of any layer, quickly made."""

import torch
from streamed import MAX_GAP, table

from throughtime import run as runs
from throughtime.data.tables import read_table
from throughtime.data.text import read_text
from throughtime.model import SequenceModel
from throughtime.tasks import ForecastOptions, ForecastTask, LanguageOptions, LanguageTask

TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps.\n" * 12
FIGURES = {"splits": {"validation": {"mae": 1.0}}, "baselines": {}}


def _save(path, task, data, layer, **options):
    model = SequenceModel(task.model_config(layer, **options)).eval()
    with torch.no_grad():
        # Layers start with many zeros, behind which a fault would hide.
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return runs.save(path, task, model, data=data, training={}, source="nothing", figures=FIGURES)


def forecast_run(path, layer, *, frame=None, known=(), horizon=1, head="quantile", **options):
    """Save an untrained forecasting run."""
    frame = table(keys=2) if frame is None else frame
    data = read_table(frame, step="1h", max_gap=MAX_GAP, known_future=known)
    asked = ForecastOptions(horizon=horizon, head=head)
    return _save(path, ForecastTask.fit(data, asked), data, layer, **options)


def language_run(path, layer, *, mode="characters", **options):
    """Save an untrained language run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "text.txt").write_text(TEXT)
    data = read_text(path.parent / "text.txt", mode=mode)
    task = LanguageTask.fit(data, LanguageOptions(mode=mode))
    return _save(path, task, data, layer, **{"embedding": 5, **options})
