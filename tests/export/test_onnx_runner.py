"""The runner that is shipped gives what `Stream` gives, where torch can't be imported."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from c_exports import train
from onnx_exports import put
from streamed import same_answers

import throughtime as tt
from throughtime.export.onnx.exporting import verify_graphs, write_graphs
from throughtime.layers import names

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BLOCKED = """
import json, sys
for name in ("torch", "throughtime", "safetensors", "polars"):
    sys.modules[name] = None
sys.path.insert(0, {folder!r})
import numpy as np
import runner
"""


def python(folder, program, given=""):
    """What a program prints, as JSON, in a process without torch."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(folder=str(folder)) + program],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(count=90):
    """Two series on one grid, with missing numbers and a covariate whose future is known."""
    random = np.random.default_rng(0)
    parts = []
    for number in range(2):
        y = 100 * number + np.sin(np.arange(count) / 5) + 0.1 * random.standard_normal(count)
        y[random.random(count) < 0.1] = np.nan
        wind = np.where(random.random(count) < 0.2, np.nan, np.cos(np.arange(count) / 4))
        columns = {"unique_id": [f"s{number}"] * count, "ds": np.arange(count), "y": y}
        parts.append(pl.DataFrame(columns | {"heat": np.arange(count) % 7.0, "wind": wind}))
    return pl.concat(parts).with_columns(pl.col(pl.Float64).fill_nan(None))


