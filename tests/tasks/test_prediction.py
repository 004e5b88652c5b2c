"""What follows the last row of each series, as a frame."""

import numpy as np
import polars as pl
import torch

from throughtime.data.tables import read_table
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastOptions, ForecastTask
from throughtime.tasks.prediction import predict


def frame(rows=60, *, known=False):
    t = np.arange(rows)
    rng = np.random.default_rng(0)
    columns = {"ds": t * 10, "y": np.sin(t / 3) + 0.1 * rng.normal(size=rows)}
    return pl.DataFrame(columns | ({"x": np.cos(t / 3)} if known else {}))


def trained(data, horizon=3, **options):
    table = read_table(data, season=1, **options)
    task = ForecastTask.fit(table, ForecastOptions(horizon=horizon))
    torch.manual_seed(0)
    return task, SequenceModel(task.model_config("gru:5")).eval()


def quantiles(found):
    return found.select(pl.col("^q.*$")).to_numpy()


def test_the_frame_says_when_and_how_far():
    task, model = trained(frame())
    found = predict(task, model, frame())
    assert found.columns == ["unique_id", "ds", "horizon", *(f"q0.{k}" for k in range(1, 10))]
    assert found["horizon"].to_list() == [1, 2, 3]
    assert [str(ds) for ds in found["ds"]] == ["600", "610", "620"]
    assert found["unique_id"].unique().to_list() == ["series"]
    assert (np.diff(quantiles(found), axis=1) >= 0).all()


def test_the_forecast_is_that_after_the_last_row():
    task, model = trained(frame())
    table = task.read(frame())
    (made,) = task.forecasts(model, table)
    np.testing.assert_array_equal(quantiles(predict(task, model, frame())), made.quantiles[-1])
    state = model.initial_state(1)
    for row in torch.from_numpy(task.features.inputs(table.series[0])):
        with torch.no_grad():
            out, state = model.step(row[None], state)
    scaled = task.scaled_quantiles(out, row[None])[0].double().numpy()
    wanted = task.scaler.undo("series", scaled)
    np.testing.assert_allclose(made.quantiles[-1], wanted, rtol=1e-5, atol=1e-6)


def test_each_series_has_its_own():
    parts = [frame().with_columns(unique_id=pl.lit(f"s{i}"), y=pl.col("y") * (i + 1))
             for i in range(3)]  # fmt: skip
    task, model = trained(pl.concat(parts))
    found = predict(task, model, pl.concat(parts))
    assert found["unique_id"].to_list() == [f"s{i}" for i in range(3) for _ in range(3)]
    alone = predict(task, model, parts[1])
    np.testing.assert_allclose(quantiles(found)[3:6], quantiles(alone), rtol=1e-6)


def test_irregular_series_have_no_next_time():
    data = frame().with_columns(ds=pl.col("ds").cast(pl.Int64) ** 2)
    task, model = trained(data, step="irregular")
    found = predict(task, model, data)
    assert found["ds"].to_list() == [None] * 3


def test_rows_without_a_target_are_the_future_where_it_is_known():
    whole = frame(63, known=True)
    task, model = trained(whole[:60], known_future=["x"])
    empty = pl.when(pl.col("ds") < 600).then(pl.col("y"))
    found = predict(task, model, whole.with_columns(y=empty))
    assert [str(ds) for ds in found["ds"]] == ["600", "610", "620"]
    (made,) = task.forecasts(model, task.read(whole))
    np.testing.assert_array_equal(quantiles(found), made.quantiles[59])
    otherwise = whole.with_columns(y=empty, x=pl.when(pl.col("ds") < 600).then("x").otherwise(-9.0))
    assert not np.array_equal(quantiles(predict(task, model, otherwise)), quantiles(found))


def test_rows_without_a_target_are_missing_where_nothing_is_known():
    task, model = trained(frame())
    gone = frame().with_columns(y=pl.when(pl.col("ds") < 570).then(pl.col("y")))
    found = predict(task, model, gone)
    assert [str(ds) for ds in found["ds"]] == ["600", "610", "620"]
    assert np.isfinite(quantiles(found)).all()
