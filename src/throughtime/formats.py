"""Strict readings of the two formats of every file kept: JSON and the safetensors header.

Bytes go in; checked values or one `BundleError` come out, and nothing is allocated on the word of a
file. Python's `json` takes more than JSON (repeated keys, NaN), and the safetensors library takes
repeated names, ranks in the thousands and empty tensors of 2**80 elements, so both are checked
here. No files, manifests or tensors: those are in `bundle_files` and `bundle`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from throughtime.errors import BundleError

JSON_LIMIT = 16 * 2**20
"""Most bytes of a JSON file, and of a safetensors header (whose own format allows 100 MB)."""

VALUES_LIMIT = 2**20
"""Most values in a JSON file or header, counted by commas and opening brackets, those in strings
among them: Python makes some fifty bytes of every `[]`."""

DEPTH_LIMIT = 32
"""Most levels of nesting in JSON."""

TENSORS_LIMIT = 16 * 2**30
"""Most bytes of a safetensors file, and most elements that one shape may speak of."""

RANK_LIMIT = 8
"""Most axes of a tensor."""

ITEM_SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of an element of each dtype that a bundle may hold, by its safetensors name."""

_TOO_DEEP = f"more than {DEPTH_LIMIT} levels of nesting"
_METADATA = "__metadata__"
_LENGTH_BYTES = 8


