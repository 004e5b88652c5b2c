"""Write the README's example and figures from real runs.

    python scripts/readme_figures.py             # everything
    python scripts/readme_figures.py kernels     # among example, headline, kernels, lab

The example is run as it is printed; the figures are those that `benchmarks/headline.py` and
`benchmarks/kernels.py` wrote last, and `throughtime lab run --all --out FOLDER`, whose `lab.json`
is kept in benchmarks/results/. All of the kernels' are in docs/speed.md, and of the lab's in
docs/lab.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from throughtime import lab
from throughtime.bench import Figure, machine, text
from throughtime.lab import result as results

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SPEED = ROOT / "docs" / "speed.md"
HEADLINE = ROOT / "benchmarks" / "results" / "headline.json"
KERNELS = ROOT / "benchmarks" / "results" / "kernels.json"
LAB = ROOT / "docs" / "lab.md"
RESULTS = ROOT / "benchmarks" / "results"

TRAIN = "throughtime train demo:sunspots --layer gru:32 --budget 250steps --out runs/sunspots"
COMMANDS = (
    TRAIN,
    "throughtime check runs/sunspots",
    "throughtime predict runs/sunspots demo:sunspots",
    "head -4 new.csv | throughtime stream runs/sunspots --save state.bin",
    "tail -n +5 new.csv | cat head.csv - | "
    "throughtime stream runs/sunspots --load state.bin --save state.bin",
)
NEW_ROWS = "year,sunspots\n2001,111.0\n2002,104.0\n2003,63.7\n2004,40.4\n2006,\n2007,7.5\n"


def example() -> str:
    """Run the commands in an empty folder and return them with what they print."""
    lines = []
    environment = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "new.csv").write_text(NEW_ROWS)
        Path(folder, "head.csv").write_text(NEW_ROWS.splitlines()[0] + "\n")
        for command in COMMANDS:
            done = subprocess.run(
                ["bash", "-c", f"{{ {command}; }} 2>&1"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            shown = [line.rstrip() for line in done.stdout.splitlines() if _is_shown(line)]
            lines += [f"$ {command}", *shown, ""]
    return "```\n" + "\n".join(lines).rstrip() + "\n```"


def headline() -> str:
    """Return the table of the headline runs."""
    found = json.loads(HEADLINE.read_text())
    shakespeare, taxi = found["shakespeare"], found["taxi"]
    rows = ["| run | figure | this model | baselines |", "|---|---|---|---|"]
    for name, figure, run in (
        ("tiny shakespeare, 150 s, last 10 %", "nats", shakespeare),
        ("New York taxi rides, 60 s, last 15 %", "mse_scaled", taxi),
    ):
        others = ", ".join(f"{b} {values[figure]:.4f}" for b, values in run["baselines"].items())
        unit = {"nats": "nats a character", "mse_scaled": "one-step squared error, scaled"}[figure]
        rows.append(f"| {name} | {unit} | **{run['figures'][figure]:.4f}** | {others} |")
    return "\n".join([*rows, "", f"({found['machine']}, torch {found['torch']}.)"])


def kernels() -> str:
    """Return training beside torch.nn, and what is held against other peers."""
    found = _kernels()
    others = [
        figure
        for figure in _figures(found)
        if not _is_training(figure)
        and not figure.peer.startswith("tt.")
        and any(bar.of == "ratio" for bar in figure.asked)
    ]
    return "\n".join([*_training(found), "", *_rows(others), "", _taken(found)])


def all_kernels() -> str:
    """Return every figure of the bench."""
    found = _kernels()
    others = [figure for figure in _figures(found) if not _is_training(figure)]
    return "\n".join([*_training(found), "", *_rows(others), "", _taken(found)])


def _kernels() -> dict[str, Any]:
    if not KERNELS.exists():
        raise SystemExit(f"expected {KERNELS}, got none; run python benchmarks/kernels.py")
    found: dict[str, Any] = json.loads(KERNELS.read_text())
    return found


def _figures(found: dict[str, Any]) -> list[Figure]:
    return [Figure.from_json(content) for content in found["figures"]]


def _is_training(figure: Figure) -> bool:
    """Whether it has a place in the table of sizes by layers."""
    return figure.part == "train" and not figure.case.startswith("bf16")


def _training(found: dict[str, Any]) -> list[str]:
    figures = [figure for figure in _figures(found) if _is_training(figure)]
    by_place = {(figure.size, figure.layer): figure for figure in figures}
    names = list(dict.fromkeys(figure.layer for figure in figures))
    rows = [
        f"| training, B, T, F, H | {' | '.join(f'{name.upper()}' for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for size in dict.fromkeys(figure.size for figure in figures):
        cells = []
        for name in names:
            figure = by_place[size, name]
            ours, theirs = (text.amount(figure, value) for value in (figure.ours, figure.theirs))
            cells.append(f"**{text.ratio(figure, figure.ratio)}** ({theirs} to {ours})")
        rows.append(f"| {', '.join(map(str, size))} | {' | '.join(cells)} |")
    return rows


def _rows(figures: list[Figure]) -> list[str]:
    rows = ["| | | ours | peer | | ratio |", "|---|---|---|---|---|---|"]
    for figure in figures:
        ours, theirs = (text.amount(figure, value) for value in (figure.ours, figure.theirs))
        layer = "" if figure.layer == figure.part else f"{figure.layer} "
        rows.append(
            f"| {figure.part} | {layer}{figure.case} | {ours} | {theirs} | {figure.peer} | "
            f"**{text.ratio(figure, figure.ratio)}** |"
        )
    return rows


def _taken(found: dict[str, Any]) -> str:
    """Say where the figures are from, and which miss what is asked of them."""
    missed = [text.missed(figure, bar) for figure in _figures(found) for bar in figure.missed]
    short = f" Missed: {'; '.join(missed)}." if missed else ""
    spread = "one process" if found["processes"] == 1 else f"{found['processes']} processes"
    return f"({machine.as_text(found['machine'])}; medians of {spread}.{short})"


def experiments() -> str:
    """What every experiment of the lab came to."""
    lines = [
        "| experiment | what is measured | by seed | expected | control by seed |",
        "|---|---|---|---|---|",
    ]
    found = results.read(RESULTS)
    for name in lab.names():
        result, experiment = found[name], lab.find(name)
        figures = ", ".join(results.shown(each.figure) for each in result.outcomes)
        controls = ", ".join(results.shown(each.control) for each in result.outcomes)
        low, high = map(results.shown, experiment.interval)
        lines.append(
            f"| `{name}` | {experiment.figure} | {figures} | {low} to {high} | {controls} |"
        )
    return "\n".join(lines)


def _is_shown(line: str) -> bool:
    """Leave out the progress between the first and the last line of training."""
    return not re.match(r"step \d+", line)


def _between(path: Path, marker: str, content: str) -> None:
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    before = path.read_text()
    if not pattern.search(before):
        raise SystemExit(f"expected a section {marker} in {path.name}, got none")
    path.write_text(pattern.sub(lambda match: match[1] + content + match[2], before))


SECTIONS: dict[str, list[tuple[Path, Callable[[], str]]]] = {
    "example": [(README, example)],
    "headline": [(README, headline)],
    "kernels": [(README, kernels), (SPEED, all_kernels)],
    "lab": [(LAB, experiments)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", help=f"{', '.join(SECTIONS)}; all if not given")
    for name in parser.parse_args().sections or SECTIONS:
        if name not in SECTIONS:
            parser.error(f"expected a section among {', '.join(SECTIONS)}, got {name!r}")
        for path, content in SECTIONS[name]:
            _between(path, name, content())


if __name__ == "__main__":
    main()
