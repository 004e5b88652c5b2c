"""The native kernels as torch operators: whatever autograd and tracing may ask of them."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from native_runs import (
    CELLS,
    OF_BFLOAT16,
    Conditions,
    assert_agree,
    assert_same,
    cell_layer,
    loss_of,
    make_case,
    native,
    needs_library,
    reference,
    run_with_gradients,
    sets_here,
    under,
)

from throughtime import kernels

pytestmark = needs_library

SIZES = (5, 7, 3, 18)


def ragged(cell):
    return make_case(cell, *SIZES, lengths="some", resets="some")


def with_leaves(case):
    """The case on leaves that want gradients, and these leaves."""
    leaves = [leaf.clone().requires_grad_() for leaf in (case.x, *case.state, *case.restart)]
    many = len(case.state)
    called = case._replace(
        x=leaves[0], state=tuple(leaves[1 : 1 + many]), restart=tuple(leaves[1 + many :])
    )
    return called, [*leaves, *case.layer.parameters()]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, "some"])
def test_backward_again_with_retain_graph_gives_the_same(cell, lengths):
    case, leaves = with_leaves(make_case(cell, *SIZES, lengths=lengths, resets="some"))
    loss = loss_of(native(case))
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for keep in (True, True, False):
        again = torch.autograd.grad(loss, leaves, retain_graph=keep)
        assert all(map(torch.equal, first, again))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("cell", CELLS)
def test_two_losses_of_one_run_add_up(cell):
    case, leaves = with_leaves(ragged(cell))
    y, *end = native(case)
    parts = (y.square().sum(), sum(leaf.square().sum() for leaf in end))
    one, other = (torch.autograd.grad(part, leaves, retain_graph=True) for part in parts)
    both = torch.autograd.grad(sum(parts), leaves)
    for place, whole in enumerate(both):
        torch.testing.assert_close(one[place] + other[place], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_each_input_alone_gets_the_gradient_that_it_gets_among_all(cell):
    case, leaves = with_leaves(ragged(cell))
    together = torch.autograd.grad(loss_of(native(case)), leaves)
    for place, leaf in enumerate(leaves):
        for other in leaves:
            other.requires_grad_(other is leaf)
        (alone,) = torch.autograd.grad(loss_of(native(case)), [leaf])
        assert torch.equal(alone, together[place]), place


@pytest.mark.parametrize(
    ("cell", "part"), [*((cell, part) for cell in CELLS for part in (0, 1)), ("lstm", 2)]
)
def test_a_loss_of_one_result_alone(cell, part):
    case = ragged(cell)

    def only(run):
        return lambda case: (run(case)[part],)

    expected = run_with_gradients(only(reference), case.double())
    assert_agree(run_with_gradients(only(native), case), expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, "some"])
def test_inputs_of_any_layout(cell, lengths):
    case = make_case(cell, *SIZES, lengths=lengths, resets="some")
    lanes, steps, features, _ = SIZES

    def strided(tensor):
        wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), 99)
        wide[..., ::2] = tensor
        return wide[..., ::2]

    layouts = (
        case._replace(x=case.x.transpose(0, 1).contiguous().transpose(0, 1)),
        case._replace(x=strided(case.x), resets=case.resets.t().contiguous().t()),
        case._replace(state=tuple(map(strided, case.state))),
        case._replace(restart=tuple(leaf.t().contiguous().t() for leaf in case.restart)),
    )
    if lengths:
        layouts += (case._replace(lengths=strided(case.lengths)),)
    expected, _ = with_leaves(case)
    expected = torch.autograd.grad(loss_of(native(expected)), list(case.layer.parameters()))
    wanted = native(case)
    for layout in layouts:
        results = native(layout)
        assert all(map(torch.equal, results, wanted))
        gradients = torch.autograd.grad(loss_of(results), list(case.layer.parameters()))
        assert all(map(torch.equal, gradients, expected))
    # One state for all lanes, and one step for all times, without copies.
    shared = case._replace(
        x=case.x[:, :1].expand(lanes, steps, features),
        state=tuple(leaf[:1].expand_as(leaf) for leaf in case.state),
    )
    dense = shared._replace(
        x=shared.x.contiguous(), state=tuple(leaf.contiguous() for leaf in shared.state)
    )
    assert_same(run_with_gradients(native, shared), run_with_gradients(native, dense))
    # Weights, too.
    layer = copy.deepcopy(case.layer)
    for name in ("weight_ih", "weight_hh"):
        weight = getattr(layer, name).detach()
        setattr(layer, name, torch.nn.Parameter(weight.t().contiguous().t()))
    assert all(map(torch.equal, native(case._replace(layer=layer)), wanted))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_results_may_have_any_layout(cell):
    case, leaves = with_leaves(ragged(cell))
    y, *end = native(case)
    dy = torch.randn(y.shape[1], y.shape[0], y.shape[2]).transpose(0, 1)
    dends = [torch.randn(leaf.shape[::-1]).t() for leaf in end]
    got = torch.autograd.grad([y, *end], leaves, [dy, *dends], retain_graph=True)
    dense = [each.contiguous() for each in (dy, *dends)]
    assert all(map(torch.equal, got, torch.autograd.grad([y, *end], leaves, dense)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("resets", [None, "some"])
@pytest.mark.parametrize("lengths", [None, "some"])
def test_nothing_that_was_given_is_changed(cell, lengths, resets):
    case, leaves = with_leaves(make_case(cell, *SIZES, lengths=lengths, resets=resets))
    given = [*leaves, case.lengths, case.resets]
    before = [None if each is None else each.detach().clone() for each in given]
    results = native(case)
    kept = [result.detach().clone() for result in results]
    gradients = [torch.randn_like(result) for result in results]
    kept_gradients = [each.clone() for each in gradients]
    torch.autograd.grad(results, leaves, gradients, allow_unused=True)
    for each, was in zip(given, before, strict=True):
        assert each is None or torch.equal(each, was)
    assert all(map(torch.equal, results, kept))
    assert all(map(torch.equal, gradients, kept_gradients))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_work_in_eval_mode_and_with_frozen_weights(cell):
    layer = cell_layer(cell, 3, 18).eval()
    x = torch.randn(4, 6, 3, requires_grad=True)
    with kernels.use("native"):
        (in_eval,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
        layer.train().requires_grad_(False)
        (frozen,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
    with kernels.use("reference"):
        (expected,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
    assert torch.equal(in_eval, frozen)
    torch.testing.assert_close(in_eval, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_second_derivative_is_refused_in_one_line(cell):
    layer, x = cell_layer(cell, 3, 18), torch.randn(2, 3, 3, requires_grad=True)

    def penalty():
        (dx,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        dx.square().sum().backward()

    def hessian():
        torch.autograd.functional.hessian(lambda x: layer(x)[0].square().sum(), x)

    for second in (penalty, hessian):
        with (
            kernels.use("native"),
            pytest.raises(RuntimeError, match=r'tt\.kernels\.use\("reference"\)') as caught,
        ):
            second()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("lengths", "resets"), [(None, None), ("some", "some")])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_operators_keep_the_rules_of_torch(cell, lengths, resets, bfloat16):
    if bfloat16 and not sets_here(OF_BFLOAT16):
        pytest.skip("this machine does not multiply bfloat16")
    case, _ = with_leaves(make_case(cell, *SIZES, lengths=lengths, resets=resets))
    layer = case.layer
    restart = case.restart if resets else (None,) * len(case.restart)
    h, c = (*case.state, None)[:2]
    weights = (layer.weight_ih, layer.weight_hh)
    given = (case.x, h, c, *weights, layer.bias_ih, layer.bias_hh, *(*restart, None)[:2])
    given += (case.lengths, case.resets, cell, bfloat16, True)
    # Rows beyond those that are there are never written, so two runs may differ in them.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.throughtime.sequence, given, test_utils=checks)
    results = [each.detach() for each in torch.ops.throughtime.sequence(*given)]
    y, h_end, c_end, gates, c_before = results
    kept = (case.x, h, given[7], y, gates, c_before, *weights, case.lengths, case.resets)
    ends = (torch.randn_like(h_end), torch.randn_like(c_end) if c is not None else None)
    plain = [each.detach() if isinstance(each, torch.Tensor) else each for each in kept]
    torch.library.opcheck(
        torch.ops.throughtime.sequence_backward,
        (torch.randn_like(y), *ends, *plain, cell, bfloat16, True, True),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize(
    ("backend", "cells"),
    [("aot_eager", ["lstm"]), pytest.param("inductor", CELLS, marks=pytest.mark.slow)],
)
def test_a_compiled_model_takes_other_numbers_of_steps_without_compiling_again(backend, cells):
    program = Path(__file__).with_name("native_compiled.py")
    command = [sys.executable, str(program), backend, *cells]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [f"{cell}: 1 graphs, 1 native, 3 lengths" for cell in cells]
    assert done.stdout.splitlines() == wanted


def test_kernels_in_several_python_threads_do_not_disturb_each_other():
    sizes = {"lstm": (9, 20, 8, 48), "gru": (5, 31, 3, 33), "rnn_tanh": (3, 50, 8, 65)}
    some = [make_case(c, *s, lengths="some", resets="some") for c, s in sizes.items()] * 4
    conditions = [Conditions(sets_here()[-1], 2, pool) for pool in (True, False)]
    for each in conditions:
        with under(each):
            expected = [run_with_gradients(native, case) for case in some]
            with ThreadPoolExecutor(3) as threads:
                runs = list(threads.map(lambda case: run_with_gradients(native, case), some))
        for got, wanted in zip(runs, expected, strict=True):
            assert_same(got, wanted, each)
