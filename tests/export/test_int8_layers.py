"""Every layer that there is in whole numbers gives the bits of its twin, and nearly the run's."""

import numpy as np
import polars as pl
import pytest
from c_exports import train
from int8_exports import distance, running_int8
from test_c_layers import STACKS

from throughtime.errors import OptionError
from throughtime.export import to_c
from throughtime.export.c.around import SUPPORTED
from throughtime.export.c.int8.gate import verify_twin
from throughtime.export.c.int8.maps import IntegerMap


@pytest.mark.parametrize("layer", STACKS)
def test_layers_give_the_bits_of_their_twins(layer, tmp_path):
    run = train(tmp_path / "run", layer=layer, spread=0.05)
    with running_int8(run, tmp_path / "c") as (runner, twin):
        verdict = verify_twin(run, runner, twin, steps=300)
        assert distance(run, runner) < 0.03
    assert verdict.max_error == 0
    assert verdict.steps > 3000


@pytest.mark.parametrize("layer", SUPPORTED)
def test_each_layer_alone_is_near_the_run(layer, tmp_path):
    run = train(tmp_path / "run", layer=f"{layer}:9", spread=0.1)
    with running_int8(run, tmp_path / "c") as (runner, _):
        assert 0 < distance(run, runner) < 0.01


def test_blocks_convolutions_and_noise_give_the_bits_of_their_twins(text_run, tmp_path):
    with running_int8(text_run, tmp_path) as (runner, twin):
        verify_twin(text_run, runner, twin, steps=300)
        assert distance(text_run, runner) < 0.02


@pytest.mark.parametrize("layer", ["lstm:5+rnn:4", "gru:5+layer_norm_gru:4"])
def test_zoneout_and_a_learned_start_give_the_bits_of_their_twins(layer, tmp_path):
    run = train(tmp_path / "run", layer=layer, zoneout=0.3, learned_initial_state=True)
    with running_int8(run, tmp_path / "c") as (runner, twin):
        verify_twin(run, runner, twin, steps=300)
        assert distance(run, runner) < 0.02


def test_a_layer_without_whole_numbers_is_one_clear_error(tmp_path):
    run = train(tmp_path / "run", layer="gru:4+mlstm:8")
    with pytest.raises(
        OptionError, match=r"expected layers among rnn, lstm.* for int8, got MLSTM; train"
    ):
        to_c(run, tmp_path / "c", numbers="int8")
    assert not (tmp_path / "c").exists()


def test_sums_that_need_64_bits_have_them(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(IntegerMap, "largest_sum", 2**31)
    with running_int8(plain, tmp_path) as (runner, twin):
        assert "typedef int64_t products;" in (tmp_path / "model.c").read_text()
        verify_twin(plain, runner, twin, steps=100)


def test_a_row_of_weights_says_how_large_its_sums_may_be():
    weights = np.array([[127, -127, 1], [0, 0, 3]], np.int8)
    found = IntegerMap(weights, np.zeros(2, np.uint8), 12)
    assert found.largest_sum == 255 * 32767


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_what_is_around_the_network_is_as_in_float32(head, tmp_path):
    days = np.arange(150)
    frame = pl.DataFrame({"ds": days, "y": np.sin(days / 3.0) * 50, "x": np.cos(days / 5.0)})
    given = {"head": head, "horizon": 3, "reading": {"known_future": ("x",)}}
    run = train(tmp_path / "run", frame, layer="gru:6", **given)
    with running_int8(run, tmp_path / "c") as (runner, twin):
        verify_twin(run, runner, twin, steps=100)
        rows = np.full((40, 1 + 1 + 3), np.nan)
        rows[:, 0] = frame["y"][:40]
        kinds, expected, quantiles = runner.push("series", [*range(39), 45], rows)
    assert kinds.tolist() == [2, *[0] * 38, 1]
    assert quantiles.isfinite().all()
    assert expected[1:].isfinite().all()
