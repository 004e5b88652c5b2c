"""Files are written whole or not at all, and read only where they are files."""

import os
import threading
from pathlib import Path

import pytest

from throughtime.errors import BundleError
from throughtime.files import read_regular_file, write_atomically


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "file"
    for content in (b"", b"\0\1", b"x" * 2**20):
        write_atomically(path, content)
        assert read_regular_file(path, "it") == content
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_links_are_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link", "it") == b"abc"


def test_a_file_over_the_limit_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert read_regular_file(path, "it", 4) == b"1234"
    with pytest.raises(BundleError, match="at most 3 bytes in it, got 4; take another"):
        read_regular_file(path, "it", 3, "take another")


def test_a_file_swapped_for_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    """Between the question what it is and the opening of it."""
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    real = os.open

    def race(name, *arguments, **options):
        if Path(name) == path:
            path.unlink()
            os.mkfifo(path)
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", race)
    outcome = []

    def read():
        with pytest.raises(BundleError, match="a folder, pipe or device"):
            read_regular_file(path, "it")
        outcome.append("refused")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=60)
    assert outcome == ["refused"]


def test_a_file_that_grows_is_read_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    real = os.fstat

    def grow(descriptor):
        status = real(descriptor)
        with path.open("ab") as file:
            file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", grow)
    assert read_regular_file(path, "it", 4) == b"1234"


def test_places_that_are_no_file_are_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BundleError, match="expected a file at it"):
            read_regular_file(path, "it")
    with pytest.raises(BundleError, match="got nothing there"):
        read_regular_file(tmp_path / "nothing", "it")
    with pytest.raises(BundleError, match="expected to be able to read it"):
        read_regular_file(Path("a\0b"), "it")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BundleError, match="expected to be able to read it"):
        read_regular_file(tmp_path / "loop", "it")
