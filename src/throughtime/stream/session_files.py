"""Sessions as bytes: one that is exported, or all of a snapshot, bound to their model.

The bytes are a safetensors file: one tensor for each array that sessions live in, (K, ...) for K
sessions; of a snapshot also `keys`, all keys in UTF-8 one after the other, `ends`, where each ends,
and `age`, the seconds since each was used, in the order of use. The header's text holds `format`,
`fingerprint` of the model and `sha256` of all that and the tensors. Reading executes nothing, and
allocates no more than the bytes that so many sessions of this model can have.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from throughtime.errors import BundleError, OptionError
from throughtime.files import read_regular_file, write_atomically
from throughtime.formats import parse_tensor_header, parse_tensor_metadata, plain
from throughtime.stream.cells import LONGEST_KEY
from throughtime.stream.directory import check_key

SESSION = "throughtime.session/1"
"""The format of one exported session."""

SNAPSHOT = "throughtime.sessions/1"
"""The format of a snapshot."""

HEADER_LIMIT = 64 * 2**10
"""Most bytes of the header; each array takes about a hundred."""

_KEY_BYTES = 4 * LONGEST_KEY + 16
"""Most bytes that a snapshot has of a session beside its row: key, end and age."""

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "I64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
}

Arrays = Mapping[str, np.ndarray]
"""Arrays (K, ...) by name."""


def encode_session(arrays: Arrays, fingerprint: str) -> bytes:
    """Return one session (1, ...) as bytes."""
    return _encode(arrays, SESSION, fingerprint)


def decode_session(content: bytes, fingerprint: str, like: Arrays) -> dict[str, np.ndarray]:
    """Return the arrays (1, ...) of one session.

    Args:
        content: what `encode_session` returned.
        fingerprint: of the model that it must be of.
        like: arrays (slots, ...) of the names, dtypes and shapes that must be there.

    Raises:
        BundleError: the bytes are none of an exported session of this model.
    """
    shown = "an exported session"
    most = HEADER_LIMIT + _row_bytes(like)
    if not isinstance(content, bytes) or len(content) > most:
        got = f"{len(content):,}" if isinstance(content, bytes) else type(content).__name__
        raise BundleError(f"expected at most {most:,} bytes of {shown}, got {got}")
    found = _decode(content, SESSION, fingerprint, shown)
    _check_arrays(found, like, 1, shown)
    return found


def write_snapshot(
    path: str | os.PathLike[str],
    keys: Sequence[str],
    ages: np.ndarray,
    arrays: Arrays,
    fingerprint: str,
) -> None:
    """Write all sessions; whoever reads the file meanwhile sees the old one or the new one.

    Args:
        path: the file.
        keys: of the sessions, in the order of use.
        ages: (K,) float64, seconds since each was used.
        arrays: (K, ...) by name.
        fingerprint: of the model.

    Raises:
        BundleError: it can't be written.
    """
    encoded = [key.encode() for key in keys]
    more: dict[str, np.ndarray] = {
        "keys": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": np.cumsum([len(key) for key in encoded], dtype=np.int64),
        "age": np.asarray(ages, dtype=np.float64),
    }
    content = _encode({**arrays, **more}, SNAPSHOT, fingerprint)
    try:
        write_atomically(Path(path), content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"expected to write a snapshot of {len(content):,} bytes to {_show(path)}, got "
            f"'{reason}' (an older file there is untouched); free space, mend permissions or name "
            "another file"
        ) from None


def read_snapshot(
    path: str | os.PathLike[str], fingerprint: str, like: Arrays, most: int
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Read what `write_snapshot` wrote.

    Args:
        path: the file.
        fingerprint: of the model that it must be of.
        like: arrays (slots, ...) of the names, dtypes and shapes that must be there.
        most: sessions that there may be.

    Returns:
        The keys, the ages (K,) and the arrays (K, ...).

    Raises:
        BundleError: the file is missing, truncated, altered, foreign, of another model, or of
            more sessions.
    """
    shown = _show(path)
    content = _read(Path(path), HEADER_LIMIT + most * (_row_bytes(like) + _KEY_BYTES), most)
    found = _decode(content, SNAPSHOT, fingerprint, shown)
    more = {
        "keys": found.pop("keys", np.zeros(0)),
        "ends": found.pop("ends", np.zeros(0)),
        "age": found.pop("age", np.zeros(0)),
    }
    keys = _read_keys(more["keys"], more["ends"], shown)
    if len(keys) > most:
        raise BundleError(
            f"expected at most {most:,} sessions in {shown}, got {len(keys):,}; "
            f"restore with slots={len(keys)} or more"
        )
    age = more["age"]
    fits = age.dtype == np.float64 and age.shape == (len(keys),)
    if not fits or not (np.isfinite(age) & (age >= 0)).all():
        raise BundleError(f"expected an age of 0 seconds or more for each key of {shown}")
    _check_arrays(found, like, len(keys), shown)
    return keys, age, found


