"""A run that was interrupted and resumed is, bit for bit, the run that was never interrupted."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from trials import fitting, frame, outcome, same, stopping, text

import throughtime as tt
from throughtime.errors import BundleError
from throughtime.training import Interrupted, checkpoint
from throughtime.training.checkpoint import MetricsFile
from throughtime.training.loop import Loop

EVER = float("inf")


def saved(folder: Path, kind: str) -> Path:
    """The data of a trial, as a file."""
    path = folder / ("data.csv" if kind == "table" else "data.txt")
    if kind == "table":
        frame(150, 2, missing=0.1).write_csv(path)
    else:
        path.write_text(text(700).documents[0])
    return path


TRIALS = {
    "gru": ("table", {"layer": "gru:5"}),
    "lstm": ("table", {"layer": "lstm:4", "horizon": 3, "head": "gaussian"}),
    "stack with dropout": ("table", {"layer": "gru:4x2", "dropout": 0.4}),
    "text": ("text", {"layer": "lstm:5x2", "dropout": 0.2, "embedding": 4}),
    "symbols": (
        "text",
        {
            "layer": "gru:5,4:conv:block",
            "learned_initial_state": True,
            "embedding_dropout": 0.3,
            "embedding": 4,
        },
    ),
    "symbols, full": (
        "text",
        {
            "layer": "gru:5",
            "embedding_dropout": 0.3,
            "embedding": 4,
            "bptt": "full",
            "chunks": 2,
            "lanes": 3,
            "window": None,
        },
    ),
    "buckets": (
        "demo:reber",
        {
            "layer": "gru:4x2",
            "dropout": 0.3,
            "embedding_dropout": 0.2,
            "embedding": 3,
            "window": None,
        },
    ),
    "full": (
        "table",
        {
            "layer": "gru:4x2",
            "dropout": 0.4,
            "bptt": "full",
            "chunks": 2,
            "lanes": 8,
            "window": None,
        },
    ),
    "gradients watched": (
        "text",
        {"layer": "lstm:5", "embedding": 4, "embedding_dropout": 0.3, "watch_gradients": True},
    ),
}


@pytest.fixture(autouse=True)
def _few_strings(monkeypatch):
    """Keep demo:reber small."""
    from throughtime.data import demo_reber

    make = demo_reber.make_reber
    monkeypatch.setattr(demo_reber, "make_reber", lambda seed: make(150, seed))


def source(folder: Path, kind: str) -> str:
    return kind if kind.startswith("demo:") else str(saved(folder, kind))


def begin(data, out, options, at=EVER, monkeypatch=None):
    usual = {"budget": "30steps", "lanes": 3, "window": 9, "seed": 4, "show": False}
    with stopping(monkeypatch, at):
        return tt.fit(data, out=out, **usual | options)


def go_on(out, monkeypatch, at=EVER, data=None):
    with stopping(monkeypatch, at):
        return tt.resume(out, data, show=False)


def equal(a, b):
    return same(a[0], b[0]) and a[1] == b[1] and a[2] == b[2]


# Step 2 is the validation: 0 is before the first step, 1 before the first validation, 2 right
# after one; 17 is somewhere, 30 never comes to pass.
@pytest.mark.parametrize("name", TRIALS)
def test_resumed_is_never_interrupted(tmp_path, monkeypatch, name):
    kind, options = TRIALS[name]
    data = source(tmp_path, kind)
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    rows = wanted[1]
    assert rows[-1]["step"] == "30"
    for at in (17,) if name != "gru" else (0, 1, 2, 3, 17, 29):
        out = tmp_path / f"stopped at {at}"
        with pytest.raises(Interrupted, match=f"stopped at step {at}, all saved"):
            begin(data, out, options, at, monkeypatch)
        # Whatever happened to the random numbers in between is no matter.
        torch.rand(7)
        assert equal(outcome(go_on(out, monkeypatch)), wanted), (name, at)
        assert not (out / "checkpoint").exists()


def test_an_interruption_at_an_epochs_end(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:4x2", "dropout": 0.3, "budget": "3epochs", "window": 18}
    lengths = []
    init = Loop.__init__

    def note(self, task, model, plan, *rest, **named):
        lengths.append(len(plan))
        init(self, task, model, plan, *rest, **named)

    monkeypatch.setattr(Loop, "__init__", note)
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    windows = lengths[0]
    assert int(wanted[1][-1]["step"]) == 3 * windows
    for at in (windows, 2 * windows - 1):
        out = tmp_path / str(at)
        with pytest.raises(Interrupted):
            begin(data, out, options, at, monkeypatch)
        assert equal(outcome(go_on(out, monkeypatch)), wanted), at


def test_interrupted_again_and_again(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = TRIALS["stack with dropout"][1]
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        begin(data, out, options, 7, monkeypatch)
    for at, step in ((0, 7), (4, 11), (14, 25)):
        with pytest.raises(Interrupted, match=f"step {step},"):
            go_on(out, monkeypatch, at)
    assert equal(outcome(go_on(out, monkeypatch)), wanted)


def test_early_stopping_goes_on_counting(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:5", "patience": 2, "learning_rate": 0.5, "budget": "60steps"}
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    last = int(wanted[1][-1]["step"])
    assert 10 < last < 60
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        begin(data, out, options, last - 3, monkeypatch)
    assert equal(outcome(go_on(out, monkeypatch)), wanted)


def test_on_two_threads(tmp_path, monkeypatch):
    from throughtime.kernels import threads

    monkeypatch.setattr(threads, "WORTH_SHARING", 1)
    data = source(tmp_path, "text")
    options = {"layer": "lstm:32x2", "dropout": 0.2, "lanes": 6, "budget": "5steps"}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
        out = tmp_path / "out"
        with pytest.raises(Interrupted):
            begin(data, out, options, 3, monkeypatch)
        assert equal(outcome(go_on(out, monkeypatch)), wanted)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:4x2", "dropout": 0.3, "budget": "60steps"}
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    out = tmp_path / "out"
    step = Loop._step

    def die(self):
        if self.course.step == 33:
            raise MemoryError
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", die)
        with pytest.raises(MemoryError):
            begin(data, out, options, monkeypatch=monkeypatch)
    # Rows after the checkpoint, and a last one that was cut short.
    content = checkpoint.load(out)
    assert content["course"]["step"] == 30
    with (out / "metrics.csv").open("a") as file:
        file.write("31,9,9,9,9,9,9,9\n3")
    assert equal(outcome(go_on(out, monkeypatch)), wanted)


def test_a_run_killed_while_it_is_evaluated_is_evaluated_again(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:5"}
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    out = tmp_path / "out"

    def die(*arguments, **options):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save", die)
        with pytest.raises(MemoryError):
            begin(data, out, options, monkeypatch=monkeypatch)
    assert equal(outcome(go_on(out, monkeypatch)), wanted)


PROGRAM = textwrap.dedent(
    """
    import sys
    import throughtime as tt
    from throughtime.training import Interrupted
    try:
        tt.fit(sys.argv[1], layer="gru:5x2", dropout=0.3, budget=sys.argv[3], lanes=3, window=9,
               seed=4, out=sys.argv[2])
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(7)
    except KeyboardInterrupt:
        sys.exit(8)
    """
)


def run_program(data, out, budget):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, data, str(out), budget],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_real_signals(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:5x2", "dropout": 0.3, "budget": "240steps"}
    wanted = outcome(begin(data, tmp_path / "whole", options, monkeypatch=monkeypatch))
    out = tmp_path / "interrupted"
    with run_program(data, out, "240steps") as program:
        for line in program.stderr:
            if "validation loss" in line:
                program.send_signal(signal.SIGINT)
                break
        said = program.stderr.read()
        assert program.wait(60) == 7
    assert "all saved" in said
    assert equal(outcome(go_on(out, monkeypatch)), wanted)
    # Killed outright, it still has the checkpoint of its last validation.
    out = tmp_path / "killed"
    with run_program(data, out, "240steps") as program:
        for line in program.stderr:
            if line.startswith("step 40: validation loss"):
                program.kill()
                break
    assert equal(outcome(go_on(out, monkeypatch)), wanted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_acts_at_once(number):
    from throughtime.training.interrupt import asked_to_stop

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with asked_to_stop() as wish:
        assert not wish.asked
        signal.raise_signal(number)
        assert wish.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_no_signal_is_touched(tmp_path, monkeypatch):
    data = source(tmp_path, "table")
    options = {"layer": "gru:5", "budget": "10steps", "lanes": 3, "window": 9, "seed": 4}
    handler = signal.getsignal(signal.SIGINT)
    found = []

    def elsewhere():
        # A new thread has the machine's number of threads, and each number rounds in its own way.
        torch.set_num_threads(1)
        found.append(tt.fit(data, out=tmp_path / "a", show=False, **options))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    here = tt.fit(data, out=tmp_path / "b", show=False, **options)
    assert equal(outcome(found[0]), outcome(here))


def interrupted(tmp_path, monkeypatch, data=None, **options):
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        begin(
            data if data is not None else source(tmp_path, "table"), out,
            {"layer": "gru:4", **options}, 11, monkeypatch,
        )  # fmt: skip
    return out


@pytest.mark.parametrize("row", [3, 115, 145])
def test_changed_data_is_refused(tmp_path, monkeypatch, row):
    """Whether a training, a validation or a test value changed."""
    out = interrupted(tmp_path, monkeypatch)
    table = pl.read_csv(tmp_path / "data.csv")
    value = table["y"][row]
    assert value is not None
    table[row, "y"] = value + 1e-3
    table.write_csv(tmp_path / "data.csv")
    with pytest.raises(BundleError, match="got other data") as caught:
        tt.resume(out, show=False)
    assert "\n" not in str(caught.value)
    table[row, "y"] = value
    table.write_csv(tmp_path / "data.csv")
    go_on(out, monkeypatch)


def test_a_frame_is_asked_for_again(tmp_path, monkeypatch):
    table = frame(150, 2, missing=0.1)
    out = interrupted(tmp_path, monkeypatch, data=table)
    with pytest.raises(BundleError, match="trained on a frame; give it as resume"):
        tt.resume(out, show=False)
    with pytest.raises(BundleError, match="got other data; train anew"):
        tt.resume(out, frame(150, 2, seed=3), show=False)
    run = tt.resume(out, table, show=False)
    wanted = begin(table, tmp_path / "whole", {"layer": "gru:4"}, monkeypatch=monkeypatch)
    assert equal(outcome(run), outcome(wanted))


def test_where_there_is_nothing_to_go_on_with(tmp_path, monkeypatch):
    with pytest.raises(BundleError, match="got no checkpoint there"):
        tt.resume(tmp_path / "none", show=False)
    run = begin(source(tmp_path, "table"), tmp_path / "done", {"layer": "gru:4"},
                monkeypatch=monkeypatch)  # fmt: skip
    with pytest.raises(BundleError, match="got a finished one"):
        tt.resume(run.path, show=False)


def test_a_corrupt_checkpoint_is_one_line(tmp_path, monkeypatch):
    out = interrupted(tmp_path, monkeypatch)
    file = out / "checkpoint" / "state.pt"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    broken = [b"", whole[:20], whole[:100], whole[:-1], whole + b"x", b"\x80\x04N.", bytes(500)]
    for place in rng.integers(len(whole), size=40):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        broken.append(bytes(flipped))
    for content in broken:
        file.write_bytes(content)
        with pytest.raises(BundleError) as caught:
            tt.resume(out, show=False)
        assert "\n" not in str(caught.value)
        assert "expected a " in str(caught.value)
    file.write_bytes(whole)
    go_on(out, monkeypatch)


def test_a_checkpoint_of_another_model_is_one_line(tmp_path, monkeypatch):
    out = interrupted(tmp_path, monkeypatch)
    content = checkpoint.load(out)
    for spoil in (
        lambda c: c["model"].pop("head.bias"),
        lambda c: c["model"].update({"head.bias": torch.zeros(1)}),
        lambda c: c.pop("recent"),
        lambda c: c["course"].update(pace=3),
        lambda c: c.update(carried=[]),
        lambda c: c.update(random=torch.zeros(3, dtype=torch.uint8)),
    ):
        spoiled = {**content, "model": dict(content["model"]), "course": dict(content["course"])}
        spoil(spoiled)
        checkpoint.save(out, spoiled)
        with pytest.raises(BundleError, match="that does not fit") as caught:
            tt.resume(out, show=False)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    checkpoint.save(tmp_path, {"trap": Trap()})
    with pytest.raises(BundleError):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "checkpoint").write_text("in the way")
    with pytest.raises(BundleError, match="expected to write a checkpoint into"):
        checkpoint.save(tmp_path, {})


def test_rows_of_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    for step in (10, 20, 30):
        file.add(dict.fromkeys(MetricsFile.COLUMNS, 0.5) | {"step": step})
    whole = path.read_text()
    with path.open("a") as more:
        more.write("2")
    MetricsFile(path, 20)
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:3])
    MetricsFile(path)
    assert path.read_text() == whole.splitlines(keepends=True)[0]
