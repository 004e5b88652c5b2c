import itertools
from typing import NamedTuple

import pytest
import torch
import torch.utils._pytree as pytree
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from throughtime import state as states
from throughtime.errors import BundleError, StateError
from throughtime.layers import GRU, LSTM, Stack
from throughtime.layers.gru import GRUState
from throughtime.layers.lstm import LSTMState
from throughtime.layers.noise import Noise


def example(lanes, seed=0):
    """A tree of every kind of node and of several dtypes and ranks."""
    draw = torch.Generator().manual_seed(seed)
    whole = torch.randint(-(2**62), 2**62, (2, lanes), generator=draw)
    return (
        LSTMState(*torch.randn(2, lanes, 3, generator=draw)),
        (torch.randn(lanes, 2, 2, generator=draw, dtype=torch.float64), Noise(*whole)),
        {"flag": torch.rand(lanes, generator=draw) < 0.5},
    )


def same(a, b):
    assert pytree.tree_structure(a) == pytree.tree_structure(b)
    pairs = list(zip(states.leaves(a), states.leaves(b), strict=True))
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


lane_counts = st.integers(1, 6)
indices = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=8))
)


@given(lane_counts)
def test_a_split_state_joins_to_itself(lanes):
    state = example(lanes)
    parts = states.split(state)
    assert [states.lanes(part) for part in parts] == [1] * lanes
    assert same(states.cat(parts), state)


@given(indices)
def test_take_is_indexing_of_each_leaf(case):
    lanes, index = case
    state, at = example(lanes), torch.tensor(index, dtype=torch.int64)
    assert same(states.take(state, at), pytree.tree_map(lambda leaf: leaf[index], state))


@given(st.permutations(range(5)))
def test_an_inverse_permutation_gives_a_state_back(order):
    state, order = example(5), torch.tensor(order)
    assert same(states.take(states.take(state, order), order.argsort()), state)


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_what_is_put_can_be_taken_and_the_rest_stays(case):
    lanes, places = case
    index = torch.tensor(sorted(places), dtype=torch.int64)
    rest = torch.tensor(sorted(set(range(lanes)) - places), dtype=torch.int64)
    state, other = example(lanes, seed=1), example(len(places), seed=2)
    result = states.put(state, index, other)
    assert same(states.take(result, index), other)
    assert same(states.take(result, rest), states.take(state, rest))
    assert same(state, example(lanes, seed=1))


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_where_takes_whole_lanes(mask):
    mask = torch.tensor(mask)
    yes, no = example(len(mask), seed=1), example(len(mask), seed=2)
    result = states.where(mask, yes, no)
    for chosen, source in ((mask, yes), (~mask, no)):
        index = chosen.nonzero().flatten()
        assert same(states.take(result, index), states.take(source, index))


def test_where_lets_no_nan_and_no_gradient_through():
    kept = torch.ones(2, 1, requires_grad=True)
    dropped = torch.full((2, 1), torch.nan, requires_grad=True)
    states.where(torch.tensor([True, True]), kept, dropped).sum().backward()
    assert kept.grad.tolist() == [[1.0], [1.0]]
    assert dropped.grad.tolist() == [[0.0], [0.0]]


def test_detach_keeps_the_values_and_cuts_the_graph():
    state = states.tree_map(
        lambda leaf: leaf.requires_grad_() if leaf.is_floating_point() else leaf, example(2)
    )
    cut = states.detach(state)
    assert same(cut, example(2))
    assert not any(leaf.requires_grad for leaf in states.leaves(cut))


def test_a_cast_leaves_whole_numbers_alone():
    moved = states.to(example(2), dtype=torch.float16)
    kinds = [leaf.dtype for leaf in states.leaves(moved)]
    assert kinds == [torch.float16] * 3 + [torch.int64] * 2 + [torch.bool]
    assert same(states.to(example(2), device="cpu"), example(2))


def test_zeros_like_keeps_the_spec():
    zeros = states.zeros_like(example(3))
    assert states.spec(zeros) == states.spec(example(3))
    assert not any(leaf.any() for leaf in states.leaves(zeros))


