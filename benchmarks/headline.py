"""The two runs that the README quotes: what a model reaches in a fixed time, beside its baselines.

    python benchmarks/headline.py            # prints the figures and writes benchmarks/results/
    python benchmarks/headline.py --check    # exits with 1 when a figure misses its bar

Reads `../shared/data` beside the checkout. The times are budgets of training on this machine,
so the figures move with it; they are quoted from a quiet machine with two cores.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import throughtime as tt

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def shakespeare(folder: Path) -> dict[str, Any]:
    """A character model of tiny shakespeare in 150 seconds."""
    run = tt.fit(DATA / "tinyshakespeare.txt", task="language", budget="150s", out=folder / "text")
    return {"bar": {"nats": 1.62}, **_figures(run, "validation")}


def taxi(folder: Path) -> dict[str, Any]:
    """One-step forecasts of New York taxi rides in 60 seconds."""
    run = tt.fit(DATA / "nab" / "nyc_taxi.csv", task="forecast", budget="60s", out=folder / "taxi")
    figures = _figures(run, "test")
    beaten = [values["mse_scaled"] for values in figures["baselines"].values()]
    return {"bar": {"mse_scaled": min(0.0193, *beaten)}, **figures}


def _figures(run: Any, part: str) -> dict[str, Any]:
    found = json.loads((run.path / "results.json").read_text())
    return {
        "figures": found["splits"][part],
        "baselines": found["baselines"],
        "training": found["training"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    asked = parser.parse_args()
    if not DATA.exists():
        print("expected ../shared/data beside the checkout, got none; nothing was measured")
        return 1
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for measure in (shakespeare, taxi):
            found = results[measure.__name__] = measure(Path(folder))
            for name, bar in found["bar"].items():
                value = found["figures"][name]
                print(f"{measure.__name__}: {name} {value:.4f}, bar {bar:.4f}")
                if value > bar:
                    missed.append(measure.__name__)
    out = ROOT / "benchmarks" / "results" / "headline.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
