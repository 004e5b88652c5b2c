"""Write the README's example and figures from real runs.

    python scripts/readme_figures.py

The example is run as it is printed; the figures are those that `benchmarks/headline.py` wrote last.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
HEADLINE = ROOT / "benchmarks" / "results" / "headline.json"

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
    text, taxi = found["shakespeare"], found["taxi"]
    rows = ["| run | figure | this model | baselines |", "|---|---|---|---|"]
    for name, figure, run in (
        ("tiny shakespeare, 150 s, last 10 %", "nats", text),
        ("New York taxi rides, 60 s, last 15 %", "mse_scaled", taxi),
    ):
        others = ", ".join(f"{b} {values[figure]:.4f}" for b, values in run["baselines"].items())
        unit = {"nats": "nats a character", "mse_scaled": "one-step squared error, scaled"}[figure]
        rows.append(f"| {name} | {unit} | **{run['figures'][figure]:.4f}** | {others} |")
    return "\n".join([*rows, "", f"({found['machine']}, torch {found['torch']}.)"])


def _is_shown(line: str) -> bool:
    """Leave out the progress between the first and the last line of training."""
    return not re.match(r"step \d+", line)


def _between(text: str, marker: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"expected a section {marker} in the README, got none")
    return pattern.sub(lambda match: match[1] + content + match[2], text)


def main() -> None:
    text = _between(README.read_text(), "example", example())
    README.write_text(_between(text, "headline", headline()))


if __name__ == "__main__":
    main()
