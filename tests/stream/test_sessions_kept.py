"""Sessions on disk: killed at any moment they go on bit for bit, and foreign bytes are refused."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.errors import BundleError, OptionError
from throughtime.stream import Sessions
from throughtime.stream import session_files as files

KEYS = [f"key {number}" for number in range(5)]


def rows_of_tick(tick):
    """Row by key; at some ticks some keys have none, and some cells are empty."""
    return {
        key: {"ds": f"2024-02-{1 + tick // 24:02d} {tick % 24:02d}:00", "y": y}
        for place, key in enumerate(KEYS)
        if (tick + place) % 7
        for y in [None if (3 * tick + place) % 11 == 0 else (tick * (place + 2)) % 9]
    }


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import throughtime as tt
from test_sessions_kept import rows_of_tick
sessions = tt.Sessions(tt.load({run!r}), slots=4)
for tick in range(600):
    sessions.step({{k: r for k, r in rows_of_tick(tick).items() if k != "key 4"}})
    sessions.snapshot({path!r})
    print(tick, flush=True)
"""


@pytest.mark.parametrize(
    "delay",
    [17, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (1, 3, 40, 91, 250))],
)
def test_killed_at_any_moment_they_go_on_bit_for_bit(run, tmp_path, delay):
    path = tmp_path / "snapshot"
    script = CHILD.format(tests=os.path.dirname(__file__), run=str(run.path), path=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        for _ in range(delay):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
    last = int(rest[-1]) if rest else last
    assert last < 599, "it was killed in the middle"

    restored = Sessions.restore(tt.load(run.path), path, slots=5)
    whole = Sessions(run, slots=5)
    for tick in range(last + 12):
        rows = rows_of_tick(tick)
        rows.pop("key 4", None)
        expected, answers = whole.step(rows), restored.step(rows)
        # What was read before the snapshot is known by its time and dropped.
        dropped = all("dropped" in answer.get("note", "") for answer in answers.values())
        assert dropped or tick > last
        # One more may have been kept than was said.
        assert answers == expected or (dropped and tick <= last + 1)


def test_a_snapshot_keeps_order_ages_and_everything_remembered(run, tmp_path):
    now = [100.0]
    sessions = Sessions(run, slots=4, idle=50.0, clock=lambda: now[0])
    for tick, key in enumerate(["b", "ключ ☃", "key 1"]):
        sessions.step({key: rows_of_tick(1)["key 0"]})
        now[0] += 10 * tick
    sessions.fork("key 1", "c")
    sessions.step({"b": rows_of_tick(2)["key 0"]})
    sessions.snapshot(tmp_path / "snapshot")
    later = [5.0]
    restored = Sessions.restore(
        run, tmp_path / "snapshot", slots=9, idle=50.0, clock=lambda: later[0]
    )
    assert restored.keys == sessions.keys == ("ключ ☃", "key 1", "c", "b")
    for name, leaf in sessions._slab.leaves.items():
        for key in sessions.keys:
            own = leaf[sessions._directory.slot(key)]
            other = restored._slab.leaves[name][restored._directory.slot(key)]
            assert own.tobytes() == other.tobytes(), name
    for wait in (19, 12, 21):
        later[0] += wait
        now[0] += wait
        assert restored.expire() == sessions.expire()
        assert restored.keys == sessions.keys
    assert len(restored) == 0


def test_a_snapshot_of_none_restores_none(run, tmp_path):
    Sessions(run, slots=2).snapshot(tmp_path / "snapshot")
    assert Sessions.restore(run, tmp_path / "snapshot", slots=1).keys == ()


def test_texts_go_on_too(text_run, tmp_path):
    sessions = Sessions(text_run, slots=3)
    sessions.step({"a": {"text": "the quick"}, "b": {"text": "x"}, "c": {"text": ""}})
    sessions.snapshot(tmp_path / "snapshot")
    restored = Sessions.restore(text_run, tmp_path / "snapshot", slots=3)
    rows = {key: {"text": " brown fox"} for key in "abc"}
    assert restored.step(rows) == sessions.step(rows)


def test_a_row_that_waits_is_no_part_of_a_snapshot(run, tmp_path):
    sessions = Sessions(run, slots=2)
    sessions.push("a", rows_of_tick(1)["key 0"])
    with pytest.raises(OptionError, match=r"expected no rows that wait for a tick.*got 1"):
        sessions.snapshot(tmp_path / "snapshot")
    assert not (tmp_path / "snapshot").exists()


def refusal(call):
    with pytest.raises(BundleError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert len(message) < 1500
    assert "expected" in message
    return message


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "snapshot"
    sessions = Sessions(run, slots=3)
    sessions.step({key: rows_of_tick(1)[key] for key in KEYS[:2]})
    sessions.snapshot(path)
    return path


def restore(run, path, slots=3):
    return refusal(lambda: Sessions.restore(run, path, slots=slots))


def test_sessions_of_another_model_are_refused(run, wide_run, text_run, saved):
    sessions = Sessions.restore(run, saved, slots=2)
    for other in (wide_run, text_run):
        assert "expected sessions of model" in restore(other, saved)
        content = sessions.export("key 0")
        assert "expected" in refusal(lambda: Sessions(other, slots=1).load("a", content))  # noqa: B023


def test_more_sessions_than_slots_are_refused(run, saved):
    assert "restore with slots=2 or more" in restore(run, saved, slots=1)


def test_bytes_that_are_no_sessions_are_refused(run, saved, tmp_path):
    path = tmp_path / "file"
    assert "got nothing there" in restore(run, path)
    assert "got a folder, pipe or device" in restore(run, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "got a folder, pipe or device" in restore(run, tmp_path / "pipe")
    stream = tt.Stream(run)
    stream.push({"unique_id": "key 0", **rows_of_tick(1)["key 0"]})
    stream.save(path)
    assert "throughtime.sessions/1" in restore(run, path)
    one = Sessions.restore(run, saved, slots=2).export("key 0")
    for content in (
        b"",
        b"{}",
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 1000) + b"[" * 1000,
        one,
    ):
        path.write_bytes(content)
        restore(run, path)
        if content is not one:
            refusal(lambda: Sessions(run, slots=1).load("a", content))  # noqa: B023
    refusal(lambda: Sessions(run, slots=1).load("a", saved.read_bytes()))


def test_a_large_file_is_refused_unread(run, tmp_path):
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 2**40)
    sessions = Sessions(run, slots=3)
    tracemalloc.start()
    try:
        assert f"got {2**40:,}" in restore(run, path)
        refusal(lambda: sessions.load("a", bytes(10**6)))
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    finally:
        tracemalloc.stop()
    assert len(sessions) == 0


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(0, 255))
def test_a_cut_or_altered_file_is_refused(run, saved, tmp_path_factory, share, mask):
    content = bytearray(saved.read_bytes())
    place = int(share * len(content))
    if mask:
        content[place] ^= mask
    else:
        del content[place:]
    path = tmp_path_factory.mktemp("altered") / "file"
    path.write_bytes(content)
    restore(run, path)


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_an_altered_export_is_refused(run, saved, share, mask):
    content = bytearray(Sessions.restore(run, saved, slots=2).export("key 1"))
    content[int(share * len(content))] ^= mask
    sessions = Sessions(run, slots=2)
    refusal(lambda: sessions.load("a", bytes(content)))
    assert len(sessions) == 0


