"""A stream on disk: one safetensors file, bound to its model, whole or not at all.

The file holds every key's state stacked as lanes, and beside it what else the keys remember. Its
header holds the keys, the model's fingerprint and a digest of everything, so a file that was cut,
altered or made for another model is refused before anything is made of it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor

from throughtime import state as states
from throughtime.errors import BundleError
from throughtime.files import write_atomically
from throughtime.formats import (
    JSON_LIMIT,
    TENSORS_LIMIT,
    encode_json,
    parse_json,
    plain,
)
from throughtime.state import State

FORMAT = "throughtime.stream/1"
_STATE = "state."


@dataclass(frozen=True)
class Snapshot:
    """What is kept of a stream.

    Attributes:
        keys: the keys, in the order of the lanes.
        key: the column that tells the keys apart, or None.
        noted: columns that were said to be ignored.
        state: of the model, K lanes.
        packed: what else the keys remember, tensors (K, ...) by name.
    """

    keys: tuple[str, ...]
    key: str | None
    noted: tuple[str, ...]
    state: State
    packed: Mapping[str, Tensor]


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot, fingerprint: str) -> None:
    """Write a snapshot; whoever reads the file meanwhile sees the old one or the new one.

    Args:
        path: the file.
        snapshot: what is kept.
        fingerprint: of the run that it belongs to.

    Raises:
        BundleError: it can't be written, or there are more keys than a file holds.
    """
    shown = plain(str(path), longest=1000)
    tensors = {
        _STATE + name: leaf
        for name, leaf in zip(
            states.names(snapshot.state), states.leaves(snapshot.state), strict=True
        )
    }
    tensors |= snapshot.packed
    tensors = {name: leaf.detach().cpu().contiguous().clone() for name, leaf in tensors.items()}
    record = {"keys": snapshot.keys, "key": snapshot.key, "noted": snapshot.noted}
    stream = encode_json(record, source="the keys of a stream").decode()
    metadata = {"format": FORMAT, "fingerprint": fingerprint, "stream": stream}
    content = serialise(tensors, metadata={**metadata, "sha256": _digest(metadata, tensors)})
    header = int.from_bytes(content[:8], "little")
    if header > JSON_LIMIT or len(content) > TENSORS_LIMIT:
        raise BundleError(
            f"expected keys of at most {JSON_LIMIT:,} bytes and states of {TENSORS_LIMIT:,} to "
            f"save, got {header:,} and {len(content):,}; use several streams, each with some keys"
        )
    try:
        write_atomically(Path(path), content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"expected to save the stream in {shown}, got '{reason}' (an older file there is "
            "untouched); free space, mend permissions or name another file"
        ) from None


def read_snapshot(
    path: str | os.PathLike[str],
    fingerprint: str,
    *,
    like: State,
    packed: Mapping[str, Tensor],
) -> Snapshot:
    """Read a snapshot; nothing in it is executed.

    Args:
        path: the file.
        fingerprint: of the run that it must belong to.
        like: a state of the model, of any number of lanes.
        packed: tensors of the names, dtypes and shapes that must be there, of no lane.

    Raises:
        BundleError: it is missing, truncated, altered, foreign or of another model.
    """
    shown = plain(str(path), longest=1000)
    tensors, metadata = states.read_tensors(Path(path))
    if metadata.get("format") != FORMAT:
        raise BundleError(
            f"expected a stream saved by throughtime, got {shown}, which is none; give the file "
            "that --save wrote"
        )
    if metadata.get("fingerprint") != fingerprint:
        raise BundleError(
            f"expected a stream of model {fingerprint[:12]}, got one of "
            f"{plain(metadata.get('fingerprint'), longest=12)} in {shown}; use the run that saved "
            "it, or begin anew"
        )
    if metadata.get("sha256") != _digest(metadata, tensors):
        raise BundleError(
            f"expected {shown} as it was saved, got one that was altered since; restore it from a "
            "copy, or begin anew"
        )
    record = parse_json(metadata.get("stream", "").encode(), source=f"the header of {shown}")
    keys, key, noted = _check_record(record, shown)
    names, leaves = states.names(like), states.leaves(like)
    wanted = {_STATE + name: leaf for name, leaf in zip(names, leaves, strict=True)} | dict(packed)
    expected = {name: (leaf.dtype, (len(keys), *leaf.shape[1:])) for name, leaf in wanted.items()}
    got = {name: (leaf.dtype, tuple(leaf.shape)) for name, leaf in tensors.items()}
    if expected != got:
        raise BundleError(
            f"expected {plain(str(expected), longest=300)} in {shown}, got "
            f"{plain(str(got), longest=300)}; the file is foreign"
        )
    found = iter([tensors[_STATE + name] for name in names])
    state = states.tree_map(lambda leaf: next(found), like)
    return Snapshot(keys, key, noted, state, {name: tensors[name] for name in packed})


def _check_record(
    record: Mapping[str, Any], shown: str
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    keys, noted = _texts(record.get("keys")), _texts(record.get("noted"))
    key = record.get("key")
    if keys is None or noted is None or not (key is None or isinstance(key, str)):
        raise BundleError(f"expected keys, key and noted in the header of {shown}, got others")
    return keys, key, noted


def _texts(values: Any) -> tuple[str, ...] | None:
    """Return a list of different texts, or None for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return None
    return tuple(values) if len(set(values)) == len(values) else None


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of everything that a snapshot says."""
    digest = hashlib.sha256()
    for name in ("format", "fingerprint", "stream"):
        digest.update(f"{name} {metadata.get(name)}\n".encode())
    for name in sorted(tensors):
        leaf = tensors[name]
        digest.update(f"{name} {leaf.dtype} {tuple(leaf.shape)}\n".encode())
        digest.update(leaf.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
