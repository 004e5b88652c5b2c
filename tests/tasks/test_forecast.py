"""Forecasts: losses by hand, quantiles in order, figures of the right rows, no look ahead."""

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from throughtime.data.tables import read_table
from throughtime.errors import DataError
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastOptions, ForecastTask
from throughtime.tasks.metrics import forecast_metrics, mase_scale, training_std
from throughtime.tasks.task import mean_loss

LEVELS = np.arange(1, 10) / 10


def table(rows=80, series=2, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(series):
        t = np.arange(rows)
        y = 5 * number + (1 + number) * np.sin(t / 3) + 0.2 * rng.normal(size=rows)
        y[rng.random(rows) < 0.1] = np.nan
        x = np.cos(t / 3)
        parts.append(pl.DataFrame({"unique_id": [f"s{number}"] * rows, "ds": t, "y": y, "x": x}))
    return read_table(pl.concat(parts), season=1)


def task_for(data, horizon=2, head="quantile"):
    return ForecastTask.fit(data, ForecastOptions(horizon=horizon, head=head))


def model_for(task, layer="gru:5"):
    torch.manual_seed(0)
    return SequenceModel(task.model_config(layer)).eval()


def draw(task, shape=(3, 4)):
    torch.manual_seed(1)
    size = task.model_config("gru:3").outputs
    outputs = 2 * torch.randn(*shape, size)
    inputs = torch.randn(*shape, task.features.size)
    targets = torch.randn(*shape, task.options.horizon)
    targets[torch.rand(targets.shape) < 0.3] = math.nan
    return outputs, inputs, targets


def test_the_quantile_loss_is_the_pinball_loss_of_each_target():
    task = task_for(table())
    outputs, inputs, targets = draw(task)
    total, count = task.loss(outputs, inputs, targets)
    byhand, there = 0.0, 0
    made = outputs.reshape(3, 4, 2, 9)
    for b, t, k in np.ndindex(3, 4, 2):
        y = float(targets[b, t, k])
        if math.isnan(y):
            continue
        there += 1
        for q, p in enumerate(LEVELS):
            error = y - float(made[b, t, k, q]) - float(inputs[b, t, 0])
            byhand += 2 * max(p * error, (p - 1) * error) / 9
    assert int(count) == there
    assert float(total) == pytest.approx(byhand, rel=1e-5)


def test_the_gaussian_head_is_a_normal_distribution():
    task = task_for(table(), head="gaussian")
    outputs, inputs, targets = draw(task)
    made = outputs.reshape(3, 4, 2, 2).double().numpy()
    mean = made[..., 0] + inputs[..., :1].double().numpy()
    floor = math.log(1e-3)
    deviation = np.exp(floor + np.log1p(np.exp(made[..., 1] - floor)))
    quantiles = task.scaled_quantiles(outputs, inputs).numpy()
    wanted = norm.ppf(LEVELS, mean[..., None], deviation[..., None])
    np.testing.assert_allclose(quantiles, wanted, rtol=2e-5, atol=2e-5)
    total, count = task.loss(outputs, inputs, targets)
    there = ~np.isnan(targets.numpy())
    logs = norm.logpdf(targets.numpy(), mean, deviation)[there]
    assert int(count) == there.sum()
    # less the constant of the density
    assert float(total) == pytest.approx(-logs.sum() - there.sum() * math.log(2 * math.pi) / 2,
                                         rel=1e-4)  # fmt: skip


@given(st.integers(0, 2**31 - 1), st.sampled_from(["quantile", "gaussian"]))
def test_quantiles_never_cross(seed, head):
    task = task_for(table(), head=head)
    generator = torch.Generator().manual_seed(seed)
    size = task.model_config("gru:3").outputs
    outputs = 50 * torch.randn(5, size, generator=generator)
    inputs = 50 * torch.randn(5, task.features.size, generator=generator)
    quantiles = task.scaled_quantiles(outputs, inputs)
    assert quantiles.shape == (5, 2, 9)
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_a_target_that_is_missing_has_no_gradient(head):
    task = task_for(table(), head=head)
    outputs, inputs, targets = draw(task)
    outputs.requires_grad_()
    task.loss(outputs, inputs, targets)[0].backward()
    gradient = outputs.grad.reshape(3, 4, 2, -1)
    assert gradient.isfinite().all()
    assert not gradient[targets.isnan()].any()
    assert gradient[~targets.isnan()].any(dim=-1).all()


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_evaluate_scores_the_rows_of_a_part_from_warm_states(head):
    data = table()
    task, horizon = task_for(data, head=head), 2
    model = model_for(task)
    figures = task.evaluate(model, data)
    for part, rows in (("validation", range(56, 68)), ("test", range(68, 80))):
        y, made, scales, spreads = [], [], [], []
        for series in data.series:
            state = model.initial_state(1)
            inputs = torch.from_numpy(task.features.inputs(series))
            by_row = []
            for row in inputs:
                with torch.no_grad():
                    out, state = model.step(row[None], state)
                by_row.append(task.scaled_quantiles(out, row[None])[0].double().numpy())
            own = task.scaler.scale_of(series.unique_id)
            for row in rows:
                for k in range(horizon):
                    if not np.isnan(series.y[row]):
                        y.append(series.y[row])
                        made.append(by_row[row - k - 1][k] * own.scale + own.location)
                        scales.append(mase_scale(series.y[:56], 1))
                        spreads.append(training_std(series.y[:56]))
        wanted = forecast_metrics(
            np.array(y), np.array(made), LEVELS, np.array(scales), np.array(spreads),
            mean=np.array(made).mean(axis=-1),
        )  # fmt: skip
        assert figures[part] == pytest.approx(wanted, rel=1e-5)
    assert figures.keys() == {"validation", "test"}


def changed(data, row, value):
    series = data.series[0]
    y = series.y.copy()
    y[row] = value
    return dataclasses.replace(data, series=(dataclasses.replace(series, y=y), *data.series[1:]))


@given(st.integers(0, 79), st.sampled_from([1e6, -3.0, float("nan")]))
def test_no_forecast_knows_a_later_row(row, value):
    data = table()
    task = task_for(data)
    model = model_for(task)
    other = changed(data, row, value)
    before, after = task.forecasts(model, data), task.forecasts(model, other)
    assert np.array_equal(before[0].quantiles[:row], after[0].quantiles[:row])
    assert not np.array_equal(before[0].quantiles[row], after[0].quantiles[row]) or (
        math.isnan(value) and np.isnan(data.series[0].y[row])
    )
    assert np.array_equal(before[1].quantiles, after[1].quantiles), "no leak between series"


@pytest.mark.parametrize("row", [68, 75, 79])
def test_test_rows_change_no_scale_and_no_baseline(row):
    data = table()
    other = changed(data, row, 1e5)
    task, again = task_for(data), task_for(other)
    assert again.to_json() == task.to_json()
    for part in ("train", "validation"):
        for a, b in zip(task.examples(data, part), again.examples(other, part), strict=True):
            assert a.inputs.tobytes() == b.inputs.tobytes()
            assert a.targets.tobytes() == b.targets.tobytes()
    ours, theirs = task.baselines(data), again.baselines(other)
    assert ours["validation"] == theirs["validation"]
    assert ours["test"] != theirs["test"]
    model = model_for(task)
    assert task.evaluate(model, data)["validation"] == again.evaluate(model, other)["validation"]


@pytest.mark.parametrize("row", [56, 60])
def test_validation_rows_change_no_scale(row):
    data = table()
    other = changed(data, row, 1e5)
    assert task_for(other).to_json() == task_for(data).to_json()
    assert task_for(changed(data, 30, 1e5)).to_json() != task_for(data).to_json()


def test_baselines_are_there_and_beaten_by_nobody_twice():
    data = table()
    task = task_for(data)
    found = task.baselines(data)
    assert found.keys() == {"validation", "test"}
    assert "last_value" in found["test"]
    assert any(name.startswith("ridge") for name in found["test"])
    assert found["test"]["last_value"].keys() == task.evaluate(model_for(task), data)["test"].keys()


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_a_model_and_a_baseline_are_scored_on_the_same_pairs(head, monkeypatch):
    rows = np.arange(120)
    rng = np.random.default_rng(0)
    y = np.sin(rows / 3) + 0.1 * rng.normal(size=120)
    y[rng.random(120) < 0.1] = np.nan
    # months that jump by ten years in the training, validation and test part
    month = rows + 120 * np.searchsorted([40, 90, 110], rows, side="right")
    stamps = [f"{1700 + m // 12}-{m % 12 + 1:02d}-01" for m in month.tolist()]
    data = read_table(pl.DataFrame({"ds": stamps, "y": y}), season=7, max_gap=3)
    (series,) = data.series
    assert np.flatnonzero(series.restarts).tolist() == [0, 40, 90, 110]
    task = task_for(data, horizon=3, head=head)
    scored = []
    monkeypatch.setattr(
        "throughtime.tasks.metrics.forecast_metrics",
        lambda y, *rest, mean, median: scored.append(y) or {},
    )
    task.evaluate(model_for(task), data)
    models = list(scored)
    task.baselines(data)
    per_part = len(scored[2:]) // 2
    assert per_part == 3
    for place, part in enumerate((slice(84, 102), slice(102, 120))):
        wanted = task.features.ahead(series, part)
        wanted = np.sort(wanted[~np.isnan(wanted)])
        for found in (models[place], *scored[2 + place * per_part :][:per_part]):
            np.testing.assert_array_equal(np.sort(found), wanted)
    (own,) = task._splits(data)
    np.testing.assert_array_equal(own.position - own.position[0], month)


def test_validation_examples_are_warm_and_judge_validation_rows_only():
    data = table()
    task = task_for(data)
    for series, example in zip(data.series, task.examples(data, "validation"), strict=True):
        assert len(example) == 68
        judged = np.flatnonzero(~np.isnan(example.targets).all(axis=1))
        assert judged.min() >= 54
        wanted = 2 * int((~np.isnan(series.y[56:68])).sum())
        assert int((~np.isnan(example.targets)).sum()) == wanted
    assert [len(e) for e in task.examples(data, "train")] == [56, 56]
    model = model_for(task)
    nothing = [dataclasses.replace(e, targets=np.full_like(e.targets, np.nan))
               for e in task.examples(data, "train")]  # fmt: skip
    assert math.isnan(mean_loss(task, model, nothing))


def test_a_series_too_short_for_its_parts_is_named():
    data = table(rows=30)
    short = dataclasses.replace(data.series[1], **{
        name: getattr(data.series[1], name)[:2]
        for name in ("time", "y", "covariates", "filler", "restarts")
    })  # fmt: skip
    with pytest.raises(DataError, match="series 's1': expected at least one row"):
        task_for(dataclasses.replace(data, series=(data.series[0], short)))


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_levels_rise_between_0_and_1(levels):
    with pytest.raises(ValueError, match="levels"):
        ForecastOptions(levels=levels)