@pytest.fixture(scope="module", params=["quantile", "gaussian"])
def wide(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx_rows")
    run = train(
        folder / "run",
        table(),
        layer="gru:5+lru:4",
        horizon=3,
        head=request.param,
        learned_initial_state=True,
        reading={"known_future": ("heat",)},
    )
    return run, put(run, folder / "onnx")


def rows_of(frame, key, count=60):
    rows = [row for row in frame.iter_rows(named=True) if row["unique_id"] == key][:count]
    for place, row in enumerate(rows):
        for k in (1, 2, 3):
            if place % 4 and place + k < len(rows):
                row[f"heat@+{k}"] = rows[place + k]["heat"]
    return rows


STEPWISE = """
rows = json.loads(sys.stdin.read())
streams = runner.ForecastStreams({folder!r}, series=["s0", "s1", "another"])
answers = [[streams.push(row) for row in lanes] for lanes in rows]
print(json.dumps(answers))
streams.save({kept!r})

def number(cell):
    return np.nan if cell is None else cell

def arrays(some):
    y = [[number(row["y"]) for row in lane] for lane in some]
    covariates = [[[number(row[n]) for n in ("heat", "wind")] for row in lane] for lane in some]
    ahead = [f"heat@+{{k}}" for k in (1, 2, 3)]
    future = [[[[number(row.get(name)) for name in ahead]] for row in lane] for lane in some]
    order = [["heat", "wind"].index(name) for name in streams.about["covariates"]]
    return y, np.array(covariates)[..., order], future

lanes = list(zip(*rows))
whole = runner.ForecastStreams({folder!r}, series=["s0", "s1", "another"])
parts = [whole.run(*arrays([lane[a:b] for lane in lanes])) for a, b in ((0, 7), (7, 8), (8, 60))]
print(json.dumps(np.concatenate(parts, axis=1).swapaxes(0, 1).tolist()))
again = runner.ForecastStreams({folder!r}, series=["s0", "s1", "another"])
again.load({kept!r})
row = rows[-1][0] | {{"ds": rows[-1][0]["ds"] + 1}}
print(json.dumps(streams.push(row) == again.push(row)))
again.reset()
print(json.dumps([again.push(row) for row in rows[0]]))
"""


def test_rows_give_what_a_stream_gives(wide, tmp_path):
    run, folder = wide
    frame = table()
    keys = ("s0", "s1", "another")
    lanes = [
        [row | {"unique_id": key} for row in rows_of(frame, "s1" if key == "another" else key)]
        for key in keys
    ]
    rows = [list(each) for each in zip(*lanes, strict=True)]
    program = STEPWISE.format(folder=str(folder), kept=str(tmp_path / "kept.npz"))
    stepwise, whole, same, afresh = python(folder, program, json.dumps(rows))
    stream = tt.Stream(run)
    levels = run.task.options.levels
    for place, each in enumerate(rows):
        for lane, (key, row) in enumerate(zip(keys, each, strict=True)):
            wanted = stream.push(row)
            assert same_answers(stepwise[place][lane], wanted, run.task.scaler.scale_of(key).scale)
            got = np.array(whole[place][lane])
            assert got.shape == (3, len(levels))
            close = {"rtol": 0, "atol": 1e-5 * run.task.scaler.scale_of(key).scale}
            for name, column in (("lower", 0), ("prediction", len(levels) // 2), ("upper", -1)):
                steps = [step[name] for step in wanted["ahead"]]
                np.testing.assert_allclose(got[:, column], steps, **close)
    assert same
    assert afresh == stepwise[0]


def test_the_program_reads_a_table_of_one_series(plain, tmp_path):
    folder = put(plain, tmp_path / "onnx")
    stream = tt.Stream(plain)
    rows = [{"year": 1700 + k, "sunspots": 40 + 30 * np.sin(k)} for k in range(9)]
    given = "year,sunspots\n" + "".join(f"{row['year']},{row['sunspots']}\n" for row in rows)
    answers = python(folder, "sys.argv[1:] = []\nrunner.main()\n", given)
    for row, answer in zip(rows, answers, strict=True):
        assert same_answers(answer, stream.push({name: str(cell) for name, cell in row.items()}))


def test_the_program_answers_each_line(wide):
    run, folder = wide
    rows = [row for pair in zip(*(rows_of(table(), key, 5) for key in ("s0", "s1")), strict=True)
            for row in pair]  # fmt: skip
    given = "".join(json.dumps(row) + "\n" for row in rows)
    answers = python(folder, f"sys.argv[1:] = [{str(folder)!r}]\nrunner.main()\n", given)
    assert [answer["unique_id"] for answer in answers] == ["s0", "s1"] * 5
    stream = tt.Stream(run)
    assert all(map(same_answers, answers, map(stream.push, rows)))


TEXT = """
streams = runner.TextStreams({folder!r}, lanes=2)
pieces = json.loads(sys.stdin.read())
print(json.dumps([streams.read(piece, lane=1) for piece in pieces]))
symbols = streams.encode("".join(pieces))
streams.reset()
steps = [streams.step([symbol, 1])[0].tolist() for symbol in symbols[:9]]
streams.reset([0])
whole = streams.run([symbols[:9], symbols[:9]], lengths=[9, 4])[0]
print(json.dumps([steps, whole.tolist()]))
"""


@pytest.mark.parametrize("mode", ["characters", "bytes"])
def test_text_gives_what_a_stream_gives(mode, text_file, text_run, tmp_path):
    run = text_run
    if mode == "bytes":
        options = {"task": "language", "layer": "lstm:6", "embedding": 3, "mode": "bytes"}
        run = train(tmp_path / "run", str(text_file), **options)
    folder = put(run, tmp_path / "onnx")
    pieces = ["the quick brown f", "o", "x; é — Ω\n", "jumps"]
    found, (steps, whole) = python(folder, TEXT.format(folder=str(folder)), json.dumps(pieces))
    stream = tt.Stream(run)
    for piece, (count, nats) in zip(pieces, found, strict=True):
        wanted = stream.push({"text": piece})
        assert count == wanted["symbols"]
        assert nats == pytest.approx(wanted["nats"], rel=1e-5)
    np.testing.assert_allclose(steps, whole, atol=1e-6)
    np.testing.assert_allclose(np.sum(steps, axis=1), 1, rtol=1e-5)


def test_files_say_what_they_are(wide):
    run, folder = wide
    import onnx

    files = ["runner.py", "runner_graphs.py", "runner_rows.py", "sequence.onnx", "step.onnx"]
    assert sorted(each.name for each in folder.iterdir()) == files
    for name in ("step.onnx", "sequence.onnx"):
        model = onnx.load(folder / name)
        onnx.checker.check_model(model, full_check=True)
        told = {each.key: each.value for each in model.metadata_props}
        assert told["format"] == "throughtime.onnx/1"
        assert told["fingerprint"] == run.fingerprint
        manifest = json.loads((run.path / "manifest.json").read_text())
        assert told["parity_sha256"] == manifest["files"]["parity.safetensors"]["sha256"]
        states = json.loads(told["states"])
        assert [each["past"] for each in states] == ["past_0_h", "past_1_state"]
        start = run.model.initial_state(1)[0].h[0].tolist()
        assert states[0]["initial"] == start
        own = {each.name for each in model.graph.input}
        assert {each["past"] for each in states} <= own
        assert {each["present"] for each in states} <= {each.name for each in model.graph.output}
        assert json.loads(told["levels"]) == list(run.task.options.levels)


def test_the_runner_refuses_what_is_not_its_own(wide, tmp_path):
    _, folder = wide
    program = f"""
try:
    runner.TextStreams({str(folder)!r})
except ValueError as error:
    print(json.dumps(str(error)))
"""
    (message,) = python(folder, program)
    assert message.startswith("expected a language model in")


@pytest.mark.slow
@pytest.mark.parametrize("layer", names())
def test_every_layer_is_exported_from_a_run(layer, tmp_path):
    run = train(tmp_path / "run", layer=f"{layer}:8", spread=0.05)
    verdict = verify_graphs(run, write_graphs(run), steps=2000)
    # Where torch in float32 is as far from float64, the gate holds it to that, and says so.
    assert verdict.max_error < 1e-5 or "held to float64" in verdict.note