def test_names_are_paths_and_the_spec_leaves_lanes_out():
    assert states.names(example(2)) == ["0.h", "0.c", "1.0", "1.1.seed", "1.1.step", "2.flag"]
    assert states.names(torch.ones(2)) == ["state"]
    assert states.spec(example(2)) == states.spec(example(5))
    assert states.spec(example(2))[2] == ("1.0", (2, 2), "float64")


@pytest.mark.parametrize(
    "state", [(torch.ones(2, 1), torch.ones(3, 1)), torch.tensor(1.0), ()], ids=str
)
def test_leaves_that_disagree_on_lanes_are_refused(state):
    with pytest.raises(StateError, match=r"one B, got .*; make states with initial_state"):
        states.lanes(state)


def test_nothing_can_not_be_joined():
    with pytest.raises(StateError, match="at least one state"):
        states.cat([])


AWKWARD = [0.0, -0.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_saved_state_comes_back_bit_for_bit(tmp_path, dtype):
    state = (GRUState(torch.tensor([AWKWARD, AWKWARD[::-1]]).to(dtype)), example(2))
    states.save(state, tmp_path / "s", fingerprint="model")
    like = (GRUState(torch.zeros(1, len(AWKWARD), dtype=dtype)), example(1))
    back = states.load(tmp_path / "s", like=like, fingerprint="model")
    assert pytree.tree_structure(back) == pytree.tree_structure(state)
    for a, b in zip(states.leaves(state), states.leaves(back), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def test_a_view_with_strides_and_a_graph_is_saved_as_its_values(tmp_path):
    state = GRUState(torch.randn(6, 4, requires_grad=True)[::2].flip(1) * 2)
    states.save(state, tmp_path / "s", fingerprint="m")
    back = states.load(tmp_path / "s", like=GRUState(torch.zeros(1, 4)), fingerprint="m")
    assert torch.equal(back.h, state.h)
    assert not back.h.requires_grad


@pytest.fixture
def saved(tmp_path):
    layer = Stack([GRU(3, 4), LSTM(4, 2)])
    states.save(layer.initial_state(2), tmp_path / "state", fingerprint="f" * 64)
    return layer, tmp_path / "state"


def test_a_state_of_another_model_is_refused(saved):
    layer, path = saved
    with pytest.raises(BundleError, match="state of model eeeeeeeeeeee, got one of ffffffffffff"):
        states.load(path, like=layer.initial_state(1), fingerprint="e" * 64)


def test_a_state_of_another_tree_is_refused(saved):
    _, path = saved
    other = Stack([LSTM(3, 4), LSTM(4, 2)])
    with pytest.raises(BundleError, match=r"expected a state of .*got"):
        states.load(path, like=other.initial_state(1), fingerprint="f" * 64)


def test_every_truncation_is_refused(saved):
    layer, path = saved
    content = path.read_bytes()
    for size in itertools.chain(range(0, 40), range(40, len(content), 29), [len(content) - 1]):
        path.write_bytes(content[:size])
        with pytest.raises(BundleError):
            states.load(path, like=layer.initial_state(1), fingerprint="f" * 64)


def test_a_file_of_somebody_else_is_refused(saved):
    layer, path = saved
    save_file({"h": torch.ones(2)}, path)
    with pytest.raises(BundleError, match="written by throughtime"):
        states.load(path, like=layer.initial_state(1), fingerprint="f" * 64)


def test_a_missing_file_is_named(saved):
    layer, path = saved
    with pytest.raises(BundleError, match="missing"):
        states.load(path / ".." / "missing", like=layer.initial_state(1), fingerprint="f")


def test_a_crash_while_writing_leaves_the_old_state_whole(saved, monkeypatch):
    layer, path = saved
    before = path.read_bytes()

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr("throughtime.state.os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        states.save(layer.initial_state(3), path, fingerprint="f" * 64)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


class OwnState(NamedTuple):
    """A state class that is registered by a test."""

    h: Tensor


def test_a_registered_state_class_has_a_name_in_saved_graphs():
    assert states.register(OwnState) is OwnState
    tree = pytree.tree_structure(OwnState(torch.ones(1)))
    assert pytree.treespec_loads(pytree.treespec_dumps(tree)) == tree
