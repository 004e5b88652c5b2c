"""The native kernels compute what the reference does, on all instruction sets and threads."""

import pytest
import torch
from hypothesis import given, settings
from native_runs import (
    CELLS,
    SETS,
    SIZES,
    Conditions,
    assert_agree,
    assert_same,
    cell_layer,
    conditions_here,
    make_case,
    native,
    needs_bfloat16,
    needs_library,
    reference,
    run_with_gradients,
    sets_here,
    under,
)

from throughtime.kernels import library

pytestmark = needs_library


def assert_native_is_the_fold(case, **strictness):
    expected = run_with_gradients(reference, case.double())
    for conditions in conditions_here():
        with under(conditions):
            assert_agree(run_with_gradients(native, case), expected, where=conditions, **strictness)


@pytest.mark.parametrize("cell", CELLS)
def test_the_kernels_are_the_fold(cell):
    @settings(max_examples=30)
    @given(SIZES)
    def check(sizes):
        assert_native_is_the_fold(make_case(cell, **sizes))

    check()


@pytest.mark.parametrize(
    ("cell", "sizes"),
    [
        # Many lanes of wide rows: several chunks of time, and shards, with a tail in each.
        ("rnn_tanh", (33, 40, 5, 100)),
        ("rnn_relu", (21, 60, 17, 65)),
        ("lstm", (33, 11, 3, 100)),
        ("gru", (26, 14, 40, 72)),
        # One lane for longer than a chunk, and two of them, one for each thread.
        ("rnn_tanh", (1, 900, 33, 31)),
        ("lstm", (1, 500, 2, 33)),
        ("gru", (2, 700, 2, 17)),
    ],
)
@pytest.mark.parametrize(("lengths", "resets"), [(None, None), ("some", "some")])
def test_sequences_beyond_a_chunk_are_the_fold(cell, sizes, lengths, resets):
    case = make_case(cell, *sizes, lengths=lengths, resets=resets)
    if sizes[1] > 100 and resets:
        # Long stretches between resets, and one at each side of where chunks may meet.
        case = case._replace(resets=case.resets & (torch.rand(case.resets.shape) < 0.05))
    assert_native_is_the_fold(case, gradients=2e-6, sums=True)


@needs_bfloat16
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_long_sums_of_bfloat16_are_near_the_fold(cell):
    # More terms, and for weights more rows, than are summed up in one go.
    case = make_case(cell, 20, 30, 300, 80)
    with torch.no_grad():
        case.layer.weight_ih.mul_(0.06)
        case.layer.weight_hh.mul_(0.06)
    expected = run_with_gradients(reference, case.double())
    for conditions in conditions_here(bfloat16=True):
        with under(conditions):
            got = run_with_gradients(native, case, bfloat16=True)
        assert_agree(got, expected, outputs=2e-2, gradients=0.1, sums=True, where=conditions)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
@pytest.mark.parametrize(("lengths", "resets"), [(None, None), ("some", "some")])
def test_what_is_not_kept_for_backward_changes_nothing(cell, bfloat16, lengths, resets):
    case = make_case(cell, 7, 9, 3, 18, lengths=lengths, resets=resets)
    for conditions in conditions_here(bfloat16):
        with under(conditions), torch.no_grad():
            kept = native(case, bfloat16=bfloat16)
            free = native(case, bfloat16=bfloat16, keep=False)
        assert all(map(torch.equal, kept, free)), conditions


