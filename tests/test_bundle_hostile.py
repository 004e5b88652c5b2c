"""Nothing that lies in a run directory executes, allocates at will, or is read when altered."""

import json
import math
import os
import pickle
import re
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from bundles import VERIFIED, is_of, limit, parts, refusal, same_tensors, sign
from hostile_bundles import HOSTILE, TRAP, Damage, Trap, model, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.bundle import FORMAT, read_bundle, write_bundle
from throughtime.errors import BundleError
from throughtime.formats import ITEM_SIZES


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "run", **parts())
    return tmp_path / "run"


@pytest.mark.parametrize(("damage", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_in_one_line(damage: Damage, message: str, run: Path) -> None:
    damage(run)
    assert re.search(message, refusal(run))
    assert not TRAP.exists()


def test_the_trap_works() -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert TRAP.is_dir()
    TRAP.rmdir()


def test_vocabulary_that_the_manifest_does_not_know_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path, **{**parts(), "vocabulary": None})
    (tmp_path / "vocabulary.json").write_text("{}")
    assert "expected no vocabulary.json" in refusal(tmp_path)


def test_what_is_no_run_is_said(run: Path, tmp_path: Path) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    for name in ("a.csv", "b.csv", "c\n.csv", "d", "e", "f", "g"):
        (other / name).touch()
    assert "nothing there; give the folder that `train --out` wrote" in refusal(run / "nothing")
    assert "got a file" in refusal(run / "config.json")
    assert "with nothing in it; is it the folder that `train --out`" in refusal(empty)
    assert "a.csv, b.csv" in refusal(other)
    assert "and 2 more" in refusal(other)


@pytest.mark.parametrize(
    ("swap", "message"),
    [
        (lambda path: os.truncate(path, 1), "got 1: it was cut while it was read"),
        (lambda path: path.unlink() or path.symlink_to("config.json"), "symbolic links"),
    ],
    ids=["cut", "link"],
)
def test_a_file_swapped_after_its_check_is_refused(
    swap: Damage, message: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def race(path: str, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("model.safetensors"):
            swap(Path(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", race)
    assert message in refusal(run)


def test_declared_sizes_allocate_nothing(run: Path) -> None:
    model({"a": tensor([2**33], 0, 2**35), "b": tensor([2**34, 0], 2**35, 2**35)})(run)
    tracemalloc.start()
    try:
        refusal(run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_file_larger_than_memory_is_refused(run: Path) -> None:
    size = 2**33
    files = json.loads((run / "manifest.json").read_text())["files"]
    os.truncate(run / "parity.safetensors", size)
    files["parity.safetensors"]["size"] = size
    fingerprint = json.loads((run / "manifest.json").read_text())["fingerprint"]
    content = {"format": FORMAT, "fingerprint": fingerprint, "files": files}
    (run / "manifest.json").write_text(json.dumps(content, indent=2) + "\n")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limit(resource.RLIMIT_AS, pages * resource.getpagesize() + 2**30):
        assert "8589934592 bytes of free memory" in refusal(run)


def test_reading_takes_the_memory_of_the_file_once(tmp_path: Path) -> None:
    count = 2**20
    write_bundle(tmp_path, **{**parts(), "weights": {"w": torch.ones(count)}})
    tracemalloc.start()
    try:
        read_bundle(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 4 * count < peak < 4.5 * count


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole")
    write_bundle(run, **parts())
    return run


@pytest.mark.parametrize("name", [*VERIFIED, "manifest.json"])
@settings(deadline=None)
@given(data=st.data())
def test_any_single_byte_changed_is_refused(name: str, whole: Path, data: st.DataObject) -> None:
    content = (whole / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda v: v != content[place]))
    changed = content[:place] + bytes([value]) + content[place + 1 :]
    try:
        (whole / name).write_bytes(changed)
        message = refusal(whole)
    finally:
        (whole / name).write_bytes(content)
    if name in VERIFIED:
        assert f"{name} was altered" in message
    assert is_of(read_bundle(whole), 0)


@pytest.mark.parametrize("name", [*VERIFIED, "manifest.json"])
@settings(deadline=None)
@given(data=st.data())
def test_any_cut_or_lengthened_file_is_refused(name: str, whole: Path, data: st.DataObject) -> None:
    content = (whole / name).read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    try:
        for changed in (content[:length], content + b" ", content + b"\n"):
            (whole / name).write_bytes(changed)
            refusal(whole)
    finally:
        (whole / name).write_bytes(content)


@settings(deadline=None)
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["F32", "BOOL"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets"]), inner)
        ),
    ),
    data=st.binary(max_size=16),
)
def test_any_junk_in_a_header_is_refused_or_read_as_the_library_does(
    header: Any, data: bytes, whole: Path
) -> None:
    content = (whole / "model.safetensors").read_bytes()
    try:
        model(header, data)(whole)
        try:
            weights = read_bundle(whole).weights
        except BundleError:
            return
        assert same_tensors(
            weights, safetensors.torch.load((whole / "model.safetensors").read_bytes())
        )
    finally:
        (whole / "model.safetensors").write_bytes(content)
        sign(whole)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """The header of a correct file, and the number of bytes of its data."""
    dtypes = draw(st.lists(st.sampled_from(sorted(set(ITEM_SIZES) - {"BOOL"})), max_size=4))
    header, begin = {}, 0
    # Widest first, as the library lays them out: so each is aligned.
    for i, dtype in enumerate(sorted(dtypes, key=ITEM_SIZES.__getitem__, reverse=True)):
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        end = begin + math.prod(shape) * ITEM_SIZES[dtype]
        header[f"t{i}"] = tensor(shape, begin, end, dtype)
        begin = end
    return header, begin


@settings(deadline=None)
@given(layout=layouts(), damage=st.integers(0, 3), data=st.data())
def test_any_correct_layout_is_read_and_a_byte_off_is_not(
    layout: tuple[dict[str, Any], int], damage: int, data: st.DataObject, whole: Path
) -> None:
    header, size = layout
    name = data.draw(st.sampled_from(sorted(header))) if header else None
    if damage == 1:
        size += 1
    elif damage == 2 and name is not None:
        header[name]["data_offsets"][data.draw(st.integers(0, 1))] += 1
    elif damage == 3 and name is not None:
        header[name]["shape"] = [math.prod(header[name]["shape"]) + 1]
    else:
        damage = 0
    content = (whole / "parity.safetensors").read_bytes()
    try:
        model(header, bytes(i * 37 % 256 for i in range(size)), name="parity.safetensors")(whole)
        if damage:
            assert "parity.safetensors" in refusal(whole)
        else:
            oracle = safetensors.torch.load((whole / "parity.safetensors").read_bytes())
            assert same_tensors(read_bundle(whole).parity, oracle)
    finally:
        (whole / "parity.safetensors").write_bytes(content)
        sign(whole)
