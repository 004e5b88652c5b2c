"""An export in whole numbers as people ask for it: the command, the report, sizes, formats."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from c_exports import compiled_and_run, need_compiler, train
from int8_exports import put_int8

from throughtime.cli import main
from throughtime.errors import OptionError
from throughtime.export import to_c
from throughtime.export.c.int8 import numbers
from throughtime.export.c.int8.calibration import stream_of
from throughtime.export.c.int8.exported import IntegerExported
from throughtime.export.c.int8.judging import Beside
from throughtime.export.c.int8.maps import affine, linear


def test_the_command_tells_what_whole_numbers_cost(plain, tmp_path, capsys):
    need_compiler()
    out = tmp_path / "c"
    given = ["export", str(plain.path), "--numbers", "int8", "--out", str(out)]
    assert main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["numbers"] == "int8"
    assert told["max_error"] == 0
    assert [each["step"] for each in told["drift"]] == [100, 1000, 10_000, 100_000]
    assert all(0 < each["typical"] <= each["largest"] < 1 for each in told["drift"])
    named = {(each["part"], each["name"]) for each in told["figures"]}
    assert {("validation", "mae"), ("test", "mse")} <= named
    for each in told["figures"]:
        assert each["worse"] == pytest.approx(each["export"] / each["run"] - 1)
    assert told["size"]["machines"][0]["holds"]
    report = (out / "size.txt").read_text()
    assert "calibrated on 1 x " in report
    assert "float32 -> int8: validation mae " in report
    assert "distance of outputs from float32: " in report
    files = [out / "model.c", out / "selftest.c"]
    assert compiled_and_run(files, tmp_path / "selftest").startswith("ok: largest error ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": "int4"}, "expected numbers float32 or int8, got 'int4'"),
        ({"calibrate": "demo:sunspots"}, "expected numbers int8 with calibrate, got float32"),
    ],
)
def test_wrong_use_is_one_clear_error(options, message, plain, tmp_path):
    with pytest.raises(OptionError, match=message):
        to_c(plain, tmp_path / "c", **options)


def test_it_is_calibrated_on_what_there_is(plain, tmp_path):
    assert stream_of(plain).source.endswith("of the training part of demo:sunspots")
    other = stream_of(plain, "demo:sunspots")
    assert other.source.endswith("steps of demo:sunspots")
    frame = pl.DataFrame({"ds": np.arange(90), "y": np.sin(np.arange(90.0))})
    lone = train(tmp_path / "lone", frame, layer="gru:3")
    assert "recorded at training, since the data can't be read" in stream_of(lone).source
    assert stream_of(lone, frame).inputs.shape == (1, 63, 2)


def test_figures_that_are_much_worse_are_a_warning():
    beside = (Beside("test", "mae", 2.0, 2.01), Beside("test", "mse", 2.0, 2.1))
    made = IntegerExported.__new__(IntegerExported)
    object.__setattr__(made, "figures", beside[:1])
    assert made.warning == ""
    object.__setattr__(made, "figures", beside)
    assert "got test mse 2 -> 2.1 (+5.00%)" in made.warning


def test_a_changed_weight_is_seen_by_the_selftest(plain, tmp_path):
    need_compiler()
    put_int8(plain, tmp_path)
    files = [tmp_path / "model.c", tmp_path / "selftest.c"]
    assert compiled_and_run(files, tmp_path / "selftest").startswith("ok: largest error ")
    source = files[0].read_text()
    files[0].write_text(
        source.replace("rounded(share * value, 30)", "rounded(share * value, 30) + 9")
    )
    assert files[0].read_text() != source
    printed = compiled_and_run(files, tmp_path / "selftest", expected=1)
    assert printed.startswith("FAILED: a step of some lanes, first at ")


def test_sigmoid_and_tanh_are_right_to_the_last_bits():
    x = np.concatenate([np.arange(-(2**21), 2**21, 37), [-(2**31), 2**31 - 1, 0]])
    exact = 1 / (1 + np.exp(np.minimum(-x / 2.0**16, 700)))
    found = numbers.sigmoid(x) / 2.0**30
    assert np.abs(found - exact).max() < 3e-8
    small = exact < 1e-3
    assert (
        np.abs(found[small & (x > -10 * 2**16)] / exact[small & (x > -10 * 2**16)] - 1).max() < 1e-4
    )
    assert np.abs(numbers.hyperbolic_tangent(x) / 2.0**30 - np.tanh(x / 2.0**16)).max() < 6e-8


def test_decay_and_root_and_portion_are_right():
    x = np.arange(0, 2**31, 104_729)
    np.testing.assert_allclose(numbers.decay_of(x) / 2.0**30, np.exp(-x / 2.0**26), atol=2e-8)
    squares = np.concatenate([np.arange(1000) ** 2, np.array([2**30 - 1, 2**31 - 1]) ** 2])
    roots = numbers.whole_root(squares)
    np.testing.assert_array_equal(roots * roots, squares)
    np.testing.assert_array_equal(numbers.whole_root(squares[1:] - 1), roots[1:] - 1)
    part = np.arange(2**30, 2**31, 7_777_777)
    rest = part[::-1].copy()
    np.testing.assert_allclose(
        numbers.portion(part, rest) / 2.0**30, part / (part + rest), atol=2e-8
    )


def test_rounding_is_to_the_nearest_and_halves_go_up():
    values = np.array([-6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6])
    np.testing.assert_array_equal(numbers.rounded(values, 2), [-1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(numbers.rounded(values, 0), values)
    given = np.float32([0.5, -0.5, 1.4999, np.nan, np.inf, -np.inf, 3e38])
    wanted = [1, -1, 1, 0, numbers.SIGNAL, -numbers.SIGNAL, numbers.SIGNAL]
    np.testing.assert_array_equal(numbers.quantise(given, 1.0), wanted)


def test_whole_numbers_are_normalised_as_real_ones_are():
    generator = np.random.default_rng(0)
    for size in (1e-4, 1.0, 100.0):
        values = generator.standard_normal((5, 40)) * size
        found = numbers.by_root_mean_square(np.rint(values * 2.0**22).astype(np.int64), 22, 1099512)
        wanted = values / np.sqrt((values**2).mean(1, keepdims=True) + 1e-6)
        np.testing.assert_allclose(found / 2.0**16, wanted, atol=3e-4)


@pytest.mark.parametrize("x_bits", [4, 12, 15])
def test_a_map_gives_what_its_weights_do(x_bits):
    torch.manual_seed(0)
    weight = (torch.randn(7, 50) * 10 ** torch.linspace(-3, 1, 7)[:, None]).numpy()
    weight[3] = 0
    bias = torch.randn(7).numpy() * 5
    x = np.random.default_rng(1).integers(-30_000, 30_000, (20, 50))
    found = affine(weight, bias, x_bits).sum(x) / 2.0**16
    wanted = x / 2.0**x_bits @ weight.T.astype(np.float64) + bias
    # Weights are right to half of their scale, at random, and biases of 16 bits to half of theirs.
    size = np.abs(weight).max(1) * 2.0 ** (15 - x_bits) * 50**0.5
    assert (np.abs(found - wanted) <= 0.01 * size + np.abs(bias).max() / 2**15).all()
    rows = linear(weight, x_bits)
    assert rows.weights.dtype == np.int8
    assert np.abs(rows.weights.astype(int)).max() <= 127


def test_weights_too_large_are_one_clear_error():
    with pytest.raises(OptionError, match="expected weights and inputs of less size for int8"):
        linear(np.full((2, 3), 1e9, np.float32), 4)
