"""What the tests of exports share: runs whose every number was drawn, and C that is run."""

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.export.c.compiler import STRICT, compile_c
from throughtime.export.c.exporting import write_texts
from throughtime.export.c.runner import CRunner
from throughtime.run import save

FAST = ("-O1", "-ffp-contract=off")
"""Flags that take little time to compile with."""


def need_compiler(name="cc"):
    """Skip a test where a compiler is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"needs the C compiler {name}")


def train(out, source="demo:sunspots", *, spread=0.2, **options):
    """A run after one step of training, and then with noise on every number.

    What starts at zero or one, such as biases and gains, would hide a fault.
    """
    if "task" not in options:
        options["task"] = "forecast"
    run = tt.fit(source, out=out, budget="1steps", show=False, window=16, **options)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    figures = json.loads((run.path / "results.json").read_text())
    return save(
        run.path,
        run.task,
        run.model,
        data=run.task.read(run.source if run.source else source),
        training=run.config.training,
        source=run.config.source,
        figures=figures,
    )


def put(run, folder):
    """Write an export without verifying it; return its program."""
    program, texts = write_texts(run)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return program


@contextmanager
def running(run, folder, flags=FAST, compiler=(), alter=None):
    """An export that runs, after `alter(source)` where that is given."""
    need_compiler()
    program = put(run, folder)
    if alter is not None:
        source = folder / "model.c"
        before = source.read_text()
        source.write_text(alter(before))
        assert source.read_text() != before
    with CRunner(run, program, folder, [*STRICT, *flags], compiler) as runner:
        yield runner


def compiled_and_run(sources, program: Path, flags=FAST, compiler=(), expected=0):
    """Compile a program, run it and return what it prints."""
    compile_c(sources, program, [*STRICT, *flags], compiler)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout
