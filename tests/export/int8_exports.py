"""What the tests of exports in whole numbers share."""

from contextlib import contextmanager

import torch
from c_exports import FAST, need_compiler

from throughtime.export.c.compiler import STRICT
from throughtime.export.c.int8.calibration import stream_of
from throughtime.export.c.int8.exporting import write_texts_int8
from throughtime.export.c.int8.network import make_network
from throughtime.export.c.int8.twin import Twin
from throughtime.export.c.runner import CRunner


def put_int8(run, folder):
    """Write an export without verifying it; return its program and its network."""
    network = make_network(run, stream_of(run))
    program, texts = write_texts_int8(run, network)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return program, network


@contextmanager
def running_int8(run, folder, flags=FAST, compiler=(), alter=None):
    """An export that runs, after `alter(source)` where that is given, and its twin."""
    need_compiler()
    program, network = put_int8(run, folder)
    if alter is not None:
        source = folder / "model.c"
        before = source.read_text()
        source.write_text(alter(before))
        assert source.read_text() != before
    with CRunner(run, program, folder, [*STRICT, *flags], compiler) as runner:
        yield runner, Twin(network)


def distance(run, runner):
    """The root mean square of |a - b| / (1 + |b|) on what was recorded when the run was trained."""
    inputs, lengths = run.parity["inputs"], run.parity["lengths"]
    present = torch.arange(inputs.shape[1]) < lengths[:, None]
    runner.begin(len(inputs))
    outputs = runner.run(inputs, present, torch.zeros_like(present)).double()
    wanted = run.parity["outputs"].double()
    apart = ((outputs - wanted) / (1 + wanted.abs()))[present]
    return float((apart**2).mean() ** 0.5)
