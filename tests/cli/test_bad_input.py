"""The bad-input table: whatever a user gets wrong is said in one line, and nothing is lost.

A row is a command, what is done to the folder before, the exit code and words of the error line,
or of the line about what was found where a policy deals with it.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from shell import Command, contents, error_line, table

TRAIN = "--budget 2steps --out new --layer gru:4"


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    command: str
    code: int
    words: tuple[str, ...]
    before: Callable[[Path], object] | None = None
    rows: bytes = field(default=b"", repr=False)


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    """Write a file before the command."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def damage(name: str) -> Callable[[Path], object]:
    """Alter one byte in the middle of a file."""

    def alter(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return alter


def remove(name: str) -> Callable[[Path], object]:
    """Take a file away."""
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], object]:
    """Leave the first half of a file."""

    def shorten(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return shorten


LATIN = table(header="ds,größe").encode("latin-1")
CONSTANT = "ds,y\n" + "".join(f"2024-01-{day:02d},5\n" for day in range(1, 30))
NO_TARGET = "ds,y\n" + "".join(f"2024-01-{day:02d},\n" for day in range(1, 30))
ROWS = b"ds,y\n2024-01-01,1\n"
TWICE = table() + table().splitlines()[-1] + "\n"

DATA = [
    Row("empty", f"train bad.csv {TRAIN}", 1, ("empty file",), put("bad.csv", "")),
    Row("header", f"train bad.csv {TRAIN}", 1, ("header only",), put("bad.csv", "ds,y\n")),
    Row("one row", f"train bad.csv {TRAIN}", 1, ("at least", "came 1"), put("bad.csv", table(1))),
    Row(
        "few rows for a split",
        f"train bad.csv --split 98/1/1 {TRAIN}",
        1,
        ("at least one row in each part", "12 rows"),
        put("bad.csv", table(12)),
    ),
    Row("binary", f"train bad.csv {TRAIN}", 1, ("binary",), put("bad.csv", b"ds,y\n\1\0\2" * 99)),
    Row("latin-1", f"train bad.csv {TRAIN}", 1, ("UTF-8", "0xf6"), put("bad.csv", LATIN)),
    Row(
        "utf-16",
        f"train bad.csv {TRAIN}",
        1,
        ("UTF-16",),
        put("bad.csv", table().encode("utf-16")),
    ),
    Row("constant", f"train bad.csv {TRAIN}", 1, ("varies", "value 5"), put("bad.csv", CONSTANT)),
    Row("no target", f"train bad.csv {TRAIN}", 1, ("number",), put("bad.csv", NO_TARGET)),
    Row(
        "empty covariate",
        f"train bad.csv {TRAIN}",
        0,
        ("left out: 'x' (empty)",),
        put("bad.csv", table(header="ds,y,x", cells=",")),
    ),
    Row("same times", f"train bad.csv {TRAIN}", 0, ("duplicates 1",), put("bad.csv", TWICE)),
    Row(
        "same times refused",
        f"train bad.csv --duplicates error {TRAIN}",
        1,
        ("each time once", "came 1 rows"),
        put("bad.csv", TWICE),
    ),
    Row("no such column", f"train good.csv --target z {TRAIN}", 1, ("'z'", "'ds', 'y'")),
    Row("no such file", f"train none.csv {TRAIN}", 1, ("none.csv", "check the path")),
    Row("a folder", f"train forecast --task forecast {TRAIN}", 1, ("directory forecast",)),
    Row("empty text", f"train bad.txt {TRAIN}", 1, ("empty file",), put("bad.txt", "")),
    Row("short text", f"train bad.txt {TRAIN}", 1, ("at least 100",), put("bad.txt", "so much")),
    Row("binary text", f"train bad.txt {TRAIN}", 1, ("NUL",), put("bad.txt", b"ab\0" * 99)),
    Row(
        "latin-1 text",
        f"train bad.txt {TRAIN}",
        1,
        ("UTF-8", "0xf6"),
        put("bad.txt", ("größe\n" * 99).encode("latin-1")),
    ),
    Row("table options, text", f"train good.txt --target y {TRAIN}", 2, ("--target, which is",)),
    Row("horizon, text", f"train good.txt --horizon 3 {TRAIN}", 2, ("--horizon, which is for",)),
    Row("mode, table", f"train good.csv --mode bytes {TRAIN}", 2, ("give --task language",)),
    Row("far horizon", f"train good.csv --horizon 50 {TRAIN}", 1, ("50 steps", "--horizon 44")),
    Row("time format", f"train good.csv --time-format %d/%m/%Y {TRAIN}", 1, ("%d/%m/%Y", "row 1")),
]

OPTIONS = [
    Row("verb", "trian good.csv", 2, ("'trian'", "did you mean 'train'")),
    Row("option", f"train good.csv --budgett 3s {TRAIN}", 2, ("--budgett", "--budget")),
    Row("no data", "train", 2, ("expected DATA", "--resume")),
    Row("no run", "evaluate", 2, ("expected RUN", "evaluate --help")),
    Row("much data", f"train good.csv good.txt {TRAIN}", 2, ("good.txt", "train --help")),
    Row("no value", "train good.csv --budget", 2, ("a value for --budget",)),
    Row("task", f"train good.csv --task guess {TRAIN}", 2, ("forecast, language", "'guess'")),
    Row("layer", f"train good.csv {TRAIN} --layer grru:4", 2, ("did you mean 'gru'",)),
    Row("layer size", f"train good.csv {TRAIN} --layer gru:0", 2, ("such as gru:64", "'gru:0'")),
    Row("layer word", f"train good.csv {TRAIN}:blocks", 2, ("conv, block", "mean 'block'")),
    Row("layer on top", f"train good.csv {TRAIN}+lst:4", 2, ("'lst'", "did you mean 'lstm'")),
    Row("heads", f"train good.csv {TRAIN}+mlstm:9", 2, ("or take gru:4x1+mlstm:8x1",)),
    Row("symbols", f"train good.csv --embedding-dropout 0.1 {TRAIN}", 2, ("--task language",)),
    Row("budget of none", f"train good.csv {TRAIN} --budget 0s", 2, ("above zero", "'0s'")),
    Row("budget", f"train good.csv {TRAIN} --budget soon", 2, ("such as 60s", "'soon'")),
    Row("lanes", f"train good.csv --lanes 0 {TRAIN}", 2, ("lanes", "got 0")),
    Row("dropout", f"train good.csv --dropout 1 {TRAIN}x2", 2, ("dropout", "got 1")),
    Row("dropout of one layer", f"train good.csv --dropout 0.1 {TRAIN}", 2, ("gru:4x2",)),
    Row("window", f"train good.csv --window 0 {TRAIN}", 2, ("greater than or equal to 1", "got 0")),
    Row("window, full", f"train good.csv --window 9 --bptt full {TRAIN}", 2, ("--lanes", "got 9")),
    Row("window, strings", f"train demo:reber --window 9 {TRAIN}", 2, ("no --window", "got 9")),
    Row("bptt, strings", f"train demo:reber --bptt full {TRAIN}", 2, ("no --bptt", "got full")),
    Row("horizon", f"train good.csv --horizon 0 {TRAIN}", 2, ("horizon", "got 0")),
    Row("horizon text", f"train good.csv --horizon x {TRAIN}", 2, ("--horizon", "'x'")),
    Row("split", f"train good.csv --split 50/20 {TRAIN}", 2, ("sum to 100", "'50/20'")),
    Row("split parts", f"train good.csv --split 90/10 {TRAIN}", 2, ("test", "'90/10'")),
    Row("rate", f"train good.csv --learning-rate -1 {TRAIN}", 2, ("learning-rate", "-1")),
    Row("rate nan", f"train good.csv --learning-rate nan {TRAIN}", 2, ("learning-rate", "nan")),
    Row("season", f"train good.csv --season 0 {TRAIN}", 2, ("season", "came 0")),
    Row("gap", f"train good.csv --max-gap -1 {TRAIN}", 2, ("gap", "-1")),
    Row("step", f"train good.csv --step often {TRAIN}", 2, ("step", "'often'")),
    Row("seed", f"train good.csv --seed -1 {TRAIN}", 2, ("--seed", "-1")),
    Row("head", f"train good.csv --head x {TRAIN}", 2, ("--head", "'x'", "'gaussian'")),
    Row("patience", f"train good.csv --patience 0 {TRAIN}", 2, ("patience", "got 0")),
    Row("clip", f"train good.csv --clip 0 {TRAIN}", 2, ("clip", "got 0")),
    Row("memory", f"train good.csv --memory 1 {TRAIN}", 2, ("memory", "got 1")),
    Row("chunks", f"train good.csv --chunks 2 {TRAIN}", 2, ("chunks", "full")),
    Row(
        "covariates",
        f"train good.csv --covariate y --no-covariates {TRAIN}",
        2,
        ("--covariate or --no-covariates",),
    ),
    Row("device", f"train good.csv --device tpu {TRAIN}", 2, ("auto, cpu", "'tpu'")),
    Row("demo", "demo none", 2, ("sunspots, meter", "'none'")),
    Row("demo data", f"train demo:none {TRAIN}", 1, ("demo:sunspots", "demo:none")),
    Row("out", "train good.csv --out forecast", 2, ("new or empty", "forecast")),
    Row("out a file", "train good.csv --out good.txt", 2, ("new or empty", "good.txt")),
    Row("demo out", "demo --out forecast", 2, ("new or empty", "forecast")),
    Row("split of a run", "evaluate forecast --split 90/10", 2, ("test", "'90/10'")),
    Row("forecast file", "predict forecast good.csv --out a.xlsx", 2, (".parquet", "a.xlsx")),
    Row("over data", "predict forecast good.csv --out good.csv", 2, ("the data itself",)),
    Row("two prompts", "generate language --prompt a --prompt-file good.txt", 2, ("got both",)),
    Row("no prompt", "generate language --prompt ''", 2, ("prompt", "got none")),
    Row("cold", "generate language --temperature -1", 2, ("temperature", "-1")),
    Row("top-k", "generate language --top-k 0", 2, ("top-k", "got 0")),
    Row("top-p", "generate language --top-p 2", 2, ("top-p", "got 2")),
    Row("drift", "check forecast --drift -1", 2, ("drift", "got -1")),
]

RUNS = [
    *(
        Row(f"{run}: {file} damaged", f"{verb} {run}", 1, (file,), damage(f"{run}/{file}"))
        for run, verb, file in (
            ("forecast", "evaluate", "config.json"),
            ("forecast", "evaluate", "model.safetensors"),
            ("forecast", "evaluate", "parity.safetensors"),
            ("forecast", "stream", "manifest.json"),
            ("language", "generate", "vocabulary.json"),
        )
    ),
    *(
        Row(f"{run}: {file} missing", f"{verb} {run}", 1, (file,), remove(f"{run}/{file}"))
        for run, verb, file in (
            ("forecast", "evaluate", "config.json"),
            ("forecast", "stream", "model.safetensors"),
            ("forecast", "evaluate", "parity.safetensors"),
            ("forecast", "evaluate", "manifest.json"),
            ("language", "generate", "vocabulary.json"),
        )
    ),
    Row("no run", "evaluate nothing", 1, ("nothing", "train --out")),
    Row("a file", "evaluate good.csv", 1, ("good.csv", "train --out")),
    Row("resume nothing", "train --resume nothing", 1, ("interrupted run in nothing",)),
    Row("resume finished", "train --resume forecast", 1, ("interrupted run", "finished")),
    Row(
        "resume changed",
        "train --resume interrupted",
        1,
        ("data that interrupted was trained on", "good.csv"),
        put("good.csv", table(59)),
    ),
    Row(
        "resume cut",
        "train --resume interrupted",
        1,
        ("whole checkpoint",),
        cut("interrupted/checkpoint/state.pt"),
    ),
    Row(
        "resume otherwise",
        "train --resume interrupted --layer gru:9 --seed 1",
        2,
        ("--layer, --seed", "leave them out"),
    ),
    Row(
        "lacking column",
        "evaluate forecast other.csv",
        1,
        ("'y'", "'ds', 'z'"),
        put("other.csv", table(header="ds,z")),
    ),
    Row("predict text", "predict language good.txt", 2, ("forecast run", "language")),
    Row("generate numbers", "generate forecast", 2, ("language run", "forecast")),
    Row("prompt file", "generate language --prompt-file none.txt", 1, ("none.txt", "check")),
    Row(
        "prompt encoding",
        "generate language --prompt-file bad.txt",
        1,
        ("UTF-8", "0xf6"),
        put("bad.txt", "größe".encode("latin-1")),
    ),
    Row("no rows", "stream forecast", 1, ("expected rows", "nothing")),
    Row("no header", "stream forecast", 1, ("UTF-8", "0xff"), rows=b"\xff\xfe\0\n" * 3),
    Row(
        "garbage rows", "stream forecast", 1, ("got 2 that can't", "ds,y"), rows=b"ds,y\na,b\n?,1\n"
    ),
    Row("no text", "stream language", 1, ("expected text", "nothing")),
    Row("cut state", "stream forecast --load state", 1, ("state",), cut("state"), ROWS),
    Row("other's state", "stream another --load state", 1, ("state",), rows=ROWS),
    Row("no state", "stream forecast --load none", 1, ("none",), rows=ROWS),
    Row("no folder", "stream forecast --save no/x", 2, ("no",), rows=ROWS),
    Row("save in a folder", "stream forecast --save .", 2, ("folder",), rows=ROWS),
    Row("save over", "stream forecast --save state", 2, ("--load state",), rows=ROWS),
    Row("no target", "stream forecast", 1, ("'y'", "ds,z"), rows=b"ds,z\n2024-01-01,1\n"),
    Row("no time", "stream forecast", 1, ("'ds'", "at,y"), rows=b"at,y\n2024-01-01,1\n"),
    Row("JSON array", "stream forecast", 1, ("'ds', 'y'", "[1,2]"), rows=b"[1,2]\n[3,4]\n"),
    Row("key", "stream forecast --key y", 2, ("'y'",), rows=ROWS),
]


@pytest.mark.parametrize("row", [*DATA, *OPTIONS, *RUNS], ids=lambda row: row.name)
def test_whatever_is_wrong_is_said_in_one_line(row: Row, folder: Path, command: Command):
    if row.before is not None:
        row.before(folder)
    kept = contents(folder)
    result = command(*shlex.split(row.command), rows=row.rows)
    assert result.code == row.code, result.err
    if row.code == 0:
        line = result.err
        assert "Traceback" not in line
    else:
        line = error_line(result)
        assert "expected" in line
        assert "got" in line or "came" in line
        assert result.out == "" or row.name == "garbage rows"
        assert not (folder / "new").exists()
    for word in row.words:
        assert word in line
    now = contents(folder)
    assert {name: now.get(name) for name in kept} == kept
