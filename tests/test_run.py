"""The run directory: what goes in comes out, and what does not fit is refused in one line."""

import copy
import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from bundles import sign
from safetensors.torch import load_file

import throughtime as tt
from throughtime import state as states
from throughtime.errors import BundleError, OptionError
from throughtime.run import task_from_json


def waves(rows=90):
    t = np.arange(rows)
    rng = np.random.default_rng(0)
    y = np.sin(t / 3) + 0.1 * rng.normal(size=rows)
    return pl.DataFrame({"ds": t, "y": y, "x": np.cos(t / 3)})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    waves().write_csv(folder / "waves.csv")
    words = " ".join(["wheel", "barrow", "rain"][i % 3] for i in range(90))
    (folder / "words.txt").write_text(words)
    options = {"budget": "3steps", "lanes": 3, "window": 9, "show": False}
    return {
        "forecast": tt.fit(
            folder / "waves.csv", layer="lstm:5x2", dropout=0.2, horizon=2,
            reading={"season": 1, "known_future": ["x"]}, out=folder / "forecast", **options,
        ),
        "language": tt.fit(
            folder / "words.txt", layer="gru:5", embedding=4, out=folder / "language", **options
        ),
    }  # fmt: skip


@pytest.fixture(params=["forecast", "language"])
def run(request, runs):
    return runs[request.param]


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_loaded_run_is_the_run(run, copied):
    again = tt.load(copied)
    assert again.fingerprint == run.fingerprint
    assert again.config == run.config
    assert again.task.to_json() == run.task.to_json()
    assert again.task.vocabulary_json() == run.task.vocabulary_json()
    assert not again.model.training
    for name, weight in run.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)
    inputs = run.parity["inputs"]
    with torch.no_grad():
        wanted = run.model(inputs, lengths=run.parity["lengths"])
        got = again.model(inputs, lengths=run.parity["lengths"])
    for a, b in zip(states.leaves(got), states.leaves(wanted), strict=True):
        assert torch.equal(a, b)
    assert again.evaluate() == run.evaluate()


def test_a_run_records_what_the_model_makes_of_its_data(run):
    inputs, lengths = run.parity["inputs"], run.parity["lengths"]
    with torch.no_grad():
        outputs, state = run.model(inputs, lengths=lengths)
    for lane, length in enumerate(lengths.tolist()):
        recorded = run.parity["outputs"][lane, :length]
        assert torch.allclose(recorded, outputs[lane, :length], atol=1e-6)
    for name, leaf in zip(states.names(state), states.leaves(state), strict=True):
        assert torch.allclose(run.parity[f"state.{name}"].double(), leaf.double(), atol=1e-6)


def test_results_on_disk_are_those_of_evaluate(run):
    figures = json.loads((run.path / "results.json").read_text())
    again = run.evaluate()
    assert figures.pop("training").keys() == {
        "steps", "seconds", "best_step", "skipped", "parameters"
    }  # fmt: skip
    assert figures == json.loads(json.dumps(again))
    assert again.keys() == {"task", "splits", "baselines", "baselines_by_split"}
    assert again["baselines"] == again["baselines_by_split"][run.task.parts[-1]]


def test_the_folder_is_laid_out_as_other_tools_expect(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config["model_type"] == "throughtime"
    weights = load_file(run.path / "model.safetensors")
    assert weights.keys() == run.model.state_dict().keys()
    assert (run.path / "README.md").read_text().startswith("# A ")
    assert not list(run.path.glob("**/*.pt"))
    assert not list(run.path.glob("**/*.p*k*l*"))


def test_loading_draws_nothing_and_leaves_modes_alone(run):
    before = torch.get_rng_state()
    tt.load(run.path)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_task_cannot_do_is_said(runs):
    with pytest.raises(OptionError, match="expected a language run for generate, got a forecast"):
        runs["forecast"].generate()
    with pytest.raises(OptionError, match="expected a forecast run for predict, got a language"):
        runs["language"].predict("demo:sunspots")
    with pytest.raises(OptionError, match="train / validation for language, got '70/15/15'"):
        runs["language"].evaluate(split="70/15/15")
    with pytest.raises(OptionError, match="train / validation / test for forecast, got '90/10'"):
        runs["forecast"].evaluate(split="90/10")


def test_evaluate_takes_other_data_and_another_split(runs):
    run = runs["forecast"]
    whole = run.evaluate()
    other = run.evaluate(split="50/25/25")
    assert other["splits"]["test"] != whole["splits"]["test"]
    assert run.evaluate() == whole, "the run itself is as it was"
    assert run.evaluate(waves()) == whole
    assert run.evaluate(waves(120)) != whole


def test_a_text_run_reads_documents_as_one_text(runs):
    assert runs["language"].evaluate("demo:reber")["splits"]["validation"]["nats"] > 0


def rewritten(copied, change):
    content = json.loads((copied / "config.json").read_text())
    change(content)
    (copied / "config.json").write_text(json.dumps(content))
    sign(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="throughtime.run/9"), "format throughtime.run/1"),
        (lambda c: c["task"].update(name="poetry"), "a task forecast or language, got 'poetry'"),
        (lambda c: c["task"].pop("name"), "a task forecast or language"),
        (lambda c: c["task"].pop("options"), "no 'options'"),
        (lambda c: c["task"].update(options=[]), "that does not fit"),
        (lambda c: c.pop("model"), "whose model does not fit"),
        (lambda c: c["model"].update(layer="tree:4"), "does not fit"),
        (lambda c: c["model"].update(layer="gru:7"), "weight"),
        (lambda c: c["model"].update(outputs=5), "a model with"),
        (lambda c: c.update(extra=1), "whose extra does not fit"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(copied, change, message):
    rewritten(copied, change)
    with pytest.raises(BundleError, match=message) as caught:
        tt.load(copied)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def places(content, at=()):
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for name, part in items:
            yield (*at, name)
            yield from places(part, (*at, name))


@pytest.mark.parametrize("value", [None, "many\nlines", -1, 1e400, [], {}, True, [[1]]])
def test_no_description_of_a_task_crashes(run, value):
    """Whatever stands anywhere in it, the task is made or refused in one line."""
    whole = {"name": run.task.name, **run.task.to_json()}
    for place in places(whole):
        spoiled = copy.deepcopy(whole)
        inner = spoiled
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        message = ""
        try:
            task_from_json(spoiled, run.task.vocabulary_json()).model_config("gru:4")
        except BundleError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1, place
