"""Windows: every step once, in order, with resets where sequences start and nowhere else."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.windows import Buckets, Example, Lanes, Window, walk
from throughtime.errors import DataError, OptionError, ShapeError

LENGTHS = st.lists(st.integers(1, 23), min_size=1, max_size=6)


def example(length: int, first: int = 0, *, whole: bool = True, restart: int | None = None):
    """Each step's input is its own number; the target is the number after it."""
    numbers = np.arange(first, first + length)
    starts = np.zeros(length, dtype=bool)
    starts[:1] = True
    if restart is not None:
        starts[restart % length] = True
    if whole:
        return Example(numbers, numbers + 1, starts)
    inputs = np.stack([numbers, -numbers], axis=1).astype(np.float32)
    return Example(inputs, (inputs[:, :1] + 1).astype(np.float32), starts)


def tape(lengths: list[int], *, whole: bool = True, restart: int | None = None) -> list[Example]:
    begins = np.cumsum([0, *lengths[:-1]])
    return [
        example(n, int(first), whole=whole, restart=restart)
        for n, first in zip(lengths, begins, strict=True)
    ]


def numbers(window: Window, lane: int) -> np.ndarray:
    inputs = window.inputs[lane, : window.lengths[lane]]
    return (inputs if inputs.ndim == 1 else inputs[:, 0]).astype(int)


def check_padding(window: Window) -> None:
    absent = np.arange(window.inputs.shape[1]) >= window.lengths[:, None]
    assert window.lengths.dtype == np.int64
    assert window.resets.dtype == bool
    assert not window.inputs[absent].any()
    assert not window.resets[absent].any()
    whole = window.targets.dtype.kind == "i"
    filler = window.targets[absent]
    assert (filler == -1).all() if whole else np.isnan(filler).all()
    there = window.targets[~absent]
    assert (there >= 0).all() if whole else not np.isnan(there).any()


@given(
    LENGTHS, st.integers(1, 9), st.integers(1, 11), st.integers(0, 5), st.integers(0, 3),
    st.booleans(), st.integers(0, 22),
)  # fmt: skip
def test_lanes_run_through_every_step_once_in_order(
    lengths, lanes, steps, seed, epoch, whole, restart
):
    total = sum(lengths)
    lanes = min(lanes, total)
    examples = tape(lengths, whole=whole, restart=restart)
    plan = Lanes(examples, lanes, steps, seed)
    windows = [plan.window(epoch, cursor) for cursor in range(len(plan))]
    starts = np.concatenate([e.starts for e in examples])
    seen = []
    for window in windows:
        check_padding(window)
    for lane in range(lanes):
        read = np.concatenate([numbers(window, lane) for window in windows])
        resets = np.concatenate([w.resets[lane, : w.lengths[lane]] for w in windows])
        targets = np.concatenate(
            [w.targets[lane, : w.lengths[lane]].reshape(w.lengths[lane]) for w in windows]
        )
        # Window k goes on where window k - 1 ended, around the tape's end where need be.
        assert (np.diff(read) % total == 1 % total).all()
        assert (targets == read + 1).all()
        # The state starts afresh where a sequence does, in the first column, and nowhere else.
        wanted = starts[read]
        wanted[:1] = True
        assert (resets == wanted).all()
        # No window is cut short on the way: only the last with steps in it may be.
        counts = [int(window.lengths[lane]) for window in windows]
        full = [n for n in counts if n]
        assert all(n == steps for n in full[:-1])
        assert counts[: len(full)] == full
        seen.append(read)
    assert sorted(np.concatenate(seen)) == list(range(total))
    assert max(map(len, seen)) == plan.lane_steps


@given(LENGTHS, st.integers(1, 4), st.integers(1, 7), st.integers(0, 9), st.integers(0, 3))
def test_a_window_is_a_pure_function_of_seed_epoch_and_cursor(lengths, lanes, steps, seed, epoch):
    lanes = min(lanes, sum(lengths))
    for make in (
        lambda: Lanes(tape(lengths), lanes, steps, seed),
        lambda: Buckets(tape(lengths), lanes, seed),
    ):
        used, fresh = make(), make()
        for cursor in reversed(range(len(used))):
            used.window(epoch + 1, cursor)
            before = np.random.get_state()[1].copy()
            pairs = zip(used.window(epoch, cursor), fresh.window(epoch, cursor), strict=True)
            assert all(np.array_equal(a, b) for a, b in pairs)
            assert (np.random.get_state()[1] == before).all()


