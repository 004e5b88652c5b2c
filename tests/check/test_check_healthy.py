"""Runs with nothing wrong raise no alarm, on whatever data they were trained and are checked."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from check_helpers import failed, item

from throughtime.check import check
from throughtime.errors import BundleError, DataError, OptionError
from throughtime.run import Run, load
from throughtime.training import fit


@pytest.mark.parametrize("name", ["sunspots", "text", "symbols", "stack"])
def test_healthy_run_passes(trained: dict[str, Path], name: str) -> None:
    report = check(trained[name])
    assert failed(report) == set(), str(report)
    assert report.passed
    for found in report.items:
        assert found.max_difference is not None
        assert found.max_difference <= found.tolerance
        assert found.first_difference is None
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["passed"] is True


@pytest.mark.usefixtures("short_batches")
def test_long_run_is_as_long_as_asked(trained: dict[str, Path]) -> None:
    found = item(check(trained["sunspots"], drift=12), "loss over a long run")
    assert "12 x 16 steps (data of 93 repeated)" in found.detail
    assert set(found.figures) == {"carried", "restarted"}
    assert all(len(quarters) == 4 for quarters in found.figures.values())


@pytest.mark.usefixtures("short_batches")
def test_no_drift_leaves_the_long_run_out(trained: dict[str, Path]) -> None:
    report = check(trained["sunspots"], drift=0)
    assert report.passed
    assert not any("long run" in found.name for found in report.items)


@pytest.mark.usefixtures("short_batches")
def test_run_object_keeps_mode_and_weights(run_of: Callable[[str], Run]) -> None:
    run = run_of("stack")
    run.model.train()
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    assert check(run, drift=8).passed
    assert run.model.training
    assert all(weight.equal(before[name]) for name, weight in run.model.state_dict().items())
    assert all(weight.grad is None for weight in run.model.parameters())


@pytest.mark.usefixtures("short_batches")
def test_other_data_is_used_when_given(trained: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    years = range(1000, 1200)
    pl.DataFrame({"year": years, "sunspots": np.arange(200.0) % 11}).write_csv(other)
    ((time, target),) = {(f.time, f.target) for f in [load(trained["sunspots"]).task.format]}
    pl.read_csv(other).rename({"year": time, "sunspots": target}).write_csv(other)
    report = check(trained["sunspots"], other, drift=8)
    assert report.passed
    with pytest.raises(DataError):
        check(trained["sunspots"], tmp_path / "none.csv")


@pytest.mark.usefixtures("short_batches")
def test_awkward_table_passes_and_recorded_inputs_do_where_it_is_gone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = []
    for key, length, scale in (("a", 120, 1e9), ("b", 90, 1e-9), ("c", 60, 0.0)):
        y = 5 * scale + scale * np.sin(np.arange(length)) + 0.1 * scale * rng.normal(size=length)
        y[rng.random(length) < 0.1] = np.nan
        hours = np.arange(length) + np.where(np.arange(length) > 40, 500, 0)
        frames.append(
            pl.DataFrame(
                {
                    "unique_id": key,
                    "ds": hours.astype("datetime64[h]").astype("datetime64[us]"),
                    "y": y,
                    "price": rng.normal(size=length) * 1e6,
                    "holiday": (np.arange(length) % 7 == 0) * 1.0,
                }
            )
        )
    frame = pl.concat(frames)
    run = fit(
        frame,
        layer="lstm:4",
        horizon=2,
        reading={"known_future": ("holiday",)},
        window=8,
        budget="3steps",
        out=tmp_path / "run",
        show=False,
    )
    report = check(run, frame, drift=12)
    assert failed(report) == set(), str(report)
    report = check(run, drift=12)
    assert failed(report) == set(), str(report)
    assert "recorded at training (the run was trained on a frame)" in str(
        item(report, "offline").detail
    )
    assert item(report, "loss over a long run").verdict == "not judged"
    assert item(report, "state over a long run").verdict == "ok"


@pytest.mark.usefixtures("short_batches")
def test_source_that_is_gone_is_said(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    poem = tmp_path / "gone.txt"
    poem.write_text("a red wheel barrow glazed with rain water\n" * 30)
    fit(str(poem), layer="lstm:4", budget="2steps", window=16, out=tmp_path / "run", show=False)
    poem.unlink()
    report = check(tmp_path / "run", drift=8)
    assert report.passed
    assert f"{poem} cannot be read" in item(report, "offline").detail


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BundleError, match="expected the folder of a run"):
            check(path)


@pytest.mark.parametrize("drift", [1, 7, -1])
def test_short_drift_is_refused(trained: dict[str, Path], drift: int) -> None:
    with pytest.raises(OptionError, match=f"got {drift}"):
        check(trained["sunspots"], drift=drift)


@pytest.mark.usefixtures("short_batches")
def test_path_may_be_of_any_kind(trained: dict[str, Path]) -> None:
    report = check(os.fspath(trained["text"]), drift=8)
    assert report.passed
    assert report.run == str(trained["text"])
