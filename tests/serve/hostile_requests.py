"""The corpus of hostile requests: what is asked, and the status and code of its refusal."""

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from servers import row, step

TRAP = Path(tempfile.gettempdir()) / f"throughtime-serve-test-{os.getpid()}"
BODY = 2**20
JSON = "application/json"
BYTES = "application/octet-stream"


class Trap:
    """A pickle of this makes a directory when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(TRAP),)


class Hostile(NamedTuple):
    """A request that must be refused."""

    body: bytes
    status: int
    code: str
    says: str = ""
    kind: str = JSON
    method: str = "POST"
    path: str = "/v1/step"


def text(
    content: str | bytes, status: int = 400, code: str = "malformed", says: str = ""
) -> Hostile:
    body = content if isinstance(content, bytes) else content.encode()
    return Hostile(body, status, code, says)


def item(says: str = "", status: int = 422, code: str = "invalid", **changes: Any) -> Hostile:
    """A step of which something is changed."""
    changed = {**step("a", row(0), start=True), **changes}
    return text(json.dumps({"steps": [changed]}), status, code, says)


def cells(
    says: str = "", status: int = 422, code: str = "unreadable_row", **changed: Any
) -> Hostile:
    """A row of which cells are changed."""
    return item(says, status, code, row={**row(0), **changed})


def raw_cell(number: str, says: str, status: int = 422, code: str = "unreadable_row") -> Hostile:
    """A row whose value is written as it stands."""
    return text(
        json.dumps({"steps": [step("a", row(0) | {"y": "HERE"}, start=True)]}).replace(
            '"HERE"', number
        ),
        status,
        code,
        says,
    )


def state(content: bytes, says: str, status: int = 422, code: str = "foreign_state") -> Hostile:
    return Hostile(content, status, code, says, BYTES, "PUT", "/v1/sequences/new/state")


def header(tensors: Any, length: int | None = None, data: bytes = b"") -> bytes:
    content = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    size = len(content) if length is None else length
    return size.to_bytes(8, "little") + content + data


def filled(begin: str, piece: str, end: str = "") -> str:
    """As much as a body may have."""
    return begin + piece * ((BODY - len(begin) - len(end)) // len(piece)) + end


HOSTILE: dict[str, Hostile] = {
    # Bytes
    "nothing": text("", 400, "malformed", "Expecting value"),
    "bytes that are no text": text(b"\xff\xfe{}", says="utf-8"),
    "latin-1": text('{"é": 1}'.encode("latin-1"), says="utf-8"),
    "byte order mark": text(b"\xef\xbb\xbf{}", says="BOM"),
    "zeros": text(b"\0" * 1000, says="Expecting value"),
    "a pickle": text(pickle.dumps(Trap()), says="strict JSON"),
    "a pickle as text": text(json.dumps(pickle.dumps(Trap(), 0).decode()), 422, "invalid"),
    "too large": text(b" " * (BODY + 1), 413, "too_large", "at most 1,048,576 bytes"),
    "a form": Hostile(b"steps=1", 415, "wrong_type", kind="application/x-www-form-urlencoded"),
    "text": Hostile(b"{}", 415, "wrong_type", kind="text/plain"),
    "JSON by another name": Hostile(b"{}", 415, "wrong_type", kind="application/json5"),
    "no type": Hostile(b"{}", 415, "wrong_type", kind=""),
    # The shape of JSON
    "deep lists": text("[" * 40_000, says="levels"),
    "deep lists, closed": text("[" * 5000 + "]" * 5000, says="levels"),
    "as deep as a body": text(filled("", "["), says="values"),
    "deep objects": text('{"a":' * 9 + "1" + "}" * 9, says="levels"),
    "deep in a row": text('{"steps":[{"row":' + "[" * 40 + "]" * 40 + "}]}", says="levels"),
    "brackets that close": text("[]" * 10 + "]" * 900_000, says="close nothing"),
    "a body of empty lists": text(filled("[", "[],", "[]]"), says="at most 50,000 values"),
    "a body of empty objects": text(filled("[", "{},", "{}]"), says="at most 50,000 values"),
    "a body of numbers": text(filled("[", "1,", "1]"), says="at most 50,000 values"),
    "a body of keys": text(filled("{", '"":1,', '"":1}'), says="more strings"),
    "a string without end": text(filled('"', "a"), says="Unterminated"),
    "escapes without end": text(filled('{"', '\\"'), says="Unterminated"),
    "half an escape": text('"\\', says="Unterminated"),
    "quotes": text(filled("", '"'), says="more strings"),
    "a key twice": text('{"steps": [], "steps": []}', says="2 times"),
    "half a pair": text('{"\\ud800": 1}', says="surrogates"),
    "half a pair as a sequence": text('{"steps":[{"sequence_id":"\\udfff"}]}', says="surrogates"),
    "cut": text('{"steps": [', says="Expecting value"),
    "two": text("{}{}", says="Extra data"),
    "a comment": text("{} // {}", says="Extra data"),
    "a constructor": text("new Date()", says="Expecting value"),
    # Numbers
    "NaN": text('{"a": NaN}', says="not finite"),
    "infinity": text('{"a": -Infinity}', says="not finite"),
    "overflow": text('{"a": 1e999}', says="not finite"),
    "many digits": text('{"a": ' + "9" * 5000 + "}", says="limit"),
    "a body of digits": text(filled("", "9"), says="limit"),
    "a body of decimals": text(filled("0.", "9"), 422, "invalid"),
    "a large whole number": raw_cell("9" * 4000, "finite number"),
    "a number beyond floats": raw_cell('"1e999"', "finite number"),
    "an infinite word": raw_cell('"Infinity"', "expected a number"),
    "hexadecimal": raw_cell("0x10", "delimiter", 400, "malformed"),
    "a truth": item("valid", row=True),
    # Types
    "a list": text("[]", 422, "invalid"),
    "a number": text("1", 422, "invalid"),
    "null": text("null", 422, "invalid"),
    "nothing asked": text("{}", 422, "invalid", "steps"),
    "no steps": text('{"steps": []}', 422, "invalid", "steps"),
    "steps as an object": text('{"steps": {"0": {}}}', 422, "invalid", "steps"),
    "steps as text": text('{"steps": "[]"}', 422, "invalid", "steps"),
    "a step as a list": text('{"steps": [[]]}', 422, "invalid", "steps.0"),
    "one step too many": text(
        json.dumps({"steps": [step("a", row(0), start=True)] * 1025}), 422, "invalid", "1024"
    ),
    "a surplus field": text('{"steps": [], "eval": "1"}', 422, "invalid"),
    "a surplus field of a step": item("Extra", __class__="os"),
    "no sequence": item("sequence_id", sequence_id=None),
    "an empty sequence": item("sequence_id", sequence_id=""),
    "a long sequence": item("256", sequence_id="a" * 257),
    "a sequence of lines": item("sequence_id", sequence_id="a\nb"),
    "a sequence with a zero": item("sequence_id", sequence_id="a\0"),
    "a negative sequence": item("sequence_id", sequence_id=-1),
    "sequence 0": item("sequence_id", sequence_id=0),
    "a sequence beyond 64 bits": item("sequence_id", sequence_id=2**64),
    "a fraction as a sequence": item("sequence_id", sequence_id=1.0),
    "a truth as a sequence": item("sequence_id", sequence_id=True),
    "a list as a sequence": item("sequence_id", sequence_id=["a"]),
    "start as text": item("sequence_start", sequence_start="true"),
    "start as a number": item("sequence_start", sequence_start=1),
    "end as null": item("sequence_end", sequence_end=None),
    "a row as text": item("row", row="2024-01-01,1"),
    "a row as a list": item("row", row=[1, 2]),
    "a wide row": item("1024", row={str(number): 1 for number in range(1025)}),
    "a long name": item("256", row={"a" * 257: 1}),
    "a long cell": item("4096", row=row(0) | {"y": "1" * 4097}),
    "a cell as a list": item("row", row=row(0) | {"y": [1]}),
    "a cell as an object": item("row", row=row(0) | {"y": {"__reduce__": 1}}),
    # Rows
    "an empty row": item("ds", code="unreadable_row", row={}),
    "no time": cells("time", ds=None),
    "a word as a time": cells("time", ds="today"),
    "a large time": cells("time", ds=10**300),
    "a time before all": cells("time", ds=-(10**30)),
    "a fraction beyond all as a time": cells("time", ds=1e300),
    "a truth as a time": cells("time", ds=True),
    "a word": cells("number", y="__import__('os')"),
    # States
    "no state": state(b"", "safetensors header"),
    "three bytes": state(b"\0\0\0", "safetensors header"),
    "a large state": state(b"\0" * 2**16, "at most", 413, "too_large"),
    "a header of 2**64-1": state(header({}, 2**64 - 1), "expected a header of at most"),
    "a header over the end": state(header({}, 9), "safetensors header"),
    "a header that is deep": state(header(b"[" * 400), "JSON"),
    "a pickled state": state(pickle.dumps(Trap()), "expected a header of at most"),
    "a foreign state": state(header({"__metadata__": {"format": "pt"}}), "foreign"),
    "a huge tensor": state(
        header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, data=b"0000"),
        "expected for tensor a",
    ),
    "a state as JSON": Hostile(
        b"{}", 415, "wrong_type", "", JSON, "PUT", "/v1/sequences/new/state"
    ),
    # Paths
    "another path": Hostile(b"{}", 404, "not_found", path="/v2/step"),
    "up and down": Hostile(b"{}", 404, "not_found", path="/v1/../../etc/passwd"),
    "another method": Hostile(b"{}", 405, "method_not_allowed", method="PATCH"),
    "a long sequence in a path": Hostile(
        b"", 422, "invalid", method="DELETE", path="/v1/sequences/" + "a" * 257
    ),
    "a line in a path": Hostile(b"", 404, "not_found", method="DELETE", path="/v1/sequences/a%0Ab"),
    "a zero in a path": Hostile(b"", 422, "invalid", method="DELETE", path="/v1/sequences/a%00"),
    "a huge page": Hostile(
        b"", 422, "invalid", method="GET", path="/v1/sequences?limit=1000000000"
    ),
    "a negative page": Hostile(b"", 422, "invalid", method="GET", path="/v1/sequences?limit=-1"),
    "a long start of a page": Hostile(
        b"", 422, "invalid", method="GET", path="/v1/sequences?after=" + "a" * 300
    ),
}

HEAD = b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"

HOSTILE_HEADS: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
    "a method of lines": b"G\rT / HTTP/1.1\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length of digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a word as a length": HEAD + b"Content-Length: many\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": HEAD
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk of 2**64": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
    "a length beyond the limit": HEAD + b"Content-Length: 99999999999\r\n\r\n",
    "chunks beyond the limit": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"10000\r\n%s\r\n" % (b" " * 2**16) * 20,
}
"""Requests whose very form is hostile, as bytes on a connection."""
