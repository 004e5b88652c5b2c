"""How the program begins and ends: help without torch, exit codes, pipes and signals."""

import inspect
import signal
import sys
import time
from pathlib import Path

import pytest
import typer
from shell import Command, error_line, finished, process

from throughtime.cli import main
from throughtime.cli.app import app
from throughtime.cli.failures import explain
from throughtime.cli.train import train
from throughtime.training import fit

VERBS = (
    *("demo", "train", "evaluate", "predict", "generate", "check", "stream", "serve"),
    *("inspect", "export", "bench"),
)

HEAVY = ("torch", "polars", "numpy", "safetensors")

IN_ONE_PROCESS = f"""
import sys
from throughtime.cli import main
for arguments in ([], ["--help"], ["--version"], *([verb, "--help"] for verb in {VERBS}),
                  ["trian"], ["train", "--budgett"]):
    main(arguments)
    heavy = [name for name in {HEAVY} if name in sys.modules]
    assert not heavy, (arguments, heavy)
"""


def test_help_version_and_wrong_use_import_nothing_heavy():
    result = finished(process("-W", "error", "-c", IN_ONE_PROCESS))
    assert result.code == 0, result.err
    assert "throughtime 0.1.0\n" in result.out


def test_the_module_is_the_program():
    result = finished(process("-m", "throughtime", "--version"))
    assert result == (0, "throughtime 0.1.0\n", "")


def test_an_exit_code_leaves_the_process():
    result = finished(process("-m", "throughtime", "trian"))
    assert result.code == 2
    assert "did you mean 'train'" in error_line(result)


def test_without_a_verb_help_is_printed(command: Command):
    result = command()
    assert result.code == 0
    for verb in VERBS:
        assert verb in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_takes_json_and_seed(verb: str, command: Command):
    result = command(verb, "--help")
    assert result.code == 0
    assert "--json" in result.out
    options = {
        option
        for parameter in typer.main.get_command(app).commands[verb].params  # type: ignore[attr-defined]
        for option in parameter.opts
    }
    assert {"--json", "--seed"} <= options


def test_what_train_does_by_default_is_what_fit_does_by_default():
    offered = inspect.signature(train).parameters
    for name, parameter in inspect.signature(fit).parameters.items():
        if name not in ("data", "reading", "show"):
            assert offered[name].default == parameter.default, name


def test_a_defect_keeps_its_traceback(folder: Path, command: Command, monkeypatch):
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("throughtime.run.load", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        command("evaluate", "forecast")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ],
)
def test_no_memory_left_can_be_mended(error: Exception):
    text, code = explain(error, ()) or ("", 0)
    assert code == 1
    assert "--lanes" in text


def test_ctrl_c_outside_training_ends_quietly(command: Command, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("throughtime.run.load", interrupted)
    assert command("evaluate", "forecast") == (130, "", "throughtime: interrupted\n")


def test_ctrl_c_in_training_says_how_to_go_on(folder: Path, command: Command):
    training = process(
        *("-m", "throughtime", "train", "good.csv", "--layer", "gru:4", "--budget", "60s"),
        *("--out", "new"),
        cwd=folder,
    )
    assert training.stderr is not None
    heard = b""
    while b"step 1," not in heard and training.poll() is None:
        heard += training.stderr.readline()
    training.send_signal(signal.SIGINT)
    result = finished(training)
    assert result.code == 130, heard.decode() + result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("throughtime: stopped at step")
    assert last.endswith("throughtime train --resume new")
    assert "Traceback" not in result.err


def test_a_reader_that_goes_away_ends_quietly(folder: Path):
    writing = process(
        *("-m", "throughtime", "generate", "language", "--length", "1000000"), cwd=folder
    )
    assert writing.stdout is not None
    assert writing.stdout.read(80)
    writing.stdout.close()
    writing.stdout = None
    result = finished(writing)
    assert result.code == 141
    assert result.err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_without_room_is_one_line(folder: Path):
    with open("/dev/full", "wb") as full:
        result = finished(
            process("-m", "throughtime", "predict", "forecast", "good.csv", cwd=folder, stdout=full)
        )
    assert result.code == 1
    assert "No space left" in error_line(result)


def test_a_stream_stops_at_ctrl_c_and_keeps_its_state(folder: Path):
    streaming = process(*("-m", "throughtime", "stream", "forecast", "--save", "kept"), cwd=folder)
    assert streaming.stdin is not None
    assert streaming.stdout is not None
    streaming.stdin.write(b"ds,y\n2024-01-01,10\n")
    streaming.stdin.flush()
    assert streaming.stdout.readline().startswith(b"{")
    time.sleep(0.2)
    streaming.send_signal(signal.SIGINT)
    result = finished(streaming)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert (folder / "kept").exists()


def test_characters_that_an_output_lacks_are_no_reason_to_fail(folder: Path, monkeypatch):
    (folder / "prompt.txt").write_text("größe")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    prompted = ("generate", "language", "--length", "3", "--prompt-file", "prompt.txt")
    result = finished(process("-m", "throughtime", *prompted, cwd=folder))
    assert result.code == 0
    assert result.out.startswith("gr??e")


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["throughtime", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == "throughtime 0.1.0\n"