def test_epochs_and_seeds_cut_the_tape_elsewhere():
    firsts = {
        (seed, epoch): int(Lanes(tape([500]), 1, 10, seed).window(epoch, 0).inputs[0, 0])
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(firsts.values())) == len(firsts)


def test_writing_into_a_window_leaves_the_data_alone():
    examples = tape([7, 5])
    for plan in (Lanes(examples, 2, 4, 0), Buckets(examples, 2, 0)):
        plan.window(0, 0).inputs[:] = 99
        plan.window(0, 0).resets[:] = True
    for _, window in walk(examples, lanes=2, steps=4):
        window.inputs[:] = 99
        window.resets[:] = True
    assert [e.inputs.tolist() for e in examples] == [list(range(7)), list(range(7, 12))]
    assert [int(e.starts.sum()) for e in examples] == [1, 1]


@given(LENGTHS, st.integers(1, 4), st.integers(0, 5), st.integers(0, 3), st.integers(0, 22))
def test_buckets_yield_each_sequence_whole_and_once(lengths, lanes, seed, epoch, restart):
    examples = tape(lengths, restart=restart)
    plan = Buckets(examples, lanes, seed)
    found = []
    for cursor in range(len(plan)):
        window = plan.window(epoch, cursor)
        check_padding(window)
        assert 1 <= len(window.lengths) <= lanes
        assert window.inputs.shape[1] == window.lengths.max()
        for lane, length in enumerate(window.lengths):
            found.append(numbers(window, lane).tolist())
            which = next(e for e in examples if e.inputs[0] == found[-1][0])
            assert (window.resets[lane, :length] == which.starts).all()
            assert (window.targets[lane, :length] == which.targets).all()
    assert sorted(found) == [e.inputs.tolist() for e in examples]


def test_buckets_batch_sequences_of_about_one_length_and_shuffle_the_batches():
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, 200, 64)]
    plan = Buckets(tape(lengths), 8, 0)
    windows = [plan.window(0, cursor) for cursor in range(len(plan))]
    padding = sum(w.inputs.size - w.lengths.sum() for w in windows) / sum(lengths)
    assert padding < 0.2
    order = [int(w.lengths.max()) for w in windows]
    assert order != sorted(order)
    assert order != [int(plan.window(1, cursor).lengths.max()) for cursor in range(len(plan))]


@given(
    st.lists(st.integers(0, 23), min_size=0, max_size=6), st.integers(1, 4), st.integers(1, 9),
    st.booleans(), st.integers(0, 22),
)  # fmt: skip
def test_walk_goes_through_whole_sequences_in_order(lengths, lanes, steps, whole, restart):
    examples = [
        example(n, 100 * i, whole=whole, restart=restart if n else None)
        for i, n in enumerate(lengths)
    ]
    read: dict[int, list[int]] = {i: [] for i in range(len(lengths))}
    resets: dict[int, list[bool]] = {i: [] for i in range(len(lengths))}
    batches: list[np.ndarray] = []
    for batch, window in walk(examples, lanes=lanes, steps=steps):
        check_padding(window)
        assert len(batch) <= lanes
        assert window.inputs.shape[1] <= steps
        if not batches or batches[-1] is not batch:
            # A batch is left only when all its sequences are read.
            assert all(len(read[int(i)]) == lengths[int(i)] for old in batches for i in old)
            batches.append(batch)
        for lane, index in enumerate(batch):
            read[int(index)] += numbers(window, lane).tolist()
            resets[int(index)] += window.resets[lane, : window.lengths[lane]].tolist()
    assert read == {i: list(range(100 * i, 100 * i + n)) for i, n in enumerate(lengths)}
    assert resets == {i: e.starts.tolist() for i, e in enumerate(examples)}


def test_what_makes_no_plan_is_refused():
    with pytest.raises(OptionError, match="lanes and steps of 1 or more, got 0 and 3"):
        Lanes(tape([4]), 0, 3, 0)
    with pytest.raises(DataError, match="4 steps for 5 lanes"):
        Lanes(tape([4]), 5, 3, 0)
    with pytest.raises(OptionError, match="lanes of 1 or more, got 0"):
        Buckets(tape([4]), 0, 0)
    with pytest.raises(DataError, match="sequences to batch, got none"):
        Buckets([], 2, 0)
    whole = example(4)
    with pytest.raises(ShapeError, match="one length T, got 4, 3 and 4"):
        dataclasses.replace(whole, targets=whole.targets[1:])
    with pytest.raises(DataError, match="start at step 0"):
        Lanes([whole, dataclasses.replace(whole, starts=np.zeros(4, dtype=bool))], 2, 3, 0)