class TensorEntry(NamedTuple):
    """Where one tensor lies in a safetensors file; `begin` counts from the file's first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int


def plain(value: object, *, longest: int = 120) -> str:
    """Show a value in an error message: one line, printable, of bounded length."""
    text = value if isinstance(value, str) else repr(value)
    shown = text[:longest]
    if not shown.isprintable():
        shown = ascii(shown)
    return shown if len(text) <= longest else f"{shown}... ({len(text)} characters)"


def finite(value: Any) -> Any:
    """Return JSON values without numbers that JSON has no word for; these become null."""
    if isinstance(value, dict):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def encode_json(value: object, *, source: str) -> bytes:
    """Write a value as UTF-8 JSON that `parse_json` gives back equal (tuples become lists).

    Args:
        value: dicts with string keys, lists, strings, finite numbers, booleans and None.
        source: what the value is, for the message.

    Raises:
        BundleError: when the value is not JSON, is nested deeper than `DEPTH_LIMIT`, or holds more
            than `VALUES_LIMIT` values.
    """
    try:
        _check_tree(value)
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        content = f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"expected {source} of plain JSON values (finite numbers, text, lists and dicts with "
            f"text keys), got {plain(str(error), longest=400)}; convert it first"
        ) from None
    _check_count(content, source)
    return content


def parse_json(content: bytes | bytearray, *, source: str) -> dict[str, Any]:
    """Read a JSON object strictly.

    Args:
        content: UTF-8 text; `JSON_LIMIT` is for the caller to check, before it reads a file.
        source: name of the file, for the message.

    Raises:
        BundleError: when the content is not UTF-8, not JSON, not an object, repeats a
            key, holds a number that is not finite, is nested deeper than `DEPTH_LIMIT`, or holds
            more than `VALUES_LIMIT` values.
    """
    _check_count(content, source)
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
        _check_tree(value)
    except (ValueError, RecursionError) as error:
        # How Python words a RecursionError depends on its version.
        problem = str(error) if isinstance(error, ValueError) else _TOO_DEEP
        raise BundleError(
            f"expected strict JSON in UTF-8 in {source}, got {plain(problem, longest=400)}; "
            "restore the file, or train again"
        ) from None
    if not isinstance(value, dict):
        raise BundleError(
            f"expected a JSON object in {source}, got {plain(value)}; "
            "restore the file, or train again"
        )
    return value


def parse_tensor_header(content: bytes | bytearray, *, source: str) -> tuple[TensorEntry, ...]:
    """Read and check the header of a safetensors file, in the order of the data.

    Args:
        content: the whole file.
        source: name of the file, for the messages.

    Returns:
        One entry per tensor. Together they cover the data exactly: no hole, no overlap, no tail.

    Raises:
        BundleError: when anything about the header is not as the format and the limits have it.
    """
    header, _, start = _parse_header(content, source)
    spans = sorted(
        (_check_entry(name, entry, len(content) - start, source), name)
        for name, entry in header.items()
    )
    entries: list[TensorEntry] = []
    covered = 0
    for (begin, end), name in spans:
        if begin != covered:
            raise BundleError(
                f"expected tensor {plain(name)} of {source} to begin at byte {covered} of the "
                f"data, got {begin}: a hole or an overlap; the file is corrupt or foreign"
            )
        covered = end
        dtype, shape = header[name]["dtype"], tuple(header[name]["shape"])
        if (start + begin) % ITEM_SIZES[dtype]:
            raise BundleError(
                f"expected tensor {plain(name)} of {source} to be aligned to its "
                f"{ITEM_SIZES[dtype]} bytes an element, got byte {start + begin}; write the "
                "file with the safetensors library"
            )
        entries.append(TensorEntry(name, dtype, shape, start + begin))
    if start + covered != len(content):
        raise BundleError(
            f"expected {source} of {start + covered} bytes, as its header declares, got "
            f"{len(content)}; the file is truncated or foreign"
        )
    return tuple(entries)


def parse_tensor_metadata(content: bytes | bytearray, *, source: str) -> dict[str, str]:
    """Read the text that a safetensors file carries beside its tensors.

    Args:
        content: the whole file, which `parse_tensor_header` checks.
        source: name of the file, for the messages.

    Raises:
        BundleError: when the header can't be read, or holds anything but text there.
    """
    return _parse_header(content, source)[1]


def _parse_header(
    content: bytes | bytearray, source: str
) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return the tensors' descriptions, the metadata, and where the data begins."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    available = len(content) - _LENGTH_BYTES
    if available < 0 or length > min(available, JSON_LIMIT):
        raise BundleError(
            f"expected a safetensors header within the {len(content)} bytes of {source} (and of "
            f"at most {JSON_LIMIT}), got one of {length} bytes; the file is truncated or foreign"
        )
    start = _LENGTH_BYTES + length
    header = parse_json(content[_LENGTH_BYTES:start], source=f"the header of {source}")
    metadata = header.pop(_METADATA, {})
    if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise BundleError(
            f"expected text values under {_METADATA} in {source}, got {plain(metadata)}; "
            "the file is foreign"
        )
    return header, metadata, start


def _check_entry(name: str, entry: Any, available: int, source: str) -> tuple[int, int]:
    """Check one tensor's description by itself; return where its data begins and ends."""
    problem = ""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        problem = f"dtype, shape and data_offsets, got {plain(entry)}"
    elif not isinstance(entry["dtype"], str) or entry["dtype"] not in ITEM_SIZES:
        problem = f"a dtype of {', '.join(ITEM_SIZES)}, got {plain(entry['dtype'])}"
    elif not _are_sizes(entry["shape"]) or len(entry["shape"]) > RANK_LIMIT:
        problem = f"a shape of at most {RANK_LIMIT} sizes, got {plain(entry['shape'])}"
    # An axis of 0 must not hide the others: an empty tensor's strides are products of them.
    elif math.prod(max(size, 1) for size in entry["shape"]) > TENSORS_LIMIT:
        problem = f"at most {TENSORS_LIMIT} elements, got shape {plain(entry['shape'])}"
    elif not _are_sizes(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
        problem = f"two data_offsets, got {plain(entry['data_offsets'])}"
    else:
        begin, end = entry["data_offsets"]
        needed = math.prod(entry["shape"]) * ITEM_SIZES[entry["dtype"]]
        if end - begin == needed and end <= available:
            return begin, end
        problem = (
            f"{needed} bytes within the {available} of data, as its shape {plain(entry['shape'])} "
            f"needs, got data_offsets {plain(entry['data_offsets'])}"
        )
    raise BundleError(
        f"expected for tensor {plain(name)} of {source} {problem}; the file is corrupt or foreign"
    )


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(size) is int and size >= 0 for size in values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        [(repeated, count)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {plain(repeated)} {count} times in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {plain(text)}, which is not finite")
    return number


def _check_count(content: bytes | bytearray, source: str) -> None:
    """Refuse JSON of which Python would make far more bytes than it has."""
    count = sum(map(content.count, (b",", b"[", b"{")))
    if count > VALUES_LIMIT:
        raise BundleError(
            f"expected at most {VALUES_LIMIT:,} values in {source}, got some {count:,}; "
            "it is not what throughtime writes"
        )


def _check_tree(value: object) -> None:
    """Refuse what JSON text can hold but a later reader would stumble over."""
    # Iterators, as a list of all that is left would be as large as the value.
    pending: list[Iterator[object]] = [iter((value,))]
    while pending:
        node = next(pending[-1], _END)
        if node is _END:
            pending.pop()
            continue
        if len(pending) > DEPTH_LIMIT + 1:
            raise ValueError(_TOO_DEEP)
        if isinstance(node, dict):
            for key in node:
                if not isinstance(key, str):
                    raise ValueError(f"the key {plain(key)}, which is not text")
                key.encode()
            pending.append(iter(node.values()))
        elif isinstance(node, list | tuple):
            pending.append(iter(node))
        elif isinstance(node, str):
            # Half of a surrogate pair is legal in JSON's escapes and can never be printed.
            node.encode()


_END = object()
