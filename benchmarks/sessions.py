"""Many live streams in one process: steps a second, how long a tick takes, and what keeping costs.

    python benchmarks/sessions.py            # prints the figures and writes benchmarks/results/
    python benchmarks/sessions.py --check    # exits with 1 when a figure misses its bar

A GRU of 64 units with 64 features, 20,000 sessions of it resident, one thread. Each tick steps
sessions drawn at random. The peer keeps a dictionary of states and steps the same GRU in ONNX
Runtime: it joins the states of a tick, runs, and takes them apart. Ours computes the head as well.
Layers that have no native stepper are measured with 2,000 sessions and beside nothing.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import throughtime as tt
from throughtime import layers
from throughtime.bench import onnx_peer
from throughtime.bench.measure import Effort, Way, interleave, percentile_99
from throughtime.model import ModelConfig, SequenceModel
from throughtime.stream import Sessions, VectorSessions

ROOT = Path(__file__).resolve().parents[1]
FEATURES, UNITS, RESIDENT = 64, 64, 20_000
BLOCK = 50
"""Ticks before it is the other way's turn: in use, too, many ticks follow one another."""
TICKS = (1, 8, 32, 128, 512, 2048)
OTHERS = tuple(name for name in layers.names() if name not in ("rnn", "lstm", "gru"))
OTHERS_RESIDENT = 2000
BARS = {
    "steps a second of 128 at once": ("at least", 800_000.0),
    "times the dictionary of states, 128 at once": ("at least", 2.0),
    "p99 of a tick of 32, ms": ("at most", 1.0),
    "p99 of a tick of 32 rows, ms": ("at most", 1.0),
}

Step = Callable[[list[str], np.ndarray], np.ndarray]


def dictionary(module: torch.nn.GRU, keys: list[str]) -> Step:
    """Sessions as a dictionary of states on ONNX Runtime, with one thread."""
    model = onnx_peer.model("gru", module)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_param = "B"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    states = {key: np.zeros((1, 1, UNITS), np.float32) for key in keys}

    def step(asked: list[str], x: np.ndarray) -> np.ndarray:
        h = np.concatenate([states[key] for key in asked], axis=1)
        (after,) = runtime.run(None, {"x": x[None], "h": h})
        for place, key in enumerate(asked):
            states[key] = after[:, place : place + 1]
        return after[0]

    return step


def vectors(found: dict[str, Any], figures: dict[str, float], seconds: float) -> None:
    """Steps a second beside the dictionary, and what else a table of sessions does."""
    model = SequenceModel(ModelConfig(features=FEATURES, layer=f"gru:{UNITS}", outputs=8)).eval()
    module = tt.to_torch(model.layers)
    keys = [f"session-{number}" for number in range(RESIDENT)]
    random = np.random.default_rng(0)
    sessions = VectorSessions(model, slots=RESIDENT)
    for key in keys:
        sessions.open(key)
    peer = dictionary(module, keys)
    head = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    x = random.standard_normal((max(TICKS), FEATURES)).astype(np.float32)
    for count in TICKS:
        draws = [[keys[i] for i in random.permutation(RESIDENT)[:count]] for _ in range(64)]
        for asked in draws[:4]:
            ours, theirs = sessions.step(asked, x[:count]), peer(asked, x[:count])
            np.testing.assert_allclose(ours, theirs @ head[0].T + head[1], rtol=1e-4, atol=1e-5)

        def in_turn(step: Step, draws: Any = draws, count: int = count) -> Callable[[], object]:
            place = 0

            def call() -> object:
                nonlocal place
                place = (place + 1) % len(draws)
                return step(draws[place], x[:count])

            return call

        rounds = max(int(10_000 / count**0.5), 500) // BLOCK
        times = interleave(
            {"ours": Way(in_turn(sessions.step)), "peer": Way(in_turn(peer))},
            Effort(seconds, (rounds, rounds), 0),
            block=BLOCK,
        )
        row = {
            name: {
                "median_us": 1e6 * float(np.median(taken)),
                "least_us": 1e6 * min(taken),
                "p99_us": 1e6 * percentile_99(taken),
                "steps_a_second": count / float(np.median(taken)),
                "most_steps_a_second": count / min(taken),
            }
            for name, taken in times.items()
        }
        found[f"{count} at once"] = row
        ratio = row["ours"]["steps_a_second"] / row["peer"]["steps_a_second"]
        print(
            f"| {count} | {row['ours']['steps_a_second']:,.0f} | "
            f"{row['ours']['most_steps_a_second']:,.0f} | {row['ours']['p99_us'] / 1e3:.3f} | "
            f"{row['peer']['steps_a_second']:,.0f} | {ratio:.1f} |"
        )
        if count == 32:
            figures["p99 of a tick of 32, ms"] = row["ours"]["p99_us"] / 1e3
        if count == 128:
            figures["steps a second of 128 at once"] = row["ours"]["steps_a_second"]
            figures["times the dictionary of states, 128 at once"] = ratio
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        figures["snapshot of all, ms"] = 1e3 * least(lambda: sessions.snapshot(path))
        figures["restoring all, ms"] = 1e3 * least(
            lambda: VectorSessions.restore(model, path, slots=RESIDENT)
        )
        figures["snapshot, bytes a session"] = path.stat().st_size / RESIDENT
    figures["export, us"] = 1e6 * least(lambda: sessions.export(keys[7]))
    new = iter(range(10**9))
    batch = x[:512]
    figures["beginning a session in the place of another and a step, us"] = (
        1e6 / 512 * least(lambda: sessions.step([f"new {next(new)}" for _ in range(512)], batch))
    )


