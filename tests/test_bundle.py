"""A bundle comes back bit for bit, and what could not be read again is not written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from bundles import is_of, parts, same_tensors, sign

from throughtime.bundle import check_weights, read_bundle, write_bundle
from throughtime.errors import BundleError
from throughtime.formats import DEPTH_LIMIT, JSON_LIMIT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "run", **parts())
    return tmp_path / "run"


# There and back


def test_round_trip_is_bit_for_bit(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "new" / "run", **parts(3))
    read = read_bundle(tmp_path / "new" / "run")
    assert is_of(read, 3)
    assert is_of(written, 3)
    assert read.fingerprint == written.fingerprint
    assert read.path == tmp_path / "new" / "run"
    assert (read.path / "README.md").read_text() == "# A model\n"


def test_weights_are_ordinary_tensors_of_their_own(run: Path) -> None:
    weights = read_bundle(run).weights
    before = weights["cell.bias"].clone()
    weights["cell.weight"].fill_(7.0)
    assert torch.equal(weights["cell.bias"], before)
    assert all(t.is_contiguous() and not t.requires_grad for t in weights.values())


def test_safetensors_library_reads_the_same(run: Path) -> None:
    with safetensors.safe_open(run / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    oracle = safetensors.torch.load_file(run / "model.safetensors")
    assert same_tensors(read_bundle(run).weights, oracle)


def test_tied_transposed_and_trained_weights_are_written(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    weights = {"a": weight, "b": weight, "c": weight.t(), "d": weight[:, 1]}
    read = write_bundle(tmp_path, **{**parts(), "weights": weights})
    assert all(torch.equal(read.weights[name], weights[name]) for name in weights)


def test_model_without_weights_or_vocabulary(tmp_path: Path) -> None:
    write_bundle(tmp_path, **{**parts(), "weights": {}, "parity": {}, "vocabulary": None})
    read = read_bundle(tmp_path)
    assert (read.weights, read.parity, read.vocabulary) == ({}, {}, None)


def test_manifest_is_what_its_documentation_says(run: Path) -> None:
    written = (run / "manifest.json").read_text()
    sign(run)
    assert (run / "manifest.json").read_text() == written
    assert json.loads(written)["fingerprint"] == read_bundle(run).fingerprint


def test_fingerprint_names_the_model_and_nothing_else(tmp_path: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        return write_bundle(tmp_path, **{**parts(), **changes}).fingerprint

    original = fingerprint()
    reordered = dict(reversed(parts()["weights"].items()))
    assert fingerprint(weights=reordered) == original
    assert fingerprint(card="# Another card", parity={}) == original
    assert fingerprint(config={"task": "forecast"}) != original
    assert fingerprint(weights=parts(1)["weights"]) != original
    assert fingerprint(vocabulary={}) != original
    assert fingerprint(vocabulary=None) not in (original, fingerprint(vocabulary={}))


def test_card_may_be_edited_and_links_to_a_run_followed(run: Path) -> None:
    (run / "README.md").write_text("edited")
    latest = run.with_name("latest")
    latest.symlink_to(run)
    assert is_of(read_bundle(latest), 0)
    (run / "README.md").unlink()
    assert is_of(read_bundle(run), 0)


def test_other_files_of_the_run_are_left_alone(run: Path) -> None:
    (run / "metrics.csv").write_text("step,loss\n")
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "last").write_text("x")
    write_bundle(run, **{**parts(1), "vocabulary": None})
    assert read_bundle(run).vocabulary is None
    assert sorted(os.listdir(run)) == [
        "README.md",
        "checkpoint",
        "config.json",
        "manifest.json",
        "metrics.csv",
        "model.safetensors",
        "parity.safetensors",
    ]
    assert (run / "checkpoint" / "last").read_text() == "x"


# What a reader would refuse is not written


UNWRITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"weights": {"a.b": torch.tensor([0.0, torch.nan])}}, "NaN or infinity in a.b"),
    "infinity": ({"weights": {"w": torch.full((1,), -torch.inf).half()}}, "NaN or infinity in w"),
    "late nan": (
        {"weights": {"w": torch.zeros(2**20 + 1).index_fill(0, torch.tensor(2**20), torch.nan)}},
        "NaN or infinity in w",
    ),
    "complex": ({"weights": {"w": torch.zeros(1, dtype=torch.complex64)}}, "w of complex64"),
    "reserved name": ({"parity": {"__metadata__": torch.zeros(1)}}, "__metadata__ of float32"),
    "rank": ({"parity": {"p": torch.zeros([1] * 9)}}, "at most 8 sizes"),
    "number": ({"config": {"rate": float("inf")}}, r"config\.json of plain JSON.*not JSON"),
    "object": ({"config": {"path": Path("x")}}, "not JSON serializable"),
    "key": ({"vocabulary": {"ids": {1: "a", "1": "b"}}}, "key 1, which is not text"),
    "surrogate": ({"vocabulary": {"symbols": ["\ud800"]}}, "surrogates not allowed"),
    "large": ({"vocabulary": {"text": "x" * JSON_LIMIT}}, "at most 16777216 bytes for vocab"),
}


@pytest.mark.parametrize(("change", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_unreadable_bundles_are_not_written(
    change: dict[str, Any], message: str, run: Path
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        write_bundle(run, **{**parts(1), **change})
    assert str(caught.value).isprintable()
    assert is_of(read_bundle(run), 0)


def test_a_config_that_contains_itself_is_refused(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    config["self"] = config
    with pytest.raises(BundleError, match="levels of nesting"):
        write_bundle(tmp_path, **{**parts(), "config": config})


def test_nesting_up_to_the_limit_is_taken(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    for _ in range(DEPTH_LIMIT):
        config = {"a": config}
    assert write_bundle(tmp_path, **{**parts(), "config": config}).config == config
    with pytest.raises(BundleError, match="levels of nesting"):
        write_bundle(tmp_path, **{**parts(), "config": {"a": config}})


# The weights that a model takes


def test_matching_weights_pass() -> None:
    weights = parts()["weights"]
    check_weights({name: (tuple(w.shape), w.dtype) for name, w in weights.items()}, weights)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({}, r"expected 0 weights, got 2 more, a among them"),
        ({"a": ((2,), torch.float32)}, r"expected 1 weights, got 1 more, b among them"),
        ({"a": ((3,), torch.float32), "b": ((9,), torch.int64)}, r"weight a of shape \(3,\) float"),
        ({"b": ((1,), torch.float32)}, r"b of shape \(1,\) float32, got \(1,\) int64; config"),
        ({"b": ((1, 1), torch.int64)}, r"b of shape \(1, 1\) int64, got \(1,\) int64"),
        ({"c": ((1,), torch.int64)}, r"expected a weight c, got none; config.json and model"),
    ],
)
def test_first_weight_that_differs_is_named(
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]], message: str
) -> None:
    weights = {"a": torch.zeros(2), "b": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(BundleError, match=message):
        check_weights(expected, weights)
