"""The whole check of a run: everything in this room, one item after the other."""

import math
import os
from pathlib import Path
from typing import Any

import torch

from throughtime.bundle_files import CONFIG, MANIFEST, MODEL
from throughtime.check import drift as drifts
from throughtime.check.batch import LANES, gather
from throughtime.check.comparison import TOLERANCE
from throughtime.check.invariance import (
    check_any_batch,
    check_causal,
    check_padding,
    check_restart,
)
from throughtime.check.parity import (
    check_chunked,
    check_offline,
    check_recorded,
    check_reference,
    check_restored,
    check_route,
    check_stepped,
)
from throughtime.check.report import Item, Report
from throughtime.errors import BundleError, OptionError
from throughtime.kernels import threads_for
from throughtime.run import Run, load


def check(run: Run | str | os.PathLike[str], data: Any = None, *, drift: int = 50) -> Report:
    """Check that a run is what was trained, and runs the same in every way it can be run.

    Args:
        run: a run, or its directory.
        data: what to run it over: a path, a frame or `demo:NAME`. Where None, the data the run was
            trained on, and where that can't be read any more, the inputs recorded at training.
        drift: length of the long run, in windows as training cut them; 0 leaves it out.

    Returns:
        The report; a run that is altered, or whose model is at fault, does not raise.

    Raises:
        BundleError: when the path is no run at all.
        DataError: when data was given and can't be read.
        OptionError: when `drift` is neither 0 nor large enough.

    Example:
        >>> import tempfile
        >>> import throughtime as tt
        >>> run = tt.fit("demo:sunspots", layer="gru:8", budget="2steps",
        ...     out=tempfile.mkdtemp(), show=False)
        >>> check(run, drift=8).passed
        True
    """
    if drift != 0 and drift < drifts.LEAST:
        raise OptionError(
            f"expected drift of {drifts.LEAST} windows or more, or 0 for no long run, got {drift}"
        )
    path = run.path if isinstance(run, Run) else Path(run)
    files, loaded = _check_files(path, must_be_run=not isinstance(run, Run))
    if not isinstance(run, Run):
        if loaded is None:
            return Report(str(path), (files,))
        run = loaded
    model = run.model
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), threads_for(LANES * model.parameter_count()):
            return Report(str(path), (files, *_check_model(run, loaded, data, drift)))
    finally:
        model.train(training)


def _check_model(run: Run, loaded: Run | None, data: Any, drift: int) -> list[Item]:
    try:
        material = gather(run, data)
    except BundleError as error:
        nothing = Item("offline", False, math.inf, TOLERANCE, None, str(error))
        return [check_recorded(run), check_route(run), nothing]
    model, batch = run.model, material.batch
    symbols = model.config.symbols or 0
    return [
        check_recorded(run),
        check_route(run),
        check_offline(model, batch),
        check_chunked(model, batch),
        check_stepped(model, batch),
        check_reference(model, batch),
        check_restored(run, loaded, batch),
        check_any_batch(model, batch, symbols),
        check_causal(model, batch, symbols),
        check_padding(model, batch, symbols),
        check_restart(model, batch),
        *(drifts.check_drift(run, material, drift) if drift else ()),
    ]


def _check_files(path: Path, *, must_be_run: bool) -> tuple[Item, Run | None]:
    """Load the run anew, every file verified against the manifest."""
    try:
        loaded = load(path)
    except BundleError as error:
        if must_be_run and not any((path / name).exists() for name in (MANIFEST, CONFIG, MODEL)):
            raise
        return Item("files", False, math.inf, 0.0, None, str(error)), None
    return Item("files", True, 0.0, 0.0, None, "all as the manifest has them"), loaded
