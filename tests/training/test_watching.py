"""Gradients through time, watched while training goes on."""

import csv
import math

import pytest
import torch
from trials import same, snapshot, text

import throughtime as tt
from throughtime import state as states
from throughtime.inspect import loss as watched
from throughtime.inspect.gradients import gradient_by_lag
from throughtime.inspect.loss import gradients_of_window
from throughtime.training.watching import GradientsSeen


def written(folder, words):
    path = folder / "words.txt"
    path.write_text(text(words).documents[0])
    return path


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_with_a_watch_is_training_without(tmp_path):
    data = written(tmp_path, 900)
    options = {"layer": "gru:6", "embedding": 4, "embedding_dropout": 0.2}
    given = {
        "task": "language",
        "budget": "12steps",
        "show": False,
        "lanes": 3,
        "window": 9,
        **options,
    }
    alone = tt.fit(data, out=tmp_path / "alone", **given)
    seen = tt.fit(data, out=tmp_path / "seen", watch_gradients=True, **given)
    assert same(snapshot(alone.model), snapshot(seen.model))
    assert not set(GradientsSeen.COLUMNS) & set(rows(alone.path)[0])
    validated = [row for row in rows(seen.path) if row["validation_loss"]]
    assert validated
    for row in validated:
        slope, half_life = float(row["gradient_slope"]), float(row["gradient_half_life"])
        assert half_life == pytest.approx(math.log(2) / -slope if slope < 0 else math.inf)
        assert 0 <= int(row["gradient_reach"]) < 9


def test_a_watch_says_what_it_sees(tmp_path, capsys):
    tt.fit(
        written(tmp_path, 900),
        out=tmp_path / "run",
        layer="lstm:6",
        budget="4steps",
        lanes=3,
        window=9,
        watch_gradients=True,
    )
    assert "gradients halve in " in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    given = {"layer": "gru:5x2", "budget": "2steps", "show": False}
    return tt.fit(written(folder, 600), out=folder / "run", **given)


def window(steps, lanes=3):
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(0, 3, (lanes, steps + 1), generator=generator)
    lengths = torch.full((lanes,), steps)
    return symbols[:, :-1], symbols[:, 1:], lengths, torch.zeros(lanes, steps, dtype=torch.bool)


def test_a_window_is_measured_from_the_state_before_it(trained):
    inputs, targets, lengths, resets = window(12)
    model, task = trained.model.eval(), trained.task
    state = states.tree_map(lambda leaf: leaf + 0.3, model.initial_state(3))
    found = gradients_of_window(task, model, (inputs, targets, lengths, resets), state)
    x = model.embedding(inputs).detach()
    wanted = gradient_by_lag(
        model.layers,
        x,
        lambda y: task.loss(model.head(y[:, -1:]), inputs[:, -1:], targets[:, -1:])[0],
        state=state,
    )
    torch.testing.assert_close(found.norms, wanted.norms, rtol=1e-6, atol=0)


def test_each_lane_counts_from_its_own_end(trained):
    inputs, targets, _, resets = window(12)
    lengths = torch.tensor([12, 0, 5])
    found = gradients_of_window(
        trained.task, trained.model, (inputs, targets, lengths, resets), None
    )
    assert found.norms.shape[1] == 2
    short = (inputs[2:, :5], targets[2:, :5], lengths[2:], resets[2:, :5])
    alone = gradients_of_window(trained.task, trained.model, short, None)
    torch.testing.assert_close(found.norms[:5, 1], alone.norms[:, 0], rtol=1e-6, atol=0)
    assert found.norms[5:, 1].isnan().all()


def test_of_a_long_window_the_end_is_looked_at(trained, monkeypatch):
    whole = gradients_of_window(trained.task, trained.model, window(40), None)
    monkeypatch.setattr(watched, "LONGEST", 15)
    end = gradients_of_window(trained.task, trained.model, window(40), None)
    assert len(end.norms) == 15
    torch.testing.assert_close(end.norms, whole.norms[:15], rtol=1e-5, atol=0)


def test_where_no_lane_has_a_step_there_is_nothing(trained):
    inputs, targets, _, resets = window(4)
    empty = (inputs, targets, torch.zeros(3, dtype=torch.int64), resets)
    assert gradients_of_window(trained.task, trained.model, empty, None) is None
