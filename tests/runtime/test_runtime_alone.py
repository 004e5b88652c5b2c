"""The runtime imports nothing but numpy, and loads nothing but whole bundles of its layers."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundles import sign
from runtime_runs import forecast_run, language_run

import throughtime as tt
from throughtime.errors import BundleError, DataError, ThroughtimeError
from throughtime.runtime import load
from throughtime.runtime.config import read_config

FOREIGN = ("torch", "pydantic", "polars", "safetensors", "typer", "rich", "pydantic_core")
ROOM = Path(tt.__file__).parent / "runtime"
ALONE = """
import sys
for name in {foreign!r}:
    sys.modules[name] = None
from throughtime.runtime import load
import throughtime.runtime.__main__
model = load({run!r})
print(model.verify())
stream = model.stream()
for text in ("NA", "", "1.5"):
    stream.push({{"unique_id": "a", "ds": "2024-01-01 0" + str(len(text)) + ":00", "y": text}})
left = set(sys.modules) & {{"statistics", "asyncio", "argparse", "difflib", "shutil", "csv"}}
print(sorted(left - {{"argparse"}}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return forecast_run(tmp_path_factory.mktemp("alone") / "run", "gru:6")


def test_a_run_is_loaded_and_stepped_where_torch_is_not(run):
    code = ALONE.format(foreign=FOREIGN, run=str(run.path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    verified, left = done.stdout.splitlines()
    assert "agree" in verified
    assert left == "[]"


@pytest.mark.parametrize("file", sorted(ROOM.glob("*.py")), ids=lambda file: file.name)
def test_no_file_of_the_runtime_names_what_it_does_without(file):
    imported = re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), flags=re.MULTILINE)
    assert not set(imported) & set(FOREIGN)


def edited(run, tmp_path, edit):
    """A copy of a run whose config was changed by who can compute digests."""
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    content = json.loads((copy / "config.json").read_text())
    edit(content)
    (copy / "config.json").write_text(json.dumps(content))
    sign(copy)
    return copy


EDITS = {
    "format": lambda c: c.update(format="throughtime.run/2"),
    "no format": lambda c: c.pop("format"),
    "surplus": lambda c: c.update(code="x"),
    "task a list": lambda c: c.update(task=[]),
    "task unknown": lambda c: c["task"].update(name="classify"),
    "task empty": lambda c: c["task"].clear(),
    "task surplus": lambda c: c["task"].update(more=1),
    "no training": lambda c: c.pop("training"),
    "horizon 0": lambda c: c["task"]["options"].update(horizon=0),
    "horizon huge": lambda c: c["task"]["options"].update(horizon=10**9),
    "horizon true": lambda c: c["task"]["options"].update(horizon=True),
    "horizon two": lambda c: c["task"]["options"].update(horizon=2),
    "head": lambda c: c["task"]["options"].update(head="mean"),
    "levels empty": lambda c: c["task"]["options"].update(levels=[]),
    "levels falling": lambda c: c["task"]["options"].update(levels=[0.9, 0.1]),
    "levels text": lambda c: c["task"]["options"].update(levels=["0.5"]),
    "level 1": lambda c: c["task"]["options"].update(levels=[0.5, 1]),
    "fractions": lambda c: c["task"]["options"].update(fractions="all"),
    "option surplus": lambda c: c["task"]["options"].update(more=1),
    "scaler": lambda c: c["task"]["scaler"]["pooled"].__setitem__(1, 0),
    "scaler list": lambda c: c["task"].update(scaler=[]),
    "step text": lambda c: c["task"]["format"].update(step_us="1h"),
    "step 0": lambda c: c["task"]["format"].update(step_us=0),
    "months": lambda c: c["task"]["format"].update(step_months=-1),
    "gap": lambda c: c["task"]["format"].update(max_gap=10**9),
    "gap negative": lambda c: c["task"]["format"].update(max_gap=-1),
    "months of numbers": lambda c: c["task"]["format"].update(step_months=1, time_kind="integer"),
    "control characters": lambda c: c["task"]["format"].update({"\x1b[2J\n": 1}),
    "control in options": lambda c: c["task"]["options"].update({"\x1b[2J\n": 1}),
    "control in model": lambda c: c["model"].update({"\x1b[2J\n" * 999: 1}),
    "control in all": lambda c: c.update({"\x1b[2J\n" * 999: 1}),
    "control in format": lambda c: c.update(format="\x1b[2J\n" * 999),
    "control in task": lambda c: c["task"].update(name="\x1b[2J\n" * 999),
    "control in layer": lambda c: c["model"].update(layer="\x1b[2J\n"),
    "kind": lambda c: c["task"]["format"].update(time_kind="float"),
    "covariates": lambda c: c["task"]["format"].update(covariates="y"),
    "known": lambda c: c["task"]["format"].update(known_future=["z"]),
    "format surplus": lambda c: c["task"]["format"].update(more=1),
    "time number": lambda c: c["task"]["format"].update(time=3),
    "more covariates": lambda c: c["task"]["format"].update(covariates=["z"]),
    "layer": lambda c: c["model"].update(layer="gru"),
    "layer unknown": lambda c: c["model"].update(layer="gri:6"),
    "layer code": lambda c: c["model"].update(layer="__import__('os'):6"),
    "layer huge": lambda c: c["model"].update(layer="gru:999999x99"),
    "layer larger": lambda c: c["model"].update(layer="gru:7"),
    "layer other": lambda c: c["model"].update(layer="lstm:6"),
    "layer number": lambda c: c["model"].update(layer=6),
    "features": lambda c: c["model"].update(features=3),
    "features and symbols": lambda c: c["model"].update(symbols=3),
    "neither": lambda c: c["model"].update(features=None),
    "outputs": lambda c: c["model"].update(outputs=3),
    "outputs huge": lambda c: c["model"].update(outputs=10**12),
    "dropout": lambda c: c["model"].update(dropout=1.0),
    "zoneout": lambda c: c["model"].update(zoneout=0.1),
    "learned": lambda c: c["model"].update(learned_initial_state=1),
    "learned true": lambda c: c["model"].update(learned_initial_state=True),
    "negative": lambda c: c["model"].update(negative_eigenvalues="yes"),
    "embedding dropout": lambda c: c["model"].update(embedding_dropout=0.1),
    "model surplus": lambda c: c["model"].update(code="x"),
    "model a list": lambda c: c.update(model=[]),
    "state": lambda c: c.update(state=[]),
    "state name": lambda c: c["state"][0].__setitem__(0, "c"),
    "state shape": lambda c: c["state"][0].__setitem__(1, [-6]),
    "state huge": lambda c: c["state"][0].__setitem__(1, [2**40, 2**40]),
    "state text": lambda c: c.update(state="h"),
}


TAKEN = {"horizon true", "task surplus"}
"""What pydantic takes for the value that it means, or nobody reads with torch."""


@pytest.mark.parametrize("name", EDITS)
def test_a_config_that_does_not_fit_is_refused_in_one_line(run, tmp_path, name):
    copy = edited(run, tmp_path, EDITS[name])
    for read, errors in ((load, BundleError), (tt.load, ThroughtimeError)):
        if read is tt.load and name in TAKEN:
            continue
        with pytest.raises(errors) as caught:
            read(copy)
        message = str(caught.value)
        assert message.startswith("expected")
        assert message.isprintable()
        assert len(message) < 1500


@pytest.mark.parametrize("pattern", ["%Y%Y", "%", "%Q", "(", "%Y-%m-%d" * 9, "\x1b[2J"])
def test_a_pattern_of_times_that_is_none_reads_no_row(run, tmp_path, pattern):
    copy = edited(run, tmp_path, lambda c: c["task"]["format"].update(time_format=pattern))
    for stream in (load(copy).stream(), tt.Stream(tt.load(copy))):
        with pytest.raises(DataError) as caught:
            stream.push({"unique_id": "a", "ds": "2024-01-01", "y": 1})
        assert str(caught.value).isprintable()


def test_a_config_of_the_same_meaning_is_the_same_model(run, tmp_path):
    assert load(edited(run, tmp_path, lambda c: c.update(source="elsewhere"))).verify()


def test_a_layer_that_is_not_there_is_refused_by_those_that_are(run, tmp_path):
    copy = edited(run, tmp_path, lambda c: c["model"].update(layer="bidirectional:6"))
    with pytest.raises(BundleError, match=r"layers among rnn, lstm, gru, .*got 'bidirectional'"):
        load(copy)


def test_a_vocabulary_of_another_model_is_refused(tmp_path):
    run = language_run(tmp_path / "run", "gru:4")
    vocabulary = json.loads((run.path / "vocabulary.json").read_text())
    for change in (
        lambda v: v["symbols"].pop(),
        lambda v: v.update(mode="bytes"),
        lambda v: v.update(symbols="abc"),
        lambda v: v.clear(),
    ):
        content = json.loads(json.dumps(vocabulary))
        change(content)
        (run.path / "vocabulary.json").write_text(json.dumps(content))
        sign(run.path)
        with pytest.raises(BundleError, match=r"^expected"):
            load(run.path)
    (run.path / "vocabulary.json").unlink()
    sign(run.path)
    with pytest.raises(BundleError, match=r"^expected"):
        load(run.path)


def test_both_loaders_read_what_a_run_writes(run):
    content = json.loads((run.path / "config.json").read_text())
    config = read_config(content)
    assert config.model._asdict() == run.model.config.__dict__
    model = load(run.path)
    assert model.fingerprint == run.fingerprint
    parts = {name: tuple(leaf.shape) for name, leaf in model.initial_state(3).items()}
    assert parts == {"h": (3, 6)}
    assert torch.is_tensor(run.model.initial_state(3).h)


@pytest.mark.parametrize("name", ["gru", "echo_state", "rg_lru", "mlstm", "attention", "s5"])
def test_layers_beyond_any_file_are_refused_before_they_are_made(run, tmp_path, name):
    layer = f"{name}:999999x99"
    copy = edited(run, tmp_path, lambda c: c["model"].update(layer=layer))
    for read in (load, tt.load):
        with pytest.raises(ThroughtimeError, match="expected"):
            read(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**22
