"""Memory of a call: a state and the stack take what the gates do, and little more."""

import copy
import shutil

import pytest
from int8_exports import put_int8

from throughtime.export.c.around import SUPPORTED
from throughtime.export.c.exporting import write_texts
from throughtime.export.c.size import measure
from throughtime.model import SequenceModel

SIZES = (1, 4, 8, 12, 16, 20, 32, 33, 64)


def with_layer(run, layer):
    """A run with another layer in the place of its own; what is recorded is that of the old one."""
    found = copy.copy(run)
    config = run.config.model.model_copy(update={"layer": layer})
    found.model = SequenceModel(config).eval()
    found.config = run.config.model_copy(update={"model": config})
    return found


def demand_memory(folder, program):
    report = measure(folder, 0, program)
    if not shutil.which("arm-none-eabi-gcc") and report.machines[0].stack is None:
        pytest.skip("needs a gcc, which tells how much stack a function takes")
    for size in report.machines:
        if "Cortex" in size.target or not shutil.which("arm-none-eabi-gcc"):
            assert size.holds, f"{size.memory} bytes over the bar of {size.bar} on {size.target}"


@pytest.mark.slow
@pytest.mark.parametrize("layer", SUPPORTED)
def test_memory_of_each_layer_is_within_the_bar(layer, plain, tmp_path):
    for units in SIZES:
        run = with_layer(plain, f"{layer}:{units}")
        program, texts = write_texts(run)
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        demand_memory(tmp_path, program)


@pytest.mark.slow
@pytest.mark.parametrize("layer", SUPPORTED)
def test_memory_of_each_layer_in_whole_numbers_is_within_the_bar(layer, plain, tmp_path):
    for units in SIZES:
        program, _ = put_int8(with_layer(plain, f"{layer}:{units}"), tmp_path)
        demand_memory(tmp_path, program)


@pytest.mark.parametrize("layer", ["rnn:8", "gru:4"])
def test_memory_of_small_layers_is_within_the_bar(layer, plain, tmp_path):
    program, texts = write_texts(with_layer(plain, layer))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    demand_memory(tmp_path, program)
