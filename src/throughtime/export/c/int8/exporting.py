"""From a run to a folder of C in whole numbers.

It is calibrated, written, verified against its twin, and judged beside the run.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from throughtime.export.c.compiler import FAST, STRICT
from throughtime.export.c.exporting import SELFTEST, SIZES, texts_of
from throughtime.export.c.int8.calibration import stream_of
from throughtime.export.c.int8.exported import IntegerExported
from throughtime.export.c.int8.gate import verify_twin
from throughtime.export.c.int8.judging import drift, figures_beside
from throughtime.export.c.int8.network import IntegerNetwork, make_network
from throughtime.export.c.int8.standing import Standing
from throughtime.export.c.int8.twin import Twin
from throughtime.export.c.program import Program
from throughtime.export.c.runner import CRunner
from throughtime.export.c.selftest import write_selftest
from throughtime.export.c.size import measure
from throughtime.export.placing import put_files
from throughtime.run import Run


def to_c_int8(run: Run, folder: Path, calibrate: Any) -> IntegerExported:
    """Export a run in whole numbers; see `throughtime.export.to_c`."""
    network = make_network(run, stream_of(run, calibrate))
    program, texts = write_texts_int8(run, network)
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        for file, text in texts.items():
            (aside / file).write_text(text)
        with CRunner(run, program, aside, [*STRICT, *FAST]) as runner:
            verdict = verify_twin(run, runner, Twin(network))
            # They are equal, and the C is quicker.
            beside = figures_beside(run, runner, calibrate)
            apart = drift(run, runner)
        size = measure(aside, run.model.parameter_count(), program)
    made = IntegerExported(
        folder, (*texts, SIZES), verdict, size, network.calibration, beside, apart
    )
    texts[SIZES] = f"{made.report}\n"
    put_files(folder, {file: text.encode() for file, text in texts.items()})
    return made


def write_texts_int8(run: Run, network: IntegerNetwork) -> tuple[Program, dict[str, str]]:
    """Return a network as a program, and the text of each file."""
    program, y = network.write()
    texts = texts_of(run, program, y)
    return program, {**texts, SELFTEST: write_selftest(run, _recorded(run, Twin(network)))}


def _recorded(run: Run, twin: Twin) -> dict[str, Tensor]:
    """Return what the twin gives in place of what the run gave when it was trained."""
    inputs, lengths = run.parity["inputs"], run.parity["lengths"]
    present = torch.arange(inputs.shape[1]) < lengths[:, None]
    twin.begin(len(inputs))
    found = {"outputs": twin.run(inputs, present, torch.zeros_like(present))}
    data = {name: part for name, part in run.parity.items() if name.startswith("data.")}
    sample = {name.removeprefix("data."): part for name, part in data.items()}
    if sample:
        answer = run.task.answer(Standing(run.model, twin), sample)
        found |= {f"answer.{name}": part for name, part in answer.items()}
    return found
