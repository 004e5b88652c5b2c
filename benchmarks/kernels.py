"""The figures of speed and memory that the README and docs/speed.md quote: the whole bench.

    python benchmarks/kernels.py            # prints the figures and writes benchmarks/results/
    python benchmarks/kernels.py --check    # exits with 1 when a figure misses its bar

Takes about ten minutes on two cores that do nothing else. It is `throughtime bench` with all parts;
`python scripts/readme_figures.py kernels` then writes the figures into the documents.
A bench that was stopped, or found a wrong result, leaves the file of before.
"""

import json
import sys
import tempfile
from pathlib import Path

from throughtime.cli import main

RESULTS = Path(__file__).resolve().parent / "results" / "kernels.json"


def measure(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "kernels.json")
        code = main(["bench", "--out", str(out), *arguments])
        if not out.exists():
            return code
        text = out.read_text()
    found = json.loads(text)
    if not found["interrupted"] and not any(figure["wrong"] for figure in found["figures"]):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(measure([word for word in sys.argv[1:] if word == "--check"]))
