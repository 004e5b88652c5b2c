"""The files of an export come into their folder all at once, or not at all."""

import errno

import pytest

from throughtime.errors import OptionError
from throughtime.export import placing
from throughtime.export.placing import put_files

FILES = {"model.h": b"new h", "model.c": b"new c"}


@pytest.fixture
def full_disk(monkeypatch):
    """A disk with room for one file."""
    write, written = placing.write_atomically, []

    def write_one(path, content):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(placing, "write_atomically", write_one)


def content_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_replace_those_of_their_names_and_no_others(tmp_path):
    (tmp_path / "model.c").write_bytes(b"old c")
    (tmp_path / "main.c").write_bytes(b"mine")
    put_files(tmp_path, FILES)
    assert content_of(tmp_path) == FILES | {"main.c": b"mine"}


def test_a_new_folder_may_lie_deep(tmp_path):
    put_files(tmp_path / "a" / "b", FILES)
    assert content_of(tmp_path / "a" / "b") == FILES


def test_a_full_disk_leaves_the_old_files_together(full_disk, tmp_path):
    old = {"model.h": b"old h", "model.c": b"old c"}
    put_by_hand(tmp_path, old)
    with pytest.raises(OSError, match="No space left"):
        put_files(tmp_path, FILES)
    assert content_of(tmp_path) == old


def test_a_full_disk_leaves_no_new_folder(full_disk, tmp_path):
    with pytest.raises(OSError, match="No space left"):
        put_files(tmp_path / "new", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_refused_first(tmp_path):
    (tmp_path / "model.c").mkdir()
    with pytest.raises(OptionError, match=r"expected to write the file model.c in .*, got a folde"):
        put_files(tmp_path, FILES)
    assert [file.name for file in tmp_path.iterdir()] == ["model.c"]


def put_by_hand(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