def others(found: dict[str, Any]) -> None:
    """Steps a second of layers that the native stepper does not serve."""
    random = np.random.default_rng(0)
    for name in OTHERS:
        config = ModelConfig(features=FEATURES, layer=f"{name}:{UNITS}", outputs=8)
        sessions = VectorSessions(SequenceModel(config).eval(), slots=OTHERS_RESIDENT)
        keys = [f"session-{number}" for number in range(OTHERS_RESIDENT)]
        x = random.standard_normal((128, FEATURES)).astype(np.float32)
        sessions.step(keys, np.zeros((len(keys), FEATURES), np.float32))
        for count in (1, 128):
            asked = [keys[i] for i in random.permutation(len(keys))[:count]]
            rate = count / least(partial(sessions.step, asked, x[:count]), times=30)
            found[f"{name}, {count} at once"] = {"steps_a_second": rate}
            print(f"| {name}, {count} | {rate:,.0f} |", flush=True)


def rows(figures: dict[str, float]) -> None:
    """Ticks of 32 rows of a forecasting run, cells and answers included."""
    with tempfile.TemporaryDirectory() as folder:
        run = tt.fit("demo:meter", layer="gru:64", budget="2steps", out=folder, show=False)
        sessions = Sessions(run, slots=RESIDENT)
        format = run.task.format
        taken, pushed = [], []
        for hour in range(600):
            row = dict.fromkeys(format.covariates, 1.0) | {format.target: float(hour % 24)}
            moment = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(
                hour * format.step_us, "us"
            )
            row[format.time] = str(moment)
            began = time.perf_counter()
            for number in range(32):
                sessions.push(f"meter {number}", row)
            between = time.perf_counter()
            sessions.tick()
            ended = time.perf_counter()
            if hour >= 20:
                taken.append(ended - between)
                pushed.append(between - began)
    figures["p99 of a tick of 32 rows, ms"] = 1e3 * percentile_99(taken)
    figures["median of a tick of 32 rows, ms"] = 1e3 * float(np.median(taken))
    figures["pushing a row, us"] = 1e6 / 32 * float(np.median(pushed))


def least(call: Callable[[], object], times: int = 7) -> float:
    """Return the fewest seconds that a call takes."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, 1 thread",
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "sizes": {"features": FEATURES, "units": UNITS, "resident": RESIDENT},
    }
    figures: dict[str, float] = {}
    print("| at once | steps a second | at best | p99 of a tick, ms | dictionary | times |")
    print("|---|---|---|---|---|---|")
    vectors(results, figures, seconds=3.0)
    print("| layer, at once | steps a second |")
    print("|---|---|")
    others(results)
    rows(figures)
    missed = []
    for name, value in figures.items():
        kind, bar = BARS.get(name, ("", 0.0))
        print(f"{name}: {value:,.4g}" + (f", bar {kind} {bar:,.4g}" if kind else ""))
        if kind and (value < bar if kind == "at least" else value > bar):
            missed.append(name)
    results["figures"] = figures
    results["bars"] = {name: list(bar) for name, bar in BARS.items()}
    out = ROOT / "benchmarks" / "results" / "sessions.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
