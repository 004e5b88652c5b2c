"""A saved stream goes on bit for bit, and a file that is not one is refused in one line."""

import contextlib
import json
import math
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from streams import arriving

import throughtime as tt
from throughtime.errors import BundleError, OptionError
from throughtime.formats import TENSORS_LIMIT
from throughtime.stream import Stream
from throughtime.stream.snapshot import _digest


def rows_of(run, frame):
    return [row for row, _, _ in arriving(frame, run.task.read(frame))]


def contents(path):
    """What a file says, whatever order its header has."""
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: leaf.tolist() for name, leaf in load_file(path).items()}


def check_goes_on(run, rows, path):
    """Stop at many places; what follows must be the same to the last bit."""
    whole = Stream(run)
    expected = [whole.push(row) for row in rows]
    for stop in (0, 1, 2, len(rows) // 3, len(rows) // 2, len(rows) - 1):
        before = Stream(run)
        assert [before.push(row) for row in rows[:stop]] == expected[:stop]
        before.save(path)
        after = Stream.load(tt.load(run.path), path)
        assert after.keys == before.keys
        assert [after.push(row) for row in rows[stop:]] == expected[stop:]
        after.save(path)
        whole.save(path.with_suffix(".whole"))
        assert contents(path) == contents(path.with_suffix(".whole"))


def test_a_stream_goes_on_where_it_was_saved(run, frame, tmp_path):
    rows = rows_of(run, frame)
    assert rows[0]["ds"] < rows[-1]["ds"]
    check_goes_on(run, rows, tmp_path / "state")


def test_what_is_held_and_known_goes_on_too(wide_run, wide_frame, tmp_path):
    rows = rows_of(wide_run, wide_frame)
    rows[40]["surprise"] = rows[200]["surprise"] = 1
    check_goes_on(wide_run, rows, tmp_path / "state")


def test_a_text_goes_on_where_it_was_saved(text_run, tmp_path):
    rows = [{"text": text} for text in ("the quick ", "brown ", "", "f", "ox\n" * 300, "jumps")]
    check_goes_on(text_run, rows, tmp_path / "state")


def test_numbers_no_rounding_survives(wide_run, tmp_path):
    stream = Stream(wide_run)
    row = {"unique_id": '☃ " \\ \n', "ds": "2024-02-01", "y": 0.1 + 0.2, "holiday": None}
    stream.push({**row, "temperature": math.pi * 1e200, "load": 5e-324})
    stream.save(tmp_path / "state")
    loaded = Stream.load(wide_run, tmp_path / "state")
    assert loaded.keys == ('☃ " \\',)
    (before,), (after,) = stream._lanes.values(), loaded._lanes.values()
    assert before.held.dtype == after.held.dtype == np.float64
    assert before.held.tobytes() == after.held.tobytes()
    assert before.made.tobytes() == after.made.tobytes()
    assert before.time == after.time


def test_the_key_column_is_remembered(run, tmp_path):
    stream = Stream(run, key="meter")
    stream.push({"meter": "a", "ds": "2024-02-01", "y": 1})
    stream.save(tmp_path / "state")
    loaded = Stream.load(run, tmp_path / "state")
    assert loaded.key == "meter"
    assert Stream.load(run, tmp_path / "state", key="meter").keys == ("a",)
    with pytest.raises(OptionError, match=r"the key column 'meter'.*got 'unique_id'"):
        Stream.load(run, tmp_path / "state", key="unique_id")


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "state"
    stream = Stream(run)
    for hour in range(3):
        stream.push({"unique_id": "key 0", "ds": f"2024-02-01 0{hour}:00", "y": hour})
    stream.save(path)
    return path


def refusal(run, path):
    with pytest.raises(BundleError) as caught:
        Stream.load(run, path)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert len(message) < 1500
    assert "expected" in message
    assert "got" in message
    return message


def test_the_stream_of_another_model_is_refused(wide_run, text_run, saved):
    for other in (wide_run, text_run):
        assert "expected a stream of model" in refusal(other, saved)


def test_files_that_are_no_stream_are_refused(run, saved, tmp_path):
    path = tmp_path / "state"
    assert "got nothing there" in refusal(run, path)
    assert "got a folder, pipe or device" in refusal(run, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "got a folder, pipe or device" in refusal(run, tmp_path / "pipe")
    tt.state.save(run.model.initial_state(1), path, fingerprint=run.fingerprint)
    assert "which is none" in refusal(run, path)
    for content in (
        b"",
        b"{}",
        b"unique_id,ds,y\n" * 100,
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
    ):
        path.write_bytes(content)
        refusal(run, path)


def test_a_file_larger_than_any_is_refused_unread(run, tmp_path):
    path = tmp_path / "state"
    path.touch()
    os.truncate(path, TENSORS_LIMIT + 1)
    assert f"got {TENSORS_LIMIT + 1:,}" in refusal(run, path)


def test_a_tensor_larger_than_its_file_is_refused(run, saved, tmp_path):
    header = {"x": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (tmp_path / "state").write_bytes(struct.pack("<Q", len(text)) + text)
    refusal(run, tmp_path / "state")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused(run, saved, tmp_path_factory, share):
    content = saved.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "state"
    path.write_bytes(content[: int(share * len(content))])
    refusal(run, path)


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_an_altered_byte_is_refused_or_means_nothing(run, saved, tmp_path_factory, share, mask):
    content = bytearray(saved.read_bytes())
    place = int(share * len(content))
    content[place] ^= mask
    path = tmp_path_factory.mktemp("altered") / "state"
    path.write_bytes(content)
    if place >= 8 + int.from_bytes(saved.read_bytes()[:8], "little"):
        assert "altered" in refusal(run, path)
        return
    with contextlib.suppress(BundleError):
        Stream.load(run, path).save(path)
        assert contents(path) == contents(saved)


def forge(saved, path, edit):
    """Write the stream again as an attacker would, who can compute the digest."""
    with safe_open(saved, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(saved)
    record = json.loads(metadata["stream"])
    edit(record, tensors)
    metadata["stream"] = json.dumps(record)
    metadata["sha256"] = _digest(metadata, tensors)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    "edit",
    [
        lambda record, tensors: record.update(keys=["a", "b"]),
        lambda record, tensors: record.update(keys=[1]),
        lambda record, tensors: record.update(keys="k"),
        lambda record, tensors: record.update(key=3),
        lambda record, tensors: record.update(key=None),
        lambda record, tensors: record.update(noted=None),
        lambda record, tensors: record.clear(),
        lambda record, tensors: tensors.pop("time"),
        lambda record, tensors: tensors.update(more=torch.zeros(1)),
        lambda record, tensors: tensors.update(time=tensors["time"].to(torch.int32)),
        lambda record, tensors: tensors.update(time=torch.tensor([2**62])),
        lambda record, tensors: tensors.update(held=tensors["held"].float()),
        lambda record, tensors: tensors.update(made=torch.zeros(1, 9, 3, dtype=torch.float64)),
    ],
)
def test_a_forged_stream_is_refused(run, saved, tmp_path, edit):
    forge(saved, tmp_path / "same", lambda record, tensors: None)
    assert Stream.load(run, tmp_path / "same").keys == ("key 0",)
    forge(saved, tmp_path / "state", edit)
    refusal(run, tmp_path / "state")


def test_a_forged_symbol_is_refused(text_run, tmp_path):
    stream = Stream(text_run)
    stream.push({"text": "the"})
    stream.save(tmp_path / "saved")
    forge(
        tmp_path / "saved",
        tmp_path / "state",
        lambda record, tensors: tensors.update(symbol=torch.tensor([10**6])),
    )
    assert "symbols of the vocabulary" in refusal(text_run, tmp_path / "state")


def test_a_failed_save_leaves_the_old_file(run, saved, tmp_path, monkeypatch):
    path = tmp_path / "state"
    path.write_bytes(saved.read_bytes())
    stream = Stream.load(run, path)
    stream.push({"unique_id": "key 2", "ds": "2024-02-01", "y": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="got 'No space left on device'"):
        stream.save(path)
    assert path.read_bytes() == saved.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    with pytest.raises(BundleError, match="expected to save the stream"):
        stream.save(tmp_path / "nowhere" / "state")


def test_more_keys_than_a_header_holds_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr("throughtime.stream.snapshot.JSON_LIMIT", 1000)
    stream = Stream(run)
    for number in range(5):
        stream.push({"unique_id": f"{number:0200d}", "ds": "2024-02-01", "y": 1})
    with pytest.raises(BundleError, match="expected keys of at most 1,000 bytes"):
        stream.save(tmp_path / "state")
    assert not (tmp_path / "state").exists()
