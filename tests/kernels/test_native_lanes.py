"""What a lane computes is its own affair: no bit of it depends on other lanes or on where time is
cut. Each test holds for float32 and for bfloat16 products."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runs import (
    CELLS,
    GRADIENTS,
    SIZES,
    assert_agree,
    assert_same,
    conditions_here,
    loss_of,
    make_case,
    native,
    needs_library,
    run_with_gradients,
    under,
)

pytestmark = needs_library


def kinds_here():
    """Conditions, and whether products are of bfloat16."""
    for conditions in conditions_here():
        yield conditions, False
    for conditions in conditions_here(bfloat16=True):
        yield conditions, True


def some_lanes(case, index):
    """The same call with only some of the lanes, in another order maybe."""
    return case._replace(
        x=case.x[index],
        state=tuple(leaf[index] for leaf in case.state),
        restart=tuple(leaf[index] for leaf in case.restart),
        lengths=None if case.lengths is None else case.lengths[index],
        resets=None if case.resets is None else case.resets[index],
    )


def per_lane(case, dy, dends, *, bfloat16):
    """Outputs, ends and the gradients that belong to a lane, given those of outputs and ends."""
    leaves = [leaf.clone().requires_grad_() for leaf in (case.x, *case.state, *case.restart)]
    many = len(case.state)
    called = case._replace(
        x=leaves[0], state=tuple(leaves[1 : 1 + many]), restart=tuple(leaves[1 + many :])
    )
    results = native(called, bfloat16=bfloat16)
    gradients = torch.autograd.grad(
        results, leaves, [dy, *dends], allow_unused=True, materialize_grads=True
    )
    names = ["y", "end 0", "end 1"][: len(results)] + [f"d {i}" for i in range(len(leaves))]
    return dict(zip(names, (*results, *gradients), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_a_lane_is_bit_equal_in_any_company(cell):
    @settings(max_examples=15)
    @given(SIZES, st.data())
    def check(sizes, data):
        case = make_case(cell, **sizes)
        lanes = len(case.x)
        if not lanes:
            return
        order = data.draw(st.permutations(range(lanes)))
        index = torch.tensor(order[: data.draw(st.integers(1, lanes))])
        units = case.layer.hidden_size
        dy = torch.randn(lanes, sizes["steps"], units)
        dends = [torch.randn(lanes, units) for _ in case.state]
        for conditions, bfloat16 in kinds_here():
            with under(conditions):
                whole = per_lane(case, dy, dends, bfloat16=bfloat16)
                part = per_lane(
                    some_lanes(case, index),
                    dy[index],
                    [each[index] for each in dends],
                    bfloat16=bfloat16,
                )
            assert_same(part, {name: each[index] for name, each in whole.items()}, conditions)

    check()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lanes", [13, 60])
def test_a_lane_among_many_long_ones_is_bit_equal_to_itself_alone(cell, lanes):
    # Enough work for several chunks and for a second thread, which one lane alone does not get.
    steps, units = 40, 34
    case = make_case(cell, lanes, steps, 7, units, lengths="some", resets="some")
    dy = torch.randn(lanes, steps, units)
    dends = [torch.randn(lanes, units) for _ in case.state]
    for conditions, bfloat16 in kinds_here():
        with under(conditions):
            whole = per_lane(case, dy, dends, bfloat16=bfloat16)
            for lane in (0, lanes // 2, lanes - 1):
                index = torch.tensor([lane])
                alone = per_lane(
                    some_lanes(case, index),
                    dy[index],
                    [each[index] for each in dends],
                    bfloat16=bfloat16,
                )
                assert_same(alone, {name: each[index] for name, each in whole.items()}, conditions)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_not_there(cell):
    # A lane of length n among longer ones is a sequence of n steps.
    case = make_case(cell, 9, 12, 5, 20, lengths="some", resets="some")
    dy = torch.randn(9, 12, 20)
    dends = [torch.randn(9, 20) for _ in case.state]
    for conditions, bfloat16 in kinds_here():
        with under(conditions):
            whole = per_lane(case, dy, dends, bfloat16=bfloat16)
            for lane, length in enumerate(case.lengths.tolist()):
                index = torch.tensor([lane])
                cut = some_lanes(case, index)._replace(
                    x=case.x[index, :length], resets=case.resets[index, :length], lengths=None
                )
                ends = [each[index] for each in dends]
                alone = per_lane(cut, dy[index, :length], ends, bfloat16=bfloat16)
                for name, each in alone.items():
                    wanted = whole[name][index]
                    if each.dim() == 3:
                        assert not wanted[:, length:].any(), (name, conditions)
                        wanted = wanted[:, :length]
                    assert torch.equal(each, wanted), (name, lane, conditions, bfloat16)


def in_chunks(cuts):
    """A run that carries the state from cut to cut; gradients flow through."""

    def run(case, *, bfloat16=False):
        lanes, steps, _ = case.x.shape
        lengths = torch.full((lanes,), steps) if case.lengths is None else case.lengths
        pieces, state = [], case.state
        for start, stop in pairwise(sorted({0, steps, *cuts})):
            y, *state = native(
                case._replace(
                    x=case.x[:, start:stop],
                    state=tuple(state),
                    lengths=(lengths - start).clamp(0, stop - start),
                    resets=None if case.resets is None else case.resets[:, start:stop],
                ),
                bfloat16=bfloat16,
            )
            pieces.append(y)
        return (torch.cat(pieces, 1) if pieces else case.x.new_zeros(lanes, 0, 1), *state)

    return run


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_is_bit_equal_to_its_chunks(cell):
    @settings(max_examples=15)
    @given(SIZES.filter(lambda sizes: sizes["steps"] > 1), st.sets(st.integers(0, 11), max_size=4))
    def check(sizes, cuts):
        case, cuts = make_case(cell, **sizes), {min(cut, sizes["steps"]) for cut in cuts}
        for conditions, bfloat16 in kinds_here():
            with under(conditions), torch.no_grad():
                whole = native(case, bfloat16=bfloat16)
                parts = in_chunks(cuts)(case, bfloat16=bfloat16)
            for got, wanted in zip(parts, whole, strict=True):
                assert torch.equal(got, wanted), (conditions, bfloat16)

    check()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", [(1, 900, 3, 33), (30, 50, 9, 40)])
def test_chunks_of_our_own_are_bit_equal_to_the_kernels(cell, sizes):
    # The kernel cuts time where a chunk fits the cache; cutting elsewhere must change nothing.
    case = make_case(cell, *sizes, resets="some")
    cuts = range(0, sizes[1], 7)
    for conditions, bfloat16 in kinds_here():
        with under(conditions), torch.no_grad():
            whole = native(case, bfloat16=bfloat16)
            parts = in_chunks(cuts)(case, bfloat16=bfloat16)
        for got, wanted in zip(parts, whole, strict=True):
            assert torch.equal(got, wanted), (conditions, bfloat16)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_flow_through_a_cut(cell):
    case = make_case(cell, 6, 9, 4, 19, lengths="some", resets="some")
    for conditions in conditions_here():
        with under(conditions):
            whole = run_with_gradients(native, case)
            parts = run_with_gradients(in_chunks([0, 1, 4, 5, 8]), case)
        assert_agree(parts, whole, outputs=0.0, gradients=GRADIENTS, where=conditions)


@pytest.mark.parametrize("cell", CELLS)
def test_what_follows_a_reset_is_a_fresh_run(cell):
    case = make_case(cell, 4, 10, 3, 18)
    reset = torch.zeros(4, 10, dtype=torch.bool)
    reset[:, 6] = True
    poisoned = case.x.clone()
    poisoned[:, :6] = torch.nan
    for conditions, bfloat16 in kinds_here():
        with under(conditions):
            fresh_x = case.x[:, 6:].clone().requires_grad_()
            fresh = native(case._replace(x=fresh_x, state=case.restart), bfloat16=bfloat16)
            x = poisoned.clone().requires_grad_()
            y, *end = native(case._replace(x=x, resets=reset), bfloat16=bfloat16)
            assert torch.equal(y[:, 6:], fresh[0])
            for got, wanted in zip(end, fresh[1:], strict=True):
                assert torch.equal(got, wanted)
            (dx,) = torch.autograd.grad(loss_of((y[:, 6:], *end)), x)
            (fresh_dx,) = torch.autograd.grad(loss_of(fresh), fresh_x)
        assert torch.equal(dx[:, 6:], fresh_dx), conditions
