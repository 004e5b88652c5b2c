"""A cold start and a step of the runtime without torch, beside torch and ONNX Runtime.

    python benchmarks/runtime.py            # prints the figures and writes benchmarks/results/
    python benchmarks/runtime.py --check    # exits with 1 when a figure misses its bar

Cold: from the start of Python to the first prediction, in a process of its own, the least of
several; and the most memory that it had resident. Ours and torch's load a trained run of 64 units
and answer a row; ONNX Runtime's has a GRU of the same size in a file, and steps it once. Warm: one
step of that GRU from arrays, and one row of the stream, answer included; ONNX Runtime's step is in
bound buffers and has no head. Bars are on the runtime alone; a busy machine misses them.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
UNITS = 64
STARTS = 7
BARS = {"cold start, s": 0.4, "resident, MB": 40.0}
ROW = {"year": 1700, "sunspots": 5.0}

COLD = {
    "numpy alone": "import numpy",
    "runtime": """
from throughtime.runtime import load
load({run!r}).stream().push({row!r})
""",
    "torch": """
import torch
torch.set_num_threads(1)
import throughtime as tt
tt.Stream(tt.load({run!r})).push({row!r})
""",
    "onnxruntime": """
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession({onnx!r}, providers=["CPUExecutionProvider"])
x, h = (np.zeros((1, 1, size), np.float32) for size in ({features}, {units}))
session.run(None, {{"x": x, "h": h}})
""",
}

CHILD = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
taken = time.perf_counter() - began
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""


def cold(code: str) -> tuple[float, float]:
    """Return the least seconds of a program, and its most resident megabytes."""
    seconds, megabytes = float("inf"), 0.0
    for _ in range(STARTS):
        # In a process between, whose only child is the program: its memory is the child's alone.
        done = subprocess.run(
            [sys.executable, "-c", CHILD, code], capture_output=True, text=True, check=True
        )
        taken, most = json.loads(done.stdout)
        seconds, megabytes = min(seconds, taken), max(megabytes, most)
    return seconds, megabytes


def warm(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Return the median microseconds of a call."""
    taken = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end or len(taken) < 100:
        call()
        taken.append(time.perf_counter() - began)
    return 1e6 * sorted(taken)[len(taken) // 2]


def steps(run: Any) -> dict[str, dict[str, float]]:
    """Return microseconds of a step, and of a row, by what runs it."""
    import numpy as np
    import torch

    import throughtime as tt
    from throughtime.bench import onnx_peer
    from throughtime.runtime import load

    torch.set_num_threads(1)
    model, features = load(run.path), run.model.config.features
    x, state = np.zeros((1, features), np.float32), model.initial_state(1)
    tensor, of_torch = torch.zeros(1, features), run.model.initial_state(1)

    @torch.inference_mode()
    def step_torch() -> object:
        return run.model.step(tensor, of_torch)

    def rows(stream: Any) -> Callable[[], object]:
        year = ROW["year"]

        def push() -> object:
            nonlocal year
            year += 1
            return stream.push({**ROW, "year": year})

        return push

    module = tt.to_torch(run.model.layers)
    return {
        "step, us": {
            "runtime": warm(lambda: model.step(x, state)),
            "torch": warm(step_torch),
            "onnxruntime": warm(onnx_step(onnx_peer.model("gru", module), features)),
        },
        "row of a stream, us": {
            "runtime": warm(rows(model.stream())),
            "torch": warm(rows(tt.Stream(run))),
        },
    }


def onnx_step(model: Any, features: int) -> Callable[[], object]:
    """Return a step of ONNX Runtime in bound buffers, with one thread."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    given = {
        "x": np.zeros((1, 1, features), np.float32),
        "h": np.zeros((1, 1, UNITS), np.float32),
    }
    for name, array in given.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    asked = parser.parse_args()
    import onnx
    import torch

    import throughtime as tt
    from throughtime.bench import onnx_peer

    with tempfile.TemporaryDirectory() as folder:
        run = tt.fit(
            "demo:sunspots", layer=f"gru:{UNITS}", budget="2steps", out=Path(folder) / "run",
            show=False,
        )  # fmt: skip
        features = run.model.config.features
        onnx.save(onnx_peer.model("gru", tt.to_torch(run.model.layers)), f"{folder}/gru.onnx")
        named = {
            "run": str(run.path),
            "row": ROW,
            "onnx": f"{folder}/gru.onnx",
            "features": features,
            "units": UNITS,
        }
        figures: dict[str, dict[str, float]] = {"cold start, s": {}, "resident, MB": {}}
        for name, code in COLD.items():
            seconds, megabytes = cold(code.format(**named))
            figures["cold start, s"][name], figures["resident, MB"][name] = seconds, megabytes
        figures |= steps(run)
        versions = {"torch": torch.__version__, "onnx": onnx.__version__}
        print(f"runtime: {load_backend(run)}")
    print("| | " + " | ".join(COLD) + " |")
    print("|---" * (len(COLD) + 1) + "|")
    for figure, row in figures.items():
        cells = [f"{row[name]:.3g}" if name in row else "" for name in COLD]
        print(f"| {figure} | " + " | ".join(cells) + " |")
    missed = [name for name, bar in BARS.items() if figures[name]["runtime"] > bar]
    for name, bar in BARS.items():
        print(f"{name}: {figures[name]['runtime']:.3g}, bar at most {bar:g}")
    out = ROOT / "benchmarks" / "results" / "runtime.json"
    out.parent.mkdir(exist_ok=True)
    found = {"machine": platform.machine(), "python": platform.python_version(), **versions}
    out.write_text(json.dumps({**found, "figures": figures, "bars": BARS}, indent=2) + "\n")
    return 1 if asked.check and missed else 0


def load_backend(run: Any) -> str:
    from throughtime.runtime import load

    return load(run.path).backend


if __name__ == "__main__":
    sys.exit(main())