def forge(run, path, target, edit):
    """Write a snapshot again as an attacker would, who can compute the digest."""
    found = files._decode(path.read_bytes(), files.SNAPSHOT, run.fingerprint, "it")
    arrays = {name: leaf.copy() for name, leaf in found.items()}
    edit(arrays)
    target.write_bytes(files._encode(arrays, files.SNAPSHOT, run.fingerprint))


def text(arrays, content, ends):
    arrays["keys"] = np.frombuffer(content, dtype=np.uint8)
    arrays["ends"] = np.array(ends)


def as_other_bytes(leaf):
    leaf.view(np.uint8)[:] = 2


EDITS = {
    "same key twice": lambda arrays: text(arrays, b"aa", [1, 2]),
    "empty key": lambda arrays: text(arrays, b"ab", [0, 2]),
    "long key": lambda arrays: text(arrays, b"a" * 300, [1, 300]),
    "no UTF-8": lambda arrays: text(arrays, b"a\xff", [1, 2]),
    "ends before": lambda arrays: text(arrays, b"ab", [2, 1]),
    "ends beyond": lambda arrays: text(arrays, b"ab", [1, 3]),
    "ends far": lambda arrays: text(arrays, b"ab", [-(2**63), 2]),
    "more keys": lambda arrays: text(arrays, b"abc", [1, 2, 3]),
    "ends of floats": lambda arrays: arrays.update(ends=np.array([1.0, 2.0])),
    "no keys": lambda arrays: arrays.pop("keys"),
    "no age": lambda arrays: arrays.pop("age"),
    "age before": lambda arrays: arrays.update(age=np.array([-1.0, 1.0])),
    "age NaN": lambda arrays: arrays.update(age=np.array([np.nan, 1.0])),
    "no time": lambda arrays: arrays.pop("time"),
    "time beyond": lambda arrays: arrays.update(time=np.array([2**62, 0])),
    "series beyond": lambda arrays: arrays.update(series=np.array([3, 0])),
    "series before": lambda arrays: arrays.update(series=np.array([-2, 0])),
    "another shape": lambda arrays: arrays.update(held=np.zeros((2, 9))),
    "another dtype": lambda arrays: arrays.update(held=np.zeros((2, 1), np.float32)),
    "one more": lambda arrays: arrays.update(more=np.zeros(2)),
    "no flag": lambda arrays: as_other_bytes(arrays["begun"]),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_forged_snapshot_is_refused(run, saved, tmp_path, name):
    forge(run, saved, tmp_path / "same", lambda arrays: None)
    assert Sessions.restore(run, tmp_path / "same", slots=3).keys == ("key 0", "key 1")
    forge(run, saved, tmp_path / "file", EDITS[name])
    restore(run, tmp_path / "file")


def test_a_forged_symbol_is_refused(text_run, tmp_path):
    sessions = Sessions(text_run, slots=1)
    sessions.step({"a": {"text": "the"}})
    sessions.snapshot(tmp_path / "saved")
    for symbol in (-1, 10**6):
        forge(
            text_run,
            tmp_path / "saved",
            tmp_path / "file",
            lambda arrays: arrays.update(symbol=np.array([symbol])),  # noqa: B023
        )
        assert "symbols of the vocabulary" in restore(text_run, tmp_path / "file")


def test_a_failed_snapshot_leaves_the_old_file(run, saved, tmp_path, monkeypatch):
    path = tmp_path / "snapshot"
    path.write_bytes(saved.read_bytes())
    sessions = Sessions.restore(run, path, slots=3)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refusal(lambda: sessions.snapshot(path))
    assert path.read_bytes() == saved.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot"]


def test_the_format_is_as_it_is_written_down(run, saved):
    """Anyone can read it with the safetensors library alone."""
    content = saved.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert header.pop("__metadata__").keys() == {"format", "fingerprint", "sha256"}
    beside = {"begun", "time", "held", "made", "told", "series"}
    assert header.keys() == {"state.h", *beside, "keys", "ends", "age"}
    assert header["state.h"]["shape"] == [2, 6]
