"""A bundle is written whole or not at all, whatever happens on the way."""

import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import is_of, limit, parts, refusal

from throughtime.bundle import read_bundle, write_bundle
from throughtime.errors import BundleError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "run", **parts())
    return tmp_path / "run"


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("first", [True, False], ids=["first", "again"])
def test_crash_at_any_move_leaves_old_or_interrupted(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, moves = tmp_path / "run", 0
    outcomes = []
    real = os.replace
    while True:
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        (run / "metrics.csv").touch()
        if not first:
            write_bundle(run, **parts(0))
        left = moves

        def crash(source: Any, target: Any) -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", crash)
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            try:
                write_bundle(run, **parts(1))
            except Crash:
                pass
            else:
                break
        try:
            assert is_of(read_bundle(run), 0)
            outcomes.append("old")
        except BundleError:
            assert "interrupted" in refusal(run)
            outcomes.append("interrupted")
        assert is_of(write_bundle(run, **parts(2)), 2)
        assert is_of(read_bundle(run), 2)
        assert not list(run.glob(".*"))
        moves += 1
    expected = ["interrupted"] * 12 if first else ["old"] * 6 + ["interrupted"] * 6
    assert outcomes == expected


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of one whom file modes bind, and act as that user: they don't bind root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        os.seteuid(user)
        for child in folder.iterdir():
            child.chmod(0o700)
        shutil.rmtree(folder)


def test_full_disk_leaves_the_old_bundle(run: Path) -> None:
    changed = {**parts(1), "weights": {"w": torch.zeros(30_000)}}
    with limit(resource.RLIMIT_FSIZE, 100_000), pytest.raises(BundleError) as caught:
        write_bundle(run, **changed)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert "untouched" in str(caught.value)
    assert is_of(read_bundle(run), 0)
    assert not list(run.glob(".*"))


def test_permissions_are_named() -> None:
    with unprivileged() as folder:
        run = folder / "run"
        write_bundle(run, **parts())
        run.chmod(0o500)
        with pytest.raises(BundleError, match=r"Permission denied' \(what was there .*untouched"):
            write_bundle(run, **parts(1))
        assert is_of(read_bundle(run), 0)
        (run / "model.safetensors").chmod(0)
        assert re.search(r"read \S+model\.safetensors, got 'Permission denied'", refusal(run))
        for mode in (0, 0o400):
            run.chmod(mode)
            assert re.search(r"read \S+/run, got 'Permission denied'", refusal(run))
        run.chmod(0o700)
        (run / "manifest.json").unlink()
        run.chmod(0o300)
        assert re.search(r"read \S+/run, got 'Permission denied'", refusal(run))


def test_writing_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(BundleError, match="File exists"):
        write_bundle(tmp_path / "run", **parts())
    assert (tmp_path / "run").read_text() == "mine"
