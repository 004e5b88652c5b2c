"""The corpus of hostile and damaged bundles: how each is made, and what its refusal must say."""

import json
import os
import pickle
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundles import sign

from throughtime.bundle import FORMAT
from throughtime.formats import JSON_LIMIT, TENSORS_LIMIT

Damage = Callable[[Path], object]
TRAP = Path(tempfile.gettempdir()) / f"throughtime-bundle-test-{os.getpid()}"


class Trap:
    """A pickle of this makes a directory when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(TRAP),)


def put(name: str, content: bytes | str) -> Damage:
    """Replace a file, with a manifest that vouches for it."""

    def damage(run: Path) -> None:
        (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
        sign(run)

    return damage


def config(content: bytes | str) -> Damage:
    return put("config.json", content)


def model(
    header: Any,
    data: bytes = b"",
    length: int | None = None,
    name: str = "model.safetensors",
) -> Damage:
    """Replace the weights by a safetensors file of this header (bytes are taken as they are)."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    size = len(text) if length is None else length
    return put(name, struct.pack("<Q", size) + text + data)


def tensor(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def manifest(edit: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(run: Path) -> None:
        content = json.loads((run / "manifest.json").read_text())
        edit(content)
        (run / "manifest.json").write_text(json.dumps(content, indent=2) + "\n")

    return damage


def link(name: str) -> Damage:
    def damage(run: Path) -> None:
        (run / name).rename(run.parent / "elsewhere")
        (run / name).symlink_to(run.parent / "elsewhere")

    return damage


def swap(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return damage


def cut(run: Path) -> None:
    os.truncate(run / "model.safetensors", (run / "model.safetensors").stat().st_size - 1)
    sign(run)


def sparse(run: Path) -> None:
    os.truncate(run / "parity.safetensors", TENSORS_LIMIT + 1)


HOSTILE: dict[str, tuple[Damage, str]] = {
    # JSON
    "deep": (config('{"a":' + "[" * 10_000 + "]" * 10_000 + "}"), "more than 32 levels"),
    "deeper than C": (config("[" * 200_000), "more than 32 levels"),
    "nested": (config('{"a":' + "[" * 40 + "]" * 40 + "}"), "more than 32 levels"),
    "duplicate key": (config('{"a": 1, "b": {"c": 1, "c": 1}}'), "the key c 2 times"),
    "long key": (config('{"%s": 1, "%s": 2}' % (("k" * 9999,) * 2)), "9999 characters"),
    "NaN": (config('{"a": NaN}'), "number NaN, which is not finite"),
    "overflow": (config('{"a": 1e999}'), "number 1e999, which is not finite"),
    "long integer": (config('{"a": ' + "9" * 5000 + "}"), "limit"),
    "latin-1": (config('{"a": "é"}'.encode("latin-1")), "UTF-8 in config.json, got 'utf-8'"),
    "byte order mark": (config(b"\xef\xbb\xbf{}"), "BOM"),
    "half a pair": (config('{"a": "\\ud800"}'), "surrogates not allowed"),
    "half a pair as key": (config('{"\\ud800": 1}'), "surrogates not allowed"),
    "list": (config("[]"), r"JSON object in config\.json, got \[\]"),
    "empty": (config(""), "config.json, got Expecting value"),
    "cut JSON": (put("vocabulary.json", '{"symbols": ["a"'), r"vocabulary\.json, got"),
    "long JSON": (config(b" " * JSON_LIMIT + b"{}"), "a size of at most 16777216"),
    # safetensors
    "no bytes": (put("model.safetensors", b""), "header within the 0 bytes"),
    "three bytes": (put("model.safetensors", b"\0\0\0"), "header within the 3 bytes"),
    "header of 2**64-1": (model({}, length=2**64 - 1), "one of 18446744073709551615 bytes"),
    "header of 2**63": (model({}, length=2**63), "one of 9223372036854775808 bytes"),
    "header over the end": (model({}, length=9), "truncated"),
    "header over the cap": (model({}, b" " * (JSON_LIMIT + 1), JSON_LIMIT + 1), "at most"),
    "header not JSON": (model(b"\xff\xfe"), "header of model.safetensors"),
    "header a list": (model([]), "JSON object in the header"),
    "header deep": (model(b'{"a":' + b"[" * 9999 + b"]" * 9999 + b"}"), "more than 32 levels"),
    "name twice": (
        model(b'{"a":%s,"a":%s}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), b"0000"),
        "the key a 2 times",
    ),
    "metadata": (model({"__metadata__": {"a": 1}}), "text values"),
    "metadata list": (model({"__metadata__": []}), "text values"),
    "cut tensors": (cut, "within the"),
    "overlap": (model({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"0000"), "overlap"),
    "part overlap": (model({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, b"0" * 12), "overl"),
    "hole": (model({"a": tensor([1], 4, 8)}, b"0" * 8), "begin at byte 0 of the data, got 4"),
    "tail": (model({"a": tensor([1], 0, 4)}, b"0" * 8), "as its header declares"),
    "tail alone": (model({}, b"0" * 8), "as its header declares"),
    "over the end": (model({"a": tensor([2], 0, 8)}, b"0000"), "within the 4 of data"),
    "backwards": (model({"a": tensor([1], 4, 0)}, b"0000"), "needs, got data_offsets"),
    "negative offset": (model({"a": tensor([1], -4, 0)}, b"0000"), "two data_offsets"),
    "one offset": (model({"a": {**tensor([0], 0, 0), "data_offsets": [0]}}), "two data_offsets"),
    "offsets text": (model({"a": tensor([1], "0", "4")}, b"0000"), "two data_offsets"),
    "negative shape": (model({"a": tensor([-1], 0, 4)}, b"0000"), r"sizes, got \[-1\]"),
    "two negatives": (model({"a": tensor([-1, -1], 0, 4)}, b"0000"), "at most 8 sizes"),
    "huge": (model({"a": tensor([2**63, 2**63], 0, 4)}, b"0000"), "elements, got shape"),
    "huge in its range": (model({"a": tensor([2**30], 0, 2**32)}, b"0000"), "within the 4 of"),
    "huge by wrapping": (model({"a": tensor([2**32, 2**32], 0, 0)}), "elements, got shape"),
    "huge and empty": (model({"a": tensor([2**40, 0, 2**40], 0, 0)}), "elements, got shape"),
    "fraction": (model({"a": tensor([1.0], 0, 4)}, b"0000"), "at most 8 sizes"),
    "truth": (model({"a": tensor([True], 0, 4)}, b"0000"), "at most 8 sizes"),
    "shape a number": (model({"a": tensor(1, 0, 4)}, b"0000"), "at most 8 sizes"),
    "high rank": (model({"a": tensor([1] * 99_999, 0, 4)}, b"0000"), "at most 8 sizes"),
    "shape against bytes": (model({"a": tensor([3], 0, 4)}, b"0000"), "expected .* 12 bytes"),
    "dtype": (model({"a": tensor([1], 0, 1, "F8_E4M3")}, b"0"), "got F8_E4M3"),
    "dtype a list": (model({"a": tensor([1], 0, 4, ["F32"])}, b"0000"), "a dtype of F64"),
    "surplus field": (model({"a": {**tensor([0], 0, 0), "code": "x"}}), "shape and data_offsets"),
    "entry a number": (model({"a": 4}), "shape and data_offsets, got 4"),
    "not aligned": (
        model({"a": tensor([1], 0, 1, "U8"), "b": tensor([1], 1, 5)}, b"00000"),
        "aligned",
    ),
    "neither true nor false": (model({"a": tensor([1], 0, 1, "BOOL")}, b"\x02"), "0 and 1"),
    "NaN weight": (model({"a.b": tensor([1], 0, 4)}, b"\0\0\xc0\x7f"), "infinity in a.b of model"),
    "name of lines": (model({"a\nb\x1b[2J": 4}), r"a\\nb\\x1b\[2J"),
    "pickle": (put("model.safetensors", pickle.dumps(Trap())), "safetensors header"),
    "pickled config": (config(pickle.dumps(Trap())), "strict JSON"),
    "bad parity": (put("parity.safetensors", b"PK\x03\x04" * 9), r"parity\.safetensors"),
    # The manifest
    "future": (manifest(lambda m: m.update(format="throughtime.bundle/2", more=1)), "bundle/2; op"),
    "foreign manifest": (
        lambda run: (run / "manifest.json").write_text('{"name": "app"}'),
        r"throughtime\.bundle/1 in .*, got None",
    ),
    "format a list": (manifest(lambda m: m.update(format=[FORMAT])), "got \\['through"),
    "traversal": (
        manifest(lambda m: m["files"].update({"../elsewhere": m["files"]["config.json"]})),
        "and nothing else",
    ),
    "absolute name": (
        manifest(lambda m: m["files"].update({"/etc/passwd": m["files"]["config.json"]})),
        "and nothing else",
    ),
    "no config listed": (manifest(lambda m: m["files"].pop("config.json")), "to name config.json"),
    "files a list": (manifest(lambda m: m.update(files=[])), "nothing else, got"),
    "size negative": (manifest(lambda m: m["files"]["config.json"].update(size=-1)), "and a size"),
    "size truth": (manifest(lambda m: m["files"]["config.json"].update(size=True)), "and a size"),
    "sha upper case": (
        manifest(lambda m: m["files"]["config.json"].update(sha256="A" * 64)),
        "a sha256",
    ),
    "entry short": (manifest(lambda m: m["files"]["config.json"].pop("size")), "a sha256"),
    "surplus key": (manifest(lambda m: m.update(code="x")), "manifest.json as throughtime wrote"),
    "fingerprint": (manifest(lambda m: m.update(fingerprint="0" * 64)), "as throughtime wrote"),
    "vocabulary unlisted": (
        lambda run: sign(run) or manifest(lambda m: m["files"].pop("vocabulary.json"))(run),
        "as throughtime wrote",
    ),
    "long manifest": (
        lambda run: os.truncate(run / "manifest.json", 70_000),
        "of at most 65536 bytes",
    ),
    "manifest gone": (lambda run: (run / "manifest.json").unlink(), "interrupted"),
    # What lies at the names
    "model gone": (lambda run: (run / "model.safetensors").unlink(), "got no such file"),
    "model altered": (
        lambda run: (run / "model.safetensors").write_bytes(
            bytes((run / "model.safetensors").stat().st_size)
        ),
        "model.safetensors was altered",
    ),
    "model cut": (
        lambda run: os.truncate(run / "model.safetensors", 9),
        "got 9: model.safetensors was altered or copied in part",
    ),
    "model link": (link("model.safetensors"), "got a symbolic link"),
    "manifest link": (link("manifest.json"), "got a symbolic link"),
    "dead link": (swap("config.json", lambda p: p.symlink_to("nowhere")), "a symbolic link"),
    "link to itself": (swap("config.json", lambda p: p.symlink_to(p)), "a symbolic link"),
    "folder": (swap("config.json", Path.mkdir), "got a folder"),
    "pipe": (swap("parity.safetensors", os.mkfifo), "a pipe, socket or device"),
    "pipe as manifest": (swap("manifest.json", os.mkfifo), "a pipe, socket or device"),
    "sparse": (sparse, "parity.safetensors was altered or copied in part"),
}
