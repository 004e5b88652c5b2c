"""Sessions answer as a stream for each key does, whatever shares a tick, and none is mixed up."""

import math
from datetime import timedelta

import numpy as np
import pytest
import torch
from session_checks import agree
from streams import START, arriving, table, train

import throughtime as tt
from throughtime import kernels
from throughtime.errors import DataError, OptionError, ThroughtimeError
from throughtime.stream import Sessions, Stream
from throughtime.stream.slab import NativeSlab, Slab


def rounds(rows):
    """Rows in order as ticks: each as many as have different keys."""
    tick = {}
    for row in rows:
        key = row["unique_id"]
        if key in tick:
            yield tick
            tick = {}
        tick[key] = row
    yield tick


def check_against_streams(sessions, stream, ticks):
    """Compare every answer with that of a stream, and return all."""
    found = []
    for tick in ticks:
        answers = sessions.step(tick)
        assert list(answers) == list(tick)
        for key, row in tick.items():
            expected = stream.push(row)
            assert agree(answers[key], expected), (answers[key], expected)
        found.append(answers)
    return found


def rows_of(run, frame):
    """Rows as they would come, with late ones and empty cells among them."""
    rows = [row for row, _, _ in arriving(frame, run.task.read(frame))]
    return [*rows[:100], rows[20], rows[99], *rows[100:]]


def test_sessions_answer_as_a_stream_does(run, frame):
    sessions = Sessions(run, slots=3)
    assert isinstance(sessions._slab, NativeSlab)
    answers = check_against_streams(sessions, Stream(run), rounds(rows_of(run, frame)))
    notes = " ".join(each.get("note", "") for tick in answers for each in tick.values())
    for said in ("filled", "afresh", "y missing", "late row dropped", "duplicate row"):
        assert said in notes


def test_covariates_of_known_future_in_a_stack_with_dropout(wide_run, wide_frame):
    sessions = Sessions(wide_run, slots=3)
    assert isinstance(sessions._slab, NativeSlab)
    stream = Stream(wide_run)
    rows = rows_of(wide_run, wide_frame)
    for row in rows[::7]:
        row.pop("holiday@+2", None)
    check_against_streams(sessions, stream, rounds(rows))
    for key, lane in stream._lanes.items():
        slot = sessions._directory.slot(key)
        leaves = tt.state.leaves(lane.state)
        for leaf, own in zip(leaves, sessions._slab.leaves.values(), strict=False):
            np.testing.assert_allclose(own[slot], leaf[0].numpy(), rtol=1e-4, atol=1e-6)


def test_models_without_native_kernels_step_as_they_are(frame, tmp_path):
    run = train(frame, tmp_path / "run", layer="rg_lru:6:block+gru:5", learned_initial_state=True)
    sessions = Sessions(run, slots=3)
    assert type(sessions._slab) is Slab
    stream = Stream(run)
    for tick in rounds(rows_of(run, frame)):
        assert list(sessions.step(tick).values()) == [stream.push(row) for row in tick.values()]


def test_the_reference_is_the_stream_to_the_last_bit(run, frame):
    with kernels.use("reference"):
        sessions, stream = Sessions(run, slots=3), Stream(run)
        assert type(sessions._slab) is Slab
        for tick in rounds(rows_of(run, frame)[:150]):
            assert list(sessions.step(tick).values()) == [stream.push(row) for row in tick.values()]


PIECES = ["the quick ", "", "fox\r\n jumps", "x", "over ☃ the lazy dog " * 9, "\ufeffit", "sleeps."]


def test_texts_are_scored_as_a_stream_does(text_run):
    sessions = Sessions(text_run, slots=7)
    streams = [Stream(text_run) for _ in PIECES]
    for shift in (0, 1, 3, 2):
        tick = {f"text {i}": PIECES[(i + shift) % len(PIECES)] for i in range(len(PIECES))}
        answers = sessions.step({key: {"text": text} for key, text in tick.items()})
        for stream, (key, text) in zip(streams, tick.items(), strict=True):
            expected = stream.push({"text": text})
            assert agree(answers[key], {**expected, "unique_id": key})


def test_documents_of_their_own_begin_afresh(tmp_path):
    run = tt.fit("demo:reber", layer="gru:8", budget="2steps", out=tmp_path / "run", show=False)
    assert run.task.independent
    sessions, row = Sessions(run, slots=2), {"text": "BTXSE\n"}
    first = sessions.step({"a": row, "b": {"text": "BP"}})
    assert sessions.step({"a": row})["a"] == first["a"]
    assert agree(first["a"], {**Stream(run).push(row), "unique_id": "a"})


@pytest.fixture(scope="module")
def gaussian_run(frame, tmp_path_factory):
    return train(
        frame, tmp_path_factory.mktemp("normal") / "run", layer="lstm:7", head="gaussian", horizon=2
    )