def _row_bytes(like: Arrays) -> int:
    return sum(math.prod(leaf.shape[1:]) * leaf.itemsize for leaf in like.values())


def _encode(arrays: Arrays, format: str, fingerprint: str) -> bytes:
    dense = {name: np.ascontiguousarray(leaf) for name, leaf in arrays.items()}
    digest = _digest(dense, format, fingerprint)
    header: dict[str, Any] = {
        "__metadata__": {"format": format, "fingerprint": fingerprint, "sha256": digest}
    }
    # Not by the safetensors library, whose headers come in no order: the same sessions are the
    # same bytes here. The widest numbers come first, so that all are aligned.
    names = sorted(dense, key=lambda name: (-dense[name].itemsize, name))
    end = 0
    for name in names:
        leaf, begin = dense[name], end
        end += leaf.nbytes
        dtype = next(text for text, dtype in _DTYPES.items() if dtype == leaf.dtype)
        header[name] = {"dtype": dtype, "shape": leaf.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little"), text, *(dense[name].tobytes() for name in names)]
    return b"".join(parts)


def _decode(content: bytes, format: str, fingerprint: str, shown: str) -> dict[str, np.ndarray]:
    if int.from_bytes(content[:8], "little") > HEADER_LIMIT:
        raise BundleError(
            f"expected a header of at most {HEADER_LIMIT:,} bytes in {shown}, got a larger one; "
            "it is truncated or foreign"
        )
    entries = parse_tensor_header(content, source=shown)
    metadata = parse_tensor_metadata(content, source=shown)
    if metadata.get("format") != format:
        raise BundleError(
            f"expected {format} in {shown}, got {plain(metadata.get('format'), longest=60)}; "
            "it is foreign"
        )
    if metadata.get("fingerprint") != fingerprint:
        raise BundleError(
            f"expected sessions of model {fingerprint[:12]}, got those of "
            f"{plain(metadata.get('fingerprint'), longest=12)} in {shown}; use the run that they "
            "are of"
        )
    found = {}
    for name, dtype, shape, begin in entries:
        if dtype not in _DTYPES:
            raise BundleError(f"expected {', '.join(_DTYPES)} in {shown}, got {dtype}: foreign")
        count = math.prod(shape)
        flat = np.frombuffer(content, _DTYPES[dtype], count, begin) if count else np.empty(0)
        found[name] = flat.astype(_DTYPES[dtype], copy=False).reshape(shape)
    if metadata.get("sha256") != _digest(found, format, fingerprint):
        raise BundleError(
            f"expected {shown} as it was written, got one that was altered since; restore it from "
            "a copy, or begin anew"
        )
    return found


def _digest(arrays: Arrays, format: str, fingerprint: str) -> str:
    digest = hashlib.sha256(f"{format} {fingerprint}\n".encode())
    for name in sorted(arrays):
        leaf = arrays[name]
        digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(leaf.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_arrays(found: Arrays, like: Arrays, count: int, shown: str) -> None:
    expected = {name: (leaf.dtype.name, (count, *leaf.shape[1:])) for name, leaf in like.items()}
    got = {name: (leaf.dtype.name, leaf.shape) for name, leaf in found.items()}
    if expected != got:
        raise BundleError(
            f"expected {plain(str(expected), longest=300)} in {shown}, got "
            f"{plain(str(got), longest=300)}; it is foreign"
        )
    for name, leaf in found.items():
        if leaf.dtype == np.bool_ and leaf.size and int(leaf.view(np.uint8).max()) > 1:
            raise BundleError(f"expected bytes of 0 and 1 in {name} of {shown}, got others")


def _read_keys(texts: np.ndarray, ends: np.ndarray, shown: str) -> list[str]:
    problem = BundleError(f"expected different keys of sessions in {shown}, got others")
    if texts.dtype != np.uint8 or ends.dtype != np.int64 or not texts.ndim == ends.ndim == 1:
        raise problem
    places = [0, *ends.tolist()]
    if places[-1] != len(texts) or any(begin >= end for begin, end in pairwise(places)):
        raise problem
    content = texts.tobytes()
    try:
        keys = [content[begin:end].decode() for begin, end in pairwise(places)]
        for key in keys:
            check_key(key)
    except (UnicodeDecodeError, OptionError):
        raise problem from None
    if len(set(keys)) != len(keys):
        raise problem
    return keys


def _read(path: Path, limit: int, most: int) -> bytes:
    """Read a regular file of at most so many bytes."""
    why = f"as many as {most:,} sessions of this run can have; restore with more slots"
    return read_regular_file(path, _show(path), limit, why)


def _show(path: str | os.PathLike[str]) -> str:
    return plain(str(path), longest=1000)
