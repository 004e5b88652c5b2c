"""Install throughtime beside numpy and nothing else, and see that trained runs step there.

    python scripts/without_torch.py            # builds a wheel, and everything below
    python scripts/without_torch.py --wheel W  # with a wheel that is there already

Runs are trained here, with torch, and their streams' answers are kept. A fresh virtual environment
gets numpy, and throughtime by `pip install --no-deps`; there each run is verified against what was
recorded at training, and answers the same rows: within 1e-5, relative to 1 + |value|. Last comes
what a small device pays: seconds from the start of Python to the first prediction, and memory.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "native", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
ROWS = [{"year": 1700 + k, "sunspots": str((k * 37) % 90) if k % 7 else ""} for k in range(60)]
ROWS += [{"year": 1765, "sunspots": 12.5}, {"year": 1764, "sunspots": 1}, {"year": 1990}]
TEXTS = [{"text": text} for text in ("to be, or ", "not to be:\n", "", "that is")]
LAYERS = ("gru:16", "lstm:12x2", "rg_lru:12x2:conv:block", "mlstm:8+attention:8")
TEXT = "to be, or not to be: that is the question\n" * 40
SECONDS, MEGABYTES = 0.4, 40.0
"""Most seconds to the first prediction, and most resident memory."""

PROGRAM = """
import importlib.util, json, sys
for name in ("torch", "pydantic", "polars", "safetensors", "typer", "rich"):
    assert importlib.util.find_spec(name) is None, f"expected no {name} here"
from throughtime.runtime import load
model = load(sys.argv[1])
verified = model.verify()
stream = model.stream()
answers = []
for row in json.loads(sys.stdin.read()):
    try:
        answers.append(stream.push(row))
    except ValueError as error:
        answers.append(str(error))
print(json.dumps([model.backend, verified.largest, answers]))
"""

FIRST = """
from throughtime.runtime import load
stream = load({run!r}).stream()
answer = stream.push({row!r})
with open("/proc/self/status") as status:
    memory = next(line.split()[1] for line in status if line.startswith("VmRSS"))
print(answer["prediction"], memory)
"""


def run(command: list[str], folder: Path, text: str = "") -> str:
    dropped = re.compile("THROUGHTIME|PYTHON|VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not dropped.match(k)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise SystemExit(f"expected {' '.join(command[:6])} to run, got\n{said}")
    return done.stdout


def train(folder: Path) -> dict[str, tuple[Path, list[dict[str, Any]], list[Any]]]:
    """Train runs; return for each its folder, its rows, and what a stream of torch answers."""
    import throughtime as tt

    (folder / "text.txt").write_text(TEXT)
    found = {}
    for place, layer in enumerate((*LAYERS, "gru:12")):
        is_text = place == len(LAYERS)
        name = f"{layer} of {'a text' if is_text else 'numbers'}"
        out = folder / f"run-{place}"
        options: Mapping[str, Any] = {"budget": "20steps", "out": out, "show": False}
        if is_text:
            made = tt.fit(folder / "text.txt", task="language", layer=layer, **options)
        else:
            made = tt.fit("demo:sunspots", layer=layer, horizon=1 + place, **options)
        stream, answers, rows = tt.Stream(made), [], TEXTS if is_text else ROWS
        for row in rows:
            try:
                answers.append(stream.push(row))
            except tt.ThroughtimeError as error:
                answers.append(str(error))
        found[name] = (out, rows, answers)
    return found


def differ(got: Any, wanted: Any) -> str:
    """Return what differs between answers, "" where nothing does."""
    if isinstance(wanted, dict) and isinstance(got, dict) and list(got) == list(wanted):
        return next((d for k in wanted if (d := differ(got[k], wanted[k]))), "")
    if isinstance(wanted, list) and isinstance(got, list) and len(got) == len(wanted):
        return next((d for a, b in zip(got, wanted, strict=True) if (d := differ(a, b))), "")
    if isinstance(wanted, float) and isinstance(got, float):
        return "" if abs(got - wanted) <= 1e-5 * (1 + abs(wanted)) else f"{got} and {wanted}"
    return "" if got == wanted else f"{got!r:.200} and {wanted!r:.200}"


def build_wheel(folder: Path) -> Path:
    """Build a wheel from a copy of the sources."""
    sources = folder / "sources"
    sources.mkdir()
    for source in SOURCES:
        path = ROOT / source
        (shutil.copytree if path.is_dir() else shutil.copy)(path, sources / source)
    run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), str(sources)],
        folder,
    )
    (wheel,) = folder.glob("throughtime-*.whl")
    return wheel


def cold_start(python: str, path: Path, folder: Path) -> tuple[float, float, float]:
    """Return the least seconds to a first prediction, and megabytes resident, then and at most."""
    code = FIRST.format(run=str(path), row=ROWS[1])
    least, resident = float("inf"), 0.0
    for _ in range(5):
        began = time.perf_counter()
        said = run([python, "-c", code], folder)
        least = min(least, time.perf_counter() - began)
        resident = max(resident, float(said.split()[1]) / 1024)
    # Of the largest child so far, and so of pip were it still counted: measured in one of its own.
    peak = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    most = float(run([python, "-c", peak, python, "-c", code], folder)) / 1024
    return least, resident, most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a wheel of throughtime that is there already")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = train(folder)
        wheel = asked.wheel or build_wheel(folder)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        constraints = str(ROOT / "constraints.txt")
        run([python, "-m", "pip", "install", "-q", "-c", constraints, "numpy"], folder)
        run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel.resolve())], folder)
        for name, (path, rows, wanted) in runs.items():
            said = run([python, "-W", "error", "-c", PROGRAM, str(path)], folder, json.dumps(rows))
            backend, largest, got = json.loads(said)
            if found := differ(got, wanted):
                raise SystemExit(f"expected the answers of {name} with torch, got {found}")
            print(f"{name}: {backend}, {len(rows)} rows the same, recorded parity {largest:.1e}")
            lines = "\n".join(json.dumps(row) for row in rows)
            if "numbers" in name:
                said = run([python, "-m", "throughtime.runtime", str(path)], folder, lines)
                answered = [json.loads(line) for line in said.splitlines()]
                if found := differ(answered[: len(ROWS) - 1], wanted[: len(ROWS) - 1]):
                    raise SystemExit(f"expected the command to answer so, too, got {found}")
        seconds, resident, most = cold_start(python, next(iter(runs.values()))[0], folder)
    print(f"cold start to the first prediction: {seconds:.3f} s, bar at most {SECONDS}")
    print(f"resident then: {resident:.1f} MB, at most {most:.1f}, bar at most {MEGABYTES:.0f}")
    return 1 if asked.check and (seconds > SECONDS or most > MEGABYTES) else 0


if __name__ == "__main__":
    sys.exit(main())