@pytest.mark.parametrize("name", ["run", "wide_run", "gaussian_run", "reference", "text_run"])
def test_a_session_does_not_depend_on_who_is_ticked_with_it(name, request):
    run = request.getfixturevalue("run" if name == "reference" else name)
    random = np.random.default_rng(3)
    keys = [f"key {number}" for number in range(70)]
    ticks = [
        {key: some_row(run, random, tick) for key in keys if random.random() < 0.8}
        for tick in range(5)
    ]
    with kernels.use("reference" if name == "reference" else "native"):
        alone, together, mixed = (Sessions(run, slots=70) for _ in range(3))
    for rows in ticks:
        expected = {key: alone.step({key: row})[key] for key, row in rows.items()}
        assert together.step(rows) == expected
        order = [str(key) for key in random.permutation(list(rows))]
        found, left = {}, order
        while left:
            count = int(random.integers(1, 20))
            found |= mixed.step({key: rows[key] for key in left[:count]})
            left = left[count:]
        assert found == expected
    for name_of_leaf, leaf in alone._slab.leaves.items():
        for key in alone.keys:
            own = leaf[alone._directory.slot(key)]
            for other in (together, mixed):
                place = other._directory.slot(key)
                assert other._slab.leaves[name_of_leaf][place].tobytes() == own.tobytes()


def some_row(run, random, tick):
    if run.task.name == "language":
        return {"text": "the quick brown fox"[: random.integers(0, 19)]}
    # Some leave a gap, of as many steps as are filled or more.
    moment = START + timedelta(hours=int(10 * tick + random.integers(0, 8)))
    y = math.nan if random.random() < 0.1 else float(random.normal(5, 3))
    return {"ds": moment.isoformat(), "y": y, "load": float(random.normal())}


def test_a_planted_mix_up_is_noticed(run, frame, monkeypatch):
    step = NativeSlab._step

    def mixed(self, slots, inputs, resets):
        return step(self, np.roll(slots, 1), inputs, resets)

    monkeypatch.setattr(NativeSlab, "_step", mixed)
    with pytest.raises(AssertionError):
        check_against_streams(Sessions(run, slots=3), Stream(run), rounds(rows_of(run, frame)))


def test_a_refused_row_leaves_everything_as_it_was(run):
    sessions = Sessions(run, slots=2)
    sessions.step({"a": {"ds": "2024-02-01", "y": 1}, "b": {"ds": "2024-02-01", "y": 1}})
    before = {name: leaf.copy() for name, leaf in sessions._slab.leaves.items()}
    with pytest.raises(DataError, match="expected a number in column 'y'"):
        sessions.step({"b": {"ds": "2024-02-02", "y": 2}, "c": {"ds": "2024-02-02", "y": "high"}})
    assert sessions.keys == ("a", "b")
    assert sessions.pending == ()
    for name, leaf in sessions._slab.leaves.items():
        assert leaf.tobytes() == before[name].tobytes()


@pytest.mark.parametrize("key", ["", "k" * 257, "\ud800"], ids=["none", "long", "half"])
def test_what_can_be_no_key_is_refused(run, key):
    sessions = Sessions(run, slots=2)
    for call in (sessions.open, lambda key: sessions.push(key, {"ds": "2024-02-01", "y": 1})):
        with pytest.raises(OptionError, match="expected a key of 1 to 256 characters"):
            call(key)
    assert len(sessions) == 0


def test_arguments_out_of_range_are_refused(run, tmp_path, frame):
    with pytest.raises(OptionError, match="expected slots of 1 or more"):
        Sessions(run, slots=0)
    with pytest.raises(ThroughtimeError, match="expected free memory for 1,000,000,000,000,000"):
        Sessions(run, slots=10**15)
    for idle in (0.0, -1.0, math.nan):
        with pytest.raises(OptionError, match="expected idle above 0 seconds"):
            Sessions(run, idle=idle)
    sessions = Sessions(run, slots=1)
    rows = {key: {"ds": "2024-02-01", "y": 1} for key in ("a", "b")}
    with pytest.raises(OptionError, match="expected at most 1 sessions in a step"):
        sessions.step(rows)
    sessions.push("a", rows["a"])
    with pytest.raises(OptionError, match="expected one row of each session in a tick"):
        sessions.push("a", rows["a"])
    with pytest.raises(OptionError, match="tick first, or take more slots"):
        sessions.push("b", rows["b"])
    assert list(sessions.tick()) == ["a"]
    assert sessions.tick() == {}


def test_a_model_elsewhere_is_refused(run):
    loaded = tt.load(run.path)
    loaded.model.double()
    with pytest.raises(OptionError, match="expected a model in float32 on the CPU"):
        Sessions(loaded)


def test_torch_is_left_as_it_was(run):
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    Sessions(run, slots=2).step({"a": {"ds": "2024-02-01", "y": 1}})
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_a_table_with_many_keys_in_few_slots_comes_back_whole(tmp_path):
    """Sessions that went for want of room are brought back and go on as if they had stayed."""
    frame = table(keys=6, rows=70)
    run = train(frame, tmp_path / "run", layer="gru:5")
    rows = [row for row, _, _ in arriving(frame, run.task.read(frame))]
    kept, stream = {}, Stream(run)
    sessions = Sessions(run, slots=2, leaving=kept.__setitem__)
    for row in rows[:250]:
        key = row["unique_id"]
        if key in kept and key not in sessions:
            sessions.load(key, kept.pop(key))
        assert agree(sessions.step({key: row})[key], stream.push(row))
    assert len(kept) == 4
