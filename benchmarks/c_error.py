"""How far exported C lies from the model it was made of, over 100,000 steps, for every layer.

    python benchmarks/c_error.py             # prints the figures and writes benchmarks/results/
    python benchmarks/c_error.py --check     # exits with 1 when a bar is missed
    python benchmarks/c_error.py --run DIR   # of that run alone; can be given more than once

The truth is the same model in float64. Beside the C stands torch in float32, what the model was
evaluated with: what separates it from the truth, no float32 can be asked to do much better. So the
bar is 1e-6 of 1 + |value|, in scaled units, or, where torch itself comes near that or lies beyond,
a few times torch's own distance. Each layer is trained for a moment first.
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
from throughtime import layers
from throughtime.check.comparison import difference
from throughtime.errors import OptionError
from throughtime.export.c.around import add
from throughtime.export.c.compiler import FAST, STRICT
from throughtime.export.c.exporting import write_texts
from throughtime.export.c.program import Program
from throughtime.export.c.runner import CRunner
from throughtime.export.gate import material, take
from throughtime.export.rounding import Rounding
from throughtime.run import Run, load

ROOT = Path(__file__).resolve().parents[1]
STEPS, CHUNK = 100_000, 1000
BAR, TIMES_TORCH = 1e-6, 3.0
SIZES = {"lstm": (16, 64), "gru": (64,)}
USUAL = (32,)


@torch.no_grad()
def distances(run: Run, steps: int) -> dict[str, float]:
    """Return the largest distances over one lane, with its state carried all the way.

    Args:
        run: a run that has C.
        steps: how many.

    Returns:
        Of the C from float64, of torch's float32 from float64, and of the C from torch.
    """
    program, texts = write_texts(run)
    found = dict.fromkeys(("C", "torch", "between"), 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_text(text)
        rounding = Rounding(run)
        run.model.eval()
        pieces = material(run, torch.Generator().manual_seed(0))
        state = exact_state = None
        with CRunner(run, program, folder, [*STRICT, *FAST]) as runner:
            runner.begin(1)
            for start in range(0, steps, CHUNK):
                inputs = take(pieces, min(CHUNK, steps - start))[None]
                there = torch.ones(inputs.shape[:2], dtype=torch.bool)
                ours = runner.run(inputs, there, torch.zeros_like(there))
                theirs, state = run.model(inputs, state)
                exact, exact_state = rounding.exact(inputs, exact_state)
                for kind, one, other in (
                    ("C", ours, exact),
                    ("torch", theirs, exact),
                    ("between", ours, theirs),
                ):
                    found[kind] = max(found[kind], float(difference(one, other).max()))
    return found


def has_c(name: str) -> bool:
    """Tell whether a layer can be exported to C, by its own refusal."""
    try:
        add(Program(), layers.make(name, 2, 8), "features")
    except OptionError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    parser.add_argument("--run", action="append", default=[], help="a run, in place of all layers")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the lane")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"largest |a - b| / (1 + |b|) over {asked.steps:,} steps")
    print("| layer | C from float64 | torch from float64 | C from torch |")
    print("|---|---|---|---|")
    found: dict[str, Any] = {}
    missed = []

    def look(name: str, run: Run) -> None:
        figures = distances(run, asked.steps)
        found[name] = figures
        print(f"| {name} | " + " | ".join(f"{x:.1e}" for x in figures.values()) + " |", flush=True)
        if figures["C"] > max(BAR, TIMES_TORCH * figures["torch"]):
            missed.append(name)

    for path in asked.run:
        run = load(path)
        look(f"{path}, {run.config.model.layer}", run)
    if not asked.run:
        for name in filter(has_c, layers.names()):
            for units in SIZES.get(name, USUAL):
                with tempfile.TemporaryDirectory() as folder:
                    options: dict[str, Any] = {"layer": f"{name}:{units}", "budget": "200steps"}
                    run = tt.fit("demo:meter", task="forecast", out=folder, show=False, **options)
                    look(f"{name}:{units}", run)
        out = ROOT / "benchmarks" / "results" / "c_error.json"
        results = {"machine": platform.machine(), "torch": torch.__version__, "steps": asked.steps}
        out.write_text(json.dumps({**results, "largest": found}, indent=1) + "\n")
    for name in missed:
        print(f"missed: {name}, asked {BAR:.0e} or {TIMES_TORCH:.0f} times what torch loses")
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
