"""Commands run in this process, and the small runs that they are run on."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from shell import POEM, Command, Result, interrupt, table

from throughtime.cli import main


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process; `rows` is its standard input."""

    def run(*arguments: object, rows: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows), encoding="utf-8"))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, runs (forecast, another, language, interrupted) and a saved state."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "good.csv").write_text(table())
    (folder / "good.txt").write_text(POEM)
    small = ("--budget", "2steps", "--layer", "gru:4", "--out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "good.csv", *small, "forecast"]) == 0
        assert main(["train", "good.csv", "--horizon", "2", *small, "another"]) == 0
        assert main(["train", "good.txt", "--embedding", "4", *small, "language"]) == 0
        interrupt(patch, at_step=3)
        many = ("--budget", "6steps", "--layer", "gru:4", "--out", "interrupted")
        assert main(["train", "good.csv", *many]) == 130
        patch.setattr(sys, "stdin", io.StringIO(table(5)))
        assert main(["stream", "forecast", "--save", "state"]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` of one's own, which is the working directory."""
    copy = tmp_path / "here"
    shutil.copytree(trained, copy)
    monkeypatch.chdir(copy)
    return copy
