"""Every experiment of the lab: whole, quick to run, drawn, and not fooled by its own control."""

import ast
import inspect
import json
import math
from pathlib import Path

import pytest
import torch

from throughtime import lab
from throughtime.formats import finite
from throughtime.inspect import picture

RECORDED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "lab.json"


def recorded():
    """The outcomes of `throughtime lab run --all`, as they are kept beside the benchmarks."""
    content = json.loads(RECORDED.read_text())
    return {each["name"]: lab.Result.from_json(each) for each in content["experiments"]}


@pytest.mark.parametrize("name", lab.names())
def test_an_experiment_is_whole(name):
    experiment = lab.find(name)
    assert experiment.name == name
    assert name in lab.SECTIONS[experiment.section]
    for text in (experiment.claim, experiment.figure, experiment.control, experiment.meaning):
        assert len(text) > 10
    assert experiment.question.text.rstrip().endswith("?")
    assert len(set(experiment.question.answers)) == len(experiment.question.answers) >= 2
    assert 0 <= experiment.question.right < len(experiment.question.answers)
    low, high = experiment.interval
    assert -math.inf < low < high < math.inf
    parameters = inspect.signature(experiment.run).parameters
    assert next(iter(parameters)) == "seed"
    assert set(parameters) == {"seed", *experiment.knobs}
    assert experiment.settings({}) == {k: v.default for k, v in experiment.knobs.items()}
    assert experiment.settings(experiment.quick) == {
        k: experiment.quick.get(k, v.default) for k, v in experiment.knobs.items()
    }
    for knob, each in experiment.knobs.items():
        assert each.read(knob, str(each.default)) == each.default
        assert len(each.about) > 3


@pytest.mark.parametrize("name", lab.names())
def test_the_code_that_is_shown_is_the_code_that_runs(name):
    shown = lab.find(name).source
    parts = {part.name for part in ast.parse(shown).body if isinstance(part, ast.FunctionDef)}
    assert "run" in parts
    assert "draw" not in parts
    assert "EXPERIMENT" not in shown
    assert len(shown.splitlines()) < 200


@pytest.mark.parametrize("name", lab.names())
def test_an_experiment_runs_and_is_drawn(name):
    experiment = lab.find(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = experiment.settings(experiment.quick)
        outcomes = [experiment.run(seed, **settings) for seed in (0, 1)]
    finally:
        torch.set_num_threads(threads)
    for outcome in outcomes:
        assert json.loads(json.dumps(finite(outcome.details))) == finite(outcome.details)
        assert isinstance(outcome.figure, float)
        assert isinstance(outcome.control, float)
    figure = picture.draw(lambda axes: experiment.draw(outcomes, axes), columns=experiment.columns)
    assert len(figure.axes) >= experiment.columns
    assert picture.to_svg(figure, name).startswith("<svg")


@pytest.mark.parametrize("name", lab.names())
def test_what_was_recorded_holds_and_not_with_the_control_in_place_of_the_figure(name):
    result = recorded()[name]
    assert result.seeds == lab.SEEDS
    assert not result.turned
    assert result.holds
    swapped = [lab.Outcome(each.control, each.figure, each.details) for each in result.outcomes]
    assert not lab.find(name).holds(swapped)
    low, high = lab.find(name).interval
    assert not any(low <= each.control <= high for each in result.outcomes)


def test_what_was_recorded_took_less_than_a_minute_each():
    found = recorded()
    assert max(result.seconds for result in found.values()) < 60
    assert sum(result.seconds for result in found.values()) < 25 * 60
