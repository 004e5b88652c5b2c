"""The files of a bundle on disk: their names, their manifest, how they are written and read whole.

A bundle is part of a run directory. `manifest.json` names each file that a loaded model depends on,
with its size and SHA-256, and the model's fingerprint. It is taken away before the first file of a
new bundle is moved into place and put back last, so a directory never holds a manifest beside
files of another writing. What the files mean is in `bundle`; here they are bytes.
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from throughtime.errors import BundleError
from throughtime.files import write_atomically
from throughtime.formats import JSON_LIMIT, TENSORS_LIMIT, encode_json, parse_json, plain

FORMAT = "throughtime.bundle/1"
"""Format version that is written, and the only one that is read."""

CONFIG = "config.json"
MODEL = "model.safetensors"
VOCABULARY = "vocabulary.json"
PARITY = "parity.safetensors"
MANIFEST = "manifest.json"
CARD = "README.md"

LIMITS: Mapping[str, int] = {
    CONFIG: JSON_LIMIT, MODEL: TENSORS_LIMIT, VOCABULARY: JSON_LIMIT, PARITY: TENSORS_LIMIT,
}  # fmt: skip
"""The files that a manifest may name, and the most bytes of each."""

_REQUIRED = frozenset(LIMITS) - {VOCABULARY}
# The parity record checks a model and the card describes it; these files are the model.
_IDENTITY = (CONFIG, MODEL, VOCABULARY)
_MANIFEST_LIMIT = 64 * 2**10
_STAGING = ".bundle.partial"


class _File(NamedTuple):
    sha256: str
    size: int


def write_files(directory: Path, contents: Mapping[str, bytes], card: str) -> str:
    """Put a bundle's files into a directory, whole or not at all.

    Everything is first written beside its place, so a full disk leaves the old bundle as it was;
    then the files are moved in. Other files in the directory are left alone.

    Args:
        directory: the run directory; created if it is not there.
        contents: each file of the bundle by name.
        card: text of the model card. It is for people, who may edit it, so it is not verified.

    Returns:
        The fingerprint.

    Raises:
        BundleError: when the files can't be written; the message says what is left.
    """
    # Here, as a program that only reads bundles has no use for it.
    import shutil

    files = {
        name: _File(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()
    }
    manifest = _encode_manifest(files)
    staged = {**contents, CARD: card.encode("utf-8", "replace"), MANIFEST: manifest}
    staging = directory / _STAGING
    left = "what was there before is untouched"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        for name, content in staged.items():
            write_atomically(staging / name, content)
        left = "the bundle there is incomplete and will be refused"
        (directory / MANIFEST).unlink(missing_ok=True)
        _sync(directory)
        for name in (*contents, CARD):
            os.replace(staging / name, directory / name)
        if VOCABULARY not in contents:
            (directory / VOCABULARY).unlink(missing_ok=True)
        _sync(directory)
        os.replace(staging / MANIFEST, directory / MANIFEST)
        _sync(directory)
    except OSError as error:
        needed = sum(len(content) for content in staged.values())
        raise BundleError(
            f"expected to write a bundle of {needed} bytes into {_show(directory)}, got "
            f"'{error.strerror}' ({left}); free space, mend permissions or choose another folder"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return fingerprint_of(files)


def read_files(directory: Path) -> tuple[dict[str, bytearray], str]:
    """Read every file that the manifest names, each verified before anyone parses it.

    Returns:
        The content of each file by name, and the fingerprint.

    Raises:
        BundleError: when the directory is no run, or a file is missing, altered, of another
            kind than a regular file, or larger than its limit.
    """
    files, fingerprint = _read_manifest(directory)
    contents = {}
    for name, expected in files.items():
        content = _read_file(directory / name, LIMITS[name], expected.size)
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected.sha256:
            raise BundleError(
                f"expected {_show(directory / name)} with sha256 {expected.sha256[:12]} as "
                f"in {MANIFEST}, got {digest[:12]}: {name} was altered after it was written; "
                "restore it, or train again"
            )
        contents[name] = content
    return contents, fingerprint


def fingerprint_of(files: Mapping[str, _File]) -> str:
    """Name the model: SHA-256 over the sorted names and digests of the files that define it."""
    lines = [f"{name} {files[name].sha256}\n" for name in sorted(_IDENTITY) if name in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _encode_manifest(files: Mapping[str, _File]) -> bytes:
    manifest = {
        "format": FORMAT,
        "fingerprint": fingerprint_of(files),
        "files": {name: files[name]._asdict() for name in sorted(files)},
    }
    return encode_json(manifest, source=MANIFEST)


def _read_manifest(directory: Path) -> tuple[dict[str, _File], str]:
    path = directory / MANIFEST
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing_manifest(directory) from None
    except OSError as error:
        raise _unreadable(directory, error) from None
    content = _read_file(path, _MANIFEST_LIMIT, None)
    shown = _show(path)
    manifest = parse_json(content, source=shown)
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"expected format {FORMAT} in {shown} (the one that this throughtime knows), got "
            f"{plain(manifest.get('format'))}; open it with the throughtime that wrote it"
        )
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not _REQUIRED <= set(listed) <= set(LIMITS):
        raise BundleError(
            f"expected {shown} to name {', '.join(sorted(LIMITS))} and nothing else, got "
            f"{plain(listed)}; restore it, or train again"
        )
    files = {name: _check_listed(name, entry, shown) for name, entry in listed.items()}
    # One text per manifest: a byte that means nothing to JSON can't be changed unseen either.
    if bytes(content) != _encode_manifest(files):
        raise BundleError(
            f"expected {shown} as throughtime wrote it, got one that was altered; restore it, "
            "or train again"
        )
    if VOCABULARY not in files and os.path.lexists(directory / VOCABULARY):
        raise BundleError(
            f"expected no {VOCABULARY} in {_show(directory)}, as {MANIFEST} names none, got "
            "one; take the file away: the model has no vocabulary"
        )
    return files, fingerprint_of(files)


def _check_listed(name: str, entry: Any, shown: str) -> _File:
    if isinstance(entry, dict) and set(entry) == {"sha256", "size"}:
        digest, size = entry["sha256"], entry["size"]
        # The limit is checked here too, before a file of that size is looked at.
        if (
            isinstance(digest, str)
            and re.fullmatch("[0-9a-f]{64}", digest)
            and type(size) is int
            and 0 <= size <= LIMITS[name]
        ):
            return _File(digest, size)
    raise BundleError(
        f"expected a sha256 and a size of at most {LIMITS[name]} for {name} in {shown}, got "
        f"{plain(entry)}; restore it, or train again"
    )


def _read_file(path: Path, limit: int, size: int | None) -> bytearray:
    """Read a regular file whole, into memory of exactly its size."""
    shown = _show(path)
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(
                f"expected a regular file at {shown}, got {_kind(status.st_mode)}; "
                "copy the run with its links followed"
            )
        if size is not None and status.st_size != size:
            raise BundleError(
                f"expected {shown} of {size} bytes as in {MANIFEST}, got {status.st_size}: "
                f"{path.name} was altered or copied in part; restore it, or train again"
            )
        if status.st_size > limit:
            raise BundleError(
                f"expected {shown} of at most {limit} bytes, got {status.st_size}; "
                "it is not what throughtime writes"
            )
        with open(path, "rb", buffering=0, opener=_open_plainly) as file:
            content = bytearray(status.st_size)
            view = memoryview(content)
            filled = 0
            while filled < len(content) and (count := file.readinto(view[filled:])):
                filled += count
    except FileNotFoundError:
        raise BundleError(
            f"expected {path.name} in {_show(path.parent)}, got no such file; "
            "copy the whole run, or train again"
        ) from None
    except MemoryError:
        raise BundleError(
            f"expected {status.st_size} bytes of free memory to read {shown}, got less; "
            "free some, or use a larger machine"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if filled != len(content):
        raise BundleError(
            f"expected {len(content)} bytes in {shown}, got {filled}: "
            "it was cut while it was read; try again"
        )
    return content


def _open_plainly(path: str, flags: int) -> int:
    # The file was a regular one a moment ago: should it be swapped, follow and wait for nothing.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _missing_manifest(directory: Path) -> BundleError:
    shown = _show(directory)
    try:
        found = sorted(os.listdir(directory))
    except FileNotFoundError:
        return BundleError(
            f"expected the folder of a run at {shown}, got nothing there; "
            "give the folder that `train --out` wrote"
        )
    except NotADirectoryError:
        return BundleError(
            f"expected the folder of a run, got a file: {shown}; "
            "give the folder that `train --out` wrote"
        )
    except OSError as error:
        return _unreadable(directory, error)
    if _STAGING in found or CONFIG in found or MODEL in found:
        return BundleError(
            f"expected {MANIFEST} in {shown}, got none: writing the bundle was interrupted (or "
            "goes on), or it was copied in part; train or copy it again"
        )
    names = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    inside = plain(names, longest=400) or "nothing in it"
    return BundleError(
        f"expected the folder of a run, got {shown} with {inside}; "
        "is it the folder that `train --out` wrote?"
    )


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(
        f"expected to be able to read {_show(path)}, got '{error.strerror}'; "
        "mend its permissions, or copy the run to where it can be read"
    )


def _show(path: Path) -> str:
    return plain(str(path), longest=1000)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"


def _sync(directory: Path) -> None:
    """Make the moves so far last through a power cut, before those that rely on them."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