@pytest.mark.parametrize("cell", CELLS)
def test_conditions_change_no_bit_but_those_of_sums_over_lanes(cell):
    case = make_case(cell, 9, 40, 8, 48, lengths="some", resets="some")
    per_lane = ["y", "end 0", "d x", "d state 0", "d restart 0"]
    for name in sets_here():
        runs = []
        for kind in ((1, True), (2, True), (2, False)):
            with under(Conditions(name, *kind)):
                runs.append(run_with_gradients(native, case))
        for run in runs[1:]:
            assert_same({k: run[k] for k in per_lane}, {k: runs[0][k] for k in per_lane}, name)


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_a_reset_is_a_batch_of_single_steps(cell):
    lanes, steps, units = 3, 5, 18
    case = make_case(cell, lanes, steps, 4, units, resets="all")
    single = make_case(cell, lanes * steps, 1, 4, units)._replace(
        layer=case.layer,
        x=case.x.reshape(lanes * steps, 1, 4),
        state=tuple(leaf.repeat_interleave(steps, 0) for leaf in case.restart),
    )
    for conditions in conditions_here():
        with under(conditions), torch.no_grad():
            y, alone = native(case)[0], native(single)[0]
        assert torch.equal(y, alone.view_as(y)), conditions


@pytest.mark.parametrize("cell", CELLS)
def test_a_lane_of_length_zero_returns_its_state_bit_for_bit(cell):
    case = make_case(cell, 5, 4, 3, 18, lengths="some", resets="all")
    case = case._replace(lengths=torch.tensor([0, 4, 0, 2, 0]))
    for conditions in conditions_here():
        with under(conditions):
            y, *end = native(case)
        for after, before in zip(end, case.state, strict=True):
            assert torch.equal(after[::2], before[::2]), conditions
        assert not y[::2].any()
        assert not y[3, 2:].any()


@needs_bfloat16
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_products_are_near_the_fold(cell):
    @settings(max_examples=25)
    @given(SIZES)
    def check(sizes):
        case = make_case(cell, **sizes)
        if cell == "rnn_relu" and case.layer.bias_ih is not None:
            # Far from the kink, where rounding a sum would change a gradient from one to zero.
            with torch.no_grad():
                for weight in (case.layer.weight_ih, case.layer.weight_hh):
                    weight.mul_(0.1)
                case.layer.bias_ih.copy_(case.layer.bias_ih.sign() * 2)
        expected = run_with_gradients(reference, case.double())
        if cell == "rnn_relu" and case.layer.bias_ih is None:
            expected = {name: each for name, each in expected.items() if name[0] != "d"}
        for conditions in conditions_here(bfloat16=True):
            with under(conditions):
                got = run_with_gradients(native, case, bfloat16=True)
            got = {name: got[name] for name in expected}
            # Weights' gradients are sums over rows, of which each is rounded.
            loose = 5e-2 * (1 + sizes["lanes"] * sizes["steps"] / 16) ** 0.5
            assert_agree(got, expected, outputs=2e-2, gradients=loose, where=conditions)

    check()


def test_an_unknown_instruction_set_is_refused_and_the_one_in_use_stays():
    use = library.load().tt_use_instruction_set
    before = library.load().tt_instruction_set()
    for name in (b"", b"avx1024", b"AVX2"):
        assert use(name)
        assert library.load().tt_instruction_set() == before
    assert before.decode() == sets_here(SETS)[-1]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("learned", [False, True])
def test_the_public_layer_is_the_fold_of_itself(cell, learned):
    from throughtime import kernels

    layer = cell_layer(cell, 5, 18, learned_initial_state=learned)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    layer_64 = cell_layer(cell, 5, 18, learned_initial_state=learned).double()
    layer_64.load_state_dict(layer.state_dict())
    x = torch.randn(9, 12, 5)
    lengths = torch.tensor([12, 0, 1, 5, 12, 7, 3, 11, 2])
    resets = torch.rand(9, 12) < 0.3
    x[1] = torch.nan

    def results(layer, x, backend):
        with kernels.use(backend):
            assert layer.backend.startswith(backend)
            y, end = layer(x, lengths=lengths, resets=resets)
        loss = (y * torch.arange(9)[:, None, None]).sum() + sum(leaf.square().sum() for leaf in end)
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        names = [f"d {name}" for name, _ in layer.named_parameters()]
        return {"y": y} | dict(zip(names, gradients, strict=True))

    expected = results(layer_64, x.double(), "reference")
    assert_agree(results(layer, x, "native"), expected, gradients=2e-5)
