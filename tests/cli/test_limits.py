"""Full disks and files that may not be touched: one line, and what was there is still there."""

from pathlib import Path

import pytest
from shell import Command, Result, contents, error_line, finished, process

LIMITED = Path(__file__).with_name("limited.py")


def limited(folder: Path, limit: str, *arguments: str) -> Result:
    """Run a command under a limit, in a process of its own."""
    result = finished(process(LIMITED, limit, *arguments, cwd=folder))
    if result.code == 77:
        pytest.skip("can't give up the superuser's rights here")
    return result


def test_a_full_disk_leaves_the_checkpoint_from_which_to_go_on(folder: Path, command: Command):
    kept = contents(folder)
    before = kept.pop("interrupted/metrics.csv")
    result = limited(folder, "bytes=4000", "train", "--resume", "interrupted")
    assert result.code == 1
    line = error_line(result)
    assert "interrupted" in line
    assert "room" in line
    now = contents(folder)
    assert now.pop("interrupted/metrics.csv").startswith(before)
    assert now == kept
    assert command("train", "--resume", "interrupted").code == 0
    assert command("check", "interrupted").code == 0


def test_a_full_disk_leaves_the_forecast_of_before(folder: Path):
    (folder / "kept.csv").write_text("kept")
    kept = contents(folder)
    result = limited(folder, "bytes=50", "predict", "forecast", "good.csv", "--out", "kept.csv")
    assert result.code == 1
    line = error_line(result)
    assert "kept.csv" in line
    assert "limit on file sizes" in line
    assert contents(folder) == kept


def test_a_full_disk_leaves_the_saved_stream_of_before(folder: Path):
    kept = contents(folder)
    started = process(
        *(LIMITED, "bytes=100", "stream", "forecast", "--load", "state", "--save", "state"),
        cwd=folder,
    )
    result = finished(started, b"ds,y\n2024-03-05,10\n")
    assert result.code == 1
    assert "state" in error_line(result)
    assert contents(folder) == kept


def test_data_that_may_not_be_read(folder: Path):
    (folder / "good.csv").chmod(0)
    arguments = ("train", "good.csv", "--budget", "2steps", "--out", "new")
    result = limited(folder, "user", *arguments)
    assert result.code == 1
    line = error_line(result)
    assert "good.csv" in line
    assert "permissions" in line
    assert not (folder / "new").exists()


def test_a_folder_that_may_not_be_written(folder: Path):
    closed = folder / "closed"
    closed.mkdir()
    (closed / "kept").write_text("kept")
    closed.chmod(0o500)
    arguments = ("train", "good.csv", "--budget", "2steps", "--layer", "gru:4")
    result = limited(folder, "user", *arguments, "--out", "closed/new")
    assert result.code == 2
    assert "closed/new" in error_line(result)
    result = limited(folder, "user", "predict", "forecast", "good.csv", "--out", "closed/kept.csv")
    assert result.code == 1
    line = error_line(result)
    assert "Permission denied" in line
    assert "closed" in line
    closed.chmod(0o700)
    assert contents(closed) == {"kept": b"kept"}


def test_a_run_that_may_not_be_read(folder: Path):
    (folder / "forecast" / "model.safetensors").chmod(0)
    result = limited(folder, "user", "evaluate", "forecast")
    assert result.code == 1
    line = error_line(result)
    assert "forecast/model.safetensors" in line
    assert "permissions" in line
