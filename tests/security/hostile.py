"""The corpus of hostile files that lie on a deploy path: how each is made from a valid one.

A `Victim` is a file that somebody reads, with what reads it. An attack on its container changes the
header or the data of a safetensors file; an attack on its place changes what lies at its path.
Digests are computed anew wherever an attacker could, so that the check behind them is reached. What
is wrong within one format (a symbol that is none, keys that are the same) is tested beside that
format; attacks on the manifest and on JSON are in `hostile_bundles`.
"""

import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bundles import sign

import throughtime as tt
from throughtime import runtime
from throughtime.formats import DEPTH_LIMIT, JSON_LIMIT, TENSORS_LIMIT, VALUES_LIMIT

TRAP = Path(tempfile.gettempdir()) / f"throughtime-security-{os.getpid()}"


class Trap:
    """A pickle of this makes a directory when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(TRAP),)


class Victim(NamedTuple):
    """A valid file and what reads it.

    Attributes:
        path: the file.
        read: reads it, and returns what it then means, for comparing.
        sign: called after the file was changed, to vouch for it as an attacker would.
    """

    path: Path
    read: Callable[[], Any]
    sign: Callable[[], object]

    def write(self, content: bytes) -> None:
        """Replace the file."""
        self.path.write_bytes(content)
        self.sign()


def victims(run: Any, folder: Path) -> dict[str, Victim]:
    """Make a valid file of each kind in a folder, from a run whose own folder is there as well.

    Args:
        run: a language run, as it has all files that a bundle may have.
        folder: a new one.
    """
    stream = tt.Stream(run)
    stream.push({"text": "the fox"})
    stream.save(folder / "stream")
    sessions = tt.Sessions(run, slots=4)
    sessions.step({"a": {"text": "the"}, "b": {"text": "fox"}})
    sessions.snapshot(folder / "sessions")
    (folder / "session").write_bytes(sessions.export("a"))
    tt.state.save(run.model.initial_state(3), folder / "state", fingerprint=run.fingerprint)

    def of_bundle() -> Any:
        loaded = tt.load(run.path)
        return loaded.fingerprint, tensors(loaded.model.state_dict()), tensors(loaded.parity)

    def of_runtime() -> Any:
        model = runtime.load(run.path)
        return model.fingerprint, str(model.verify())

    def of_stream() -> Any:
        loaded = tt.Stream.load(run, folder / "stream")
        return loaded.keys, [loaded.push({"text": "x"})]

    def of_session() -> Any:
        table = tt.Sessions(run, slots=1)
        table.load("k", (folder / "session").read_bytes())
        return table.export("k")

    def of_sessions() -> Any:
        table = tt.Sessions.restore(run, folder / "sessions", slots=4)
        return table.keys, [table.export(key) for key in table.keys]

    def of_state() -> Any:
        like = run.model.initial_state(1)
        state = tt.state.load(folder / "state", like=like, fingerprint=run.fingerprint)
        return tensors(dict(enumerate(tt.state.leaves(state))))

    def vouch() -> object:
        return sign(run.path)

    found = {
        f"{name} by {how}": Victim(run.path / f"{name}.safetensors", read, vouch)
        for name in ("model", "parity")
        for how, read in (("torch", of_bundle), ("runtime", of_runtime))
    }
    kept = {
        "stream": of_stream,
        "session": of_session,
        "sessions": of_sessions,
        "state": of_state,
    }
    return found | {name: Victim(folder / name, read, lambda: None) for name, read in kept.items()}


def tensors(named: Any) -> dict[str, list[Any]]:
    """Return tensors as something that can be compared, bits and all."""
    return {
        str(name): [str(leaf.dtype), list(leaf.shape), leaf.numpy().tobytes()]
        for name, leaf in named.items()
    }


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and data of a valid safetensors file."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def whole(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Put a safetensors file together; a header that is bytes is taken as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


Attack = Callable[[bytes], bytes]


def header(edit: Callable[[dict[str, Any], list[str]], object]) -> Attack:
    """Change a valid header; `edit` gets it, and the names of its tensors in the order of data."""

    def attack(content: bytes) -> bytes:
        found, data = parts(content)
        names = [name for name in found if name != "__metadata__"]
        names.sort(key=lambda name: (found[name]["data_offsets"], name))
        edit(found, names)
        return whole(found, data)

    return attack


def entry(**changes: Any) -> Attack:
    """Change the description of the first tensor that has any bytes."""

    def edit(found: dict[str, Any], names: list[str]) -> None:
        name = next(each for each in names if found[each]["data_offsets"][1])
        found[name].update(changes)

    return header(edit)


def replaced(text: bytes) -> Attack:
    """Put another header before the valid data."""
    return lambda content: whole(text, parts(content)[1])


def _overlap(found: dict[str, Any], names: list[str]) -> None:
    found["more"] = dict(found[names[0]])


def _repeated(content: bytes) -> bytes:
    found, data = parts(content)
    name = next(iter(set(found) - {"__metadata__"}))
    text = json.dumps(found)[:-1] + f", {json.dumps(name)}: {json.dumps(found[name])}}}"
    return whole(text.encode(), data)


def _misaligned(content: bytes) -> bytes:
    found, data = parts(content)
    moved = {
        name: each
        if name == "__metadata__"
        else {**each, "data_offsets": [place + 1 for place in each["data_offsets"]]}
        for name, each in found.items()
    }
    moved["a byte"] = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    return whole(moved, b"\0" + data)


def _torch(content: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    return buffer.getvalue()


def _zip_bomb(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.pkl", bytes(2**24))
    return buffer.getvalue()


def _metadata(value: Any) -> Attack:
    return header(lambda found, names: found.update(__metadata__=value))


def _within(inside: str, count: int) -> bytes:
    """Return a header of many values."""
    return ('{"a":[' + ",".join([inside] * count) + "]}").encode()


CONTAINERS: dict[str, Attack] = {
    "no bytes": lambda content: b"",
    "seven bytes": lambda content: content[:7],
    "length alone": lambda content: content[:8],
    "cut in the header": lambda content: content[:20],
    "cut in the data": lambda content: content[:-1],
    "a byte more": lambda content: content + b"\0",
    "header of 2**63": lambda content: whole(*parts(content), length=2**63),
    "header of 2**64-1": lambda content: whole(*parts(content), length=2**64 - 1),
    "header over the end": lambda content: whole(*parts(content), length=len(content)),
    "header over the cap": lambda content: whole(b"{}" + b" " * JSON_LIMIT, b""),
    "header of values": replaced(_within("[]", VALUES_LIMIT)),
    "header of objects": replaced(_within("{}", VALUES_LIMIT)),
    "header of numbers": replaced(_within("1.5", VALUES_LIMIT + 1)),
    "header deep": replaced(b'{"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}"),
    "header a level deep": replaced(b'{"a":' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}"),
    "header a list": replaced(b"[]"),
    "header no JSON": replaced(b"\xff\xfe"),
    "header of NaN": replaced(b'{"a": NaN}'),
    "header a pickle": replaced(pickle.dumps(Trap())),
    "name twice": _repeated,
    "names of lines": header(lambda found, names: found.update({"a\nb\x1b[2J": 4})),
    "name without end": header(lambda found, names: found.update({"a" * 99_999: 4})),
    "metadata of numbers": _metadata({"format": 1}),
    "metadata a list": _metadata([]),
    "overlap": header(_overlap),
    "hole": header(lambda found, names: found.pop(names[0])),
    "negative shape": entry(shape=[-1]),
    "two negatives": entry(shape=[-2, -2]),
    "huge shape": entry(shape=[2**62, 2**62]),
    "huge and wrapped": entry(shape=[2**32, 2**32]),
    "huge and empty": entry(shape=[2**40, 0, 2**40]),
    "sizes of floats": entry(shape=[1.0]),
    "sizes of truths": entry(shape=[True]),
    "sizes of text": entry(shape="1"),
    "many axes": entry(shape=[1] * 9999),
    "negative offsets": entry(data_offsets=[-8, 0]),
    "offsets backwards": entry(data_offsets=[8, 0]),
    "offsets beyond": entry(data_offsets=[0, 2**63]),
    "offsets of text": entry(data_offsets=["0", "4"]),
    "one offset": entry(data_offsets=[0]),
    "dtype unknown": entry(dtype="F8_E4M3"),
    "dtype a list": entry(dtype=["F32"]),
    "dtype narrower": entry(dtype="I8"),
    "surplus field": entry(code="__import__('os')"),
    "one tensor more": header(
        lambda found, names: found.update(
            more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        )
    ),
    "misaligned": _misaligned,
    "a pickle": lambda content: pickle.dumps(Trap()),
    "of torch.save": _torch,
    "a zip bomb": _zip_bomb,
    "text": lambda content: b"unique_id,ds,y\n" * 100,
}
"""What is done to a valid safetensors file; every reader must refuse each."""


def _swapped(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def attack(path: Path) -> None:
        path.unlink()
        make(path)

    return attack


def _sparse(path: Path) -> None:
    os.truncate(path, TENSORS_LIMIT + 1)


PLACES: dict[str, Callable[[Path], object]] = {
    "gone": _swapped(lambda path: None),
    "a folder": _swapped(Path.mkdir),
    "a pipe": _swapped(os.mkfifo),
    "a link to a device": _swapped(lambda path: path.symlink_to("/dev/zero")),
    "a dead link": _swapped(lambda path: path.symlink_to("nowhere")),
    "a link to itself": _swapped(lambda path: path.symlink_to(path)),
    "larger than any": _sparse,
}
"""What is done to the place of a file."""
