"""Files that were altered, with and without a manifest that was made to fit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from check_helpers import failed, item, resign

from throughtime.check import check
from throughtime.run import load

pytestmark = pytest.mark.usefixtures("short_batches")

Copy = Callable[[str], Path]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "parity.safetensors"])
def test_altered_file_is_named(copy_of: Copy, name: str) -> None:
    path = copy_of("sunspots")
    content = bytearray((path / name).read_bytes())
    content[-20] ^= 1
    (path / name).write_bytes(content)
    report = check(path)
    assert failed(report) == {"files"}
    assert len(report.items) == 1
    assert f"{name} was altered" in report.items[0].detail
    assert not report.passed
    assert "FAILED" in str(report)
    assert report.to_json()["items"][0]["max_difference"] is None


def test_altered_scaler_is_caught_by_the_manifest(copy_of: Copy) -> None:
    path = copy_of("sunspots")
    text = (path / "config.json").read_text()
    pair = load(path).task.scaler.series["series"]
    assert repr(pair.location) in text
    (path / "config.json").write_text(text.replace(repr(pair.location), repr(pair.location + 1), 1))
    report = check(path)
    assert failed(report) == {"files"}
    assert "config.json" in report.items[0].detail


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
def test_missing_file_is_a_report(copy_of: Copy, name: str) -> None:
    path = copy_of("text")
    (path / name).unlink()
    report = check(path)
    assert failed(report) == {"files"}
    assert name in report.items[0].detail


def test_signed_weight_is_caught_by_recorded_outputs(copy_of: Copy) -> None:
    path = copy_of("text")

    def alter(parts: dict[str, Any]) -> None:
        parts["weights"]["head.weight"][3, 2] += 1e-3

    resign(path, alter)
    report = check(path, drift=8)
    assert failed(report) == {"recorded outputs"}
    found = item(report, "recorded outputs")
    assert "weights" in found.detail
    assert found.first_difference is not None
    assert found.first_difference[1] < 4


def test_signed_weight_of_a_forecast_is_caught_by_recorded_outputs(copy_of: Copy) -> None:
    path = copy_of("sunspots")

    def alter(parts: dict[str, Any]) -> None:
        name = next(name for name in parts["weights"] if "weight_hh" in name)
        parts["weights"][name][0, 0] += 0.01

    resign(path, alter)
    report = check(path, drift=8)
    assert "recorded outputs" in failed(report)
    # What the model reads is untouched; only what comes of it differs.
    assert "features" not in item(report, "data to forecast").detail.split(":")[0]


@pytest.mark.parametrize(
    ("place", "number", "seen"),
    [
        (("series", "series"), 0, "features"),
        (("series", "series"), 1, "features"),
        (("pooled",), 1, "not where the recorded data show it"),
    ],
)
def test_signed_scaler_is_caught_by_data_to_forecast(
    copy_of: Copy, place: tuple[str, ...], number: int, seen: str
) -> None:
    path = copy_of("sunspots")

    def alter(parts: dict[str, Any]) -> None:
        pair = parts["config"]["task"]["scaler"]
        for name in place:
            pair = pair[name]
        pair[number] *= 1.001

    resign(path, alter)
    report = check(path, drift=8)
    assert failed(report) == {"data to forecast"}
    detail = item(report, "data to forecast").detail
    assert "the scaler" in detail
    assert seen in detail


def test_scaler_altered_in_memory_is_caught(trained: dict[str, Path]) -> None:
    run = load(trained["sunspots"])
    own = run.task.scaler.series["series"]
    run.task.scaler.series["series"] = type(own)(own.location, own.scale * 1.01)
    assert failed(check(run, drift=8)) == {"data to forecast"}


@pytest.mark.parametrize(("a", "b"), [("e", "r"), ("d", "\n")])
def test_signed_vocabulary_is_caught_by_text_to_symbols(copy_of: Copy, a: str, b: str) -> None:
    path = copy_of("text")

    def alter(parts: dict[str, Any]) -> None:
        symbols = parts["vocabulary"]["symbols"]
        i, j = symbols.index(a), symbols.index(b)
        symbols[i], symbols[j] = symbols[j], symbols[i]

    resign(path, alter)
    report = check(path, drift=8)
    assert failed(report) == {"text to symbols"}
    found = item(report, "text to symbols")
    assert "the vocabulary" in found.detail
    assert found.first_difference is not None


def test_altered_vocabulary_file_is_named(copy_of: Copy) -> None:
    path = copy_of("text")
    content = (path / "vocabulary.json").read_text()
    (path / "vocabulary.json").write_text(content.replace('"e"', '"E"', 1))
    report = check(path)
    assert failed(report) == {"files"}
    assert "vocabulary.json" in report.items[0].detail


def test_record_that_was_taken_away_is_missed(copy_of: Copy) -> None:
    path = copy_of("sunspots")

    def alter(parts: dict[str, Any]) -> None:
        parts["parity"] = {
            name: part for name, part in parts["parity"].items() if not name.startswith("answer.")
        }

    resign(path, alter)
    report = check(path, drift=8)
    assert failed(report) == {"data to forecast"}
    assert "answer.*" in item(report, "data to forecast").detail


def test_record_of_another_shape_is_a_finding(copy_of: Copy) -> None:
    path = copy_of("sunspots")

    def alter(parts: dict[str, Any]) -> None:
        parts["parity"]["outputs"] = parts["parity"]["outputs"][:, :, :4]
        parts["parity"]["state.h"] = parts["parity"]["state.h"][:, :2]

    resign(path, alter)
    report = check(path, drift=8)
    assert failed(report) == {"recorded outputs"}
    assert "shape" in item(report, "recorded outputs").detail


def test_run_whose_directory_is_gone_fails(copy_of: Copy) -> None:
    path = copy_of("sunspots")
    run = load(path)
    shutil.rmtree(path)
    assert failed(check(run, drift=8)) == {"files", "restored from disk"}


def test_nothing_left_to_run_on_is_a_finding(copy_of: Copy) -> None:
    path = copy_of("sunspots")

    def alter(parts: dict[str, Any]) -> None:
        parts["parity"] = {}
        parts["config"]["source"] = ""

    resign(path, alter)
    report = check(path)
    assert failed(report) == {"recorded outputs", "data to forecast", "offline"}
    assert "give data to check on" in item(report, "offline").detail
    assert item(check(path, "demo:sunspots", drift=8), "offline").passed
