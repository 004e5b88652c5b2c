"""How long a step of an exported layer takes in ONNX Runtime, beside torch in the same process.

    python benchmarks/onnx_export.py          # prints the figures
    python benchmarks/onnx_export.py --json   # the same as JSON

F = H, one stream, one thread. `step.onnx` is called for each step, `sequence.onnx` for 1000 steps
at once, of which a step's share is shown. Of each the least time of many repetitions counts:
whatever else the machine does can only make it longer.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import throughtime as tt
from throughtime.export import layer_to_onnx

CASES = (("lstm", 16), ("gru", 64), ("rg_lru", 64))
STEPS, REPETITIONS = 1000, 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {f"{name}:{units}": _measured(name, units) for name, units in CASES}
    if asked.json:
        print(json.dumps(found, indent=2))
        return 0
    for layer, figures in found.items():
        print(f"{layer}, F = H, microseconds a step")
        for what, taken in figures.items():
            print(f"  {what:<34} {taken:8.2f}")
    return 0


def _measured(name: str, units: int) -> dict[str, float]:
    layer = tt.layers.make(name, units, units).eval()
    with tempfile.TemporaryDirectory() as folder:
        made = layer_to_onnx(layer, folder)
        sessions = {file: _session(made.path / file) for file in made.files}
    x = torch.randn(1, STEPS, units)
    figures = {
        "step.onnx": _least(_stepping(sessions["step.onnx"], x)) / STEPS,
        "sequence.onnx": _least(_whole(sessions["sequence.onnx"], x, restart=False)) / STEPS,
        "sequence.onnx, with a restart": _least(_whole(sessions["sequence.onnx"], x, restart=True))
        / STEPS,
    }
    with torch.inference_mode():
        figures["torch, step (reference)"] = _least(_steps_of(layer, x), 5) / STEPS
        figures["torch, forward (our kernel)"] = _least(lambda: layer(x)) / STEPS
        with tt.kernels.use("torch"):
            figures["torch, forward (torch's own)"] = _least(lambda: layer(x), 5) / STEPS
    return figures


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _past(session: Any) -> dict[str, np.ndarray]:
    return {
        each.name: np.zeros((1, *each.shape[1:]), np.float32)
        for each in session.get_inputs()
        if each.name.startswith("past_")
    }


def _stepping(session: Any, x: torch.Tensor) -> Callable[[], object]:
    past, rows, reset = _past(session), x[0, :, None].numpy(), np.zeros(1, bool)
    names = ["y", *(name.replace("past_", "present_", 1) for name in past)]

    def steps() -> None:
        state = dict(past)
        for row in rows:
            _, *after = session.run(names, {"x": row, "reset": reset, **state})
            state = dict(zip(past, after, strict=True))

    return steps


def _whole(session: Any, x: torch.Tensor, *, restart: bool) -> Callable[[], object]:
    resets = np.zeros((1, STEPS), bool)
    resets[0, STEPS // 2] = restart
    given = {"x": x.numpy(), "lengths": np.array([STEPS]), "resets": resets} | _past(session)
    return lambda: session.run(None, given)


def _steps_of(layer: Any, x: torch.Tensor) -> Callable[[], object]:
    def steps() -> None:
        state = layer.initial_state(1)
        with tt.kernels.use("reference"):
            for row in x[0].split(1):
                _, state = layer.step(row, state)

    return steps


def _least(call: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """Return the least microseconds of a call."""
    least = float("inf")
    for _ in range(repetitions):
        begun = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begun)
    return 1e6 * least


if __name__ == "__main__":
    sys.exit(main())
