"""The linear recurrence is its float64 fold, on all instruction sets and threads, and in layers."""

import pytest
import torch
from hypothesis import given, settings
from linear_runs import (
    KINDS,
    SIZES,
    Case,
    Gated,
    Rotating,
    as_real,
    loss_of,
    make_case,
    poisoned_memory,
    run,
    weighted,
    with_gradients,
)
from native_runs import assert_agree, assert_same, conditions_here, needs_library, under

import throughtime as tt
from throughtime.errors import ShapeError
from throughtime.kernels import linear, linear_recurrence
from throughtime.recurrent import LinearRecurrent
from throughtime.testing import check_recurrent


def assert_native_is_the_fold(case: Case, threads: tuple[int, ...] = (1, 2)) -> None:
    expected = with_gradients(case.wide())
    for conditions in (each for each in conditions_here() if each.threads in threads):
        with under(conditions), poisoned_memory():
            assert_agree(with_gradients(case), expected, where=conditions)


@needs_library
@settings(max_examples=80)
@given(SIZES)
def test_the_kernel_is_the_fold(sizes):
    assert_native_is_the_fold(make_case(**sizes))


@needs_library
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("sizes", [(1, 1350, 200), (5, 300, 190), (300, 9, 110)])
@pytest.mark.parametrize(("lengths", "resets"), [(None, None), ("some", "some")])
def test_what_threads_share_is_the_fold(dtype, sizes, lengths, resets):
    assert_native_is_the_fold(make_case(dtype, *sizes, lengths=lengths, resets=resets), (2,))


@pytest.mark.parametrize("dtype", KINDS)
def test_the_reference_in_float32_is_the_fold_in_float64(dtype):
    case = make_case(dtype, 4, 9, 5, lengths="some", resets="some")
    with tt.kernels.use("reference"):
        assert_agree(with_gradients(case), with_gradients(case.wide()))


@needs_library
@pytest.mark.parametrize("dtype", KINDS)
def test_a_long_run_is_its_chunks(dtype):
    case = make_case(dtype, 2, 50_000, 3, resets="some")
    # Resets far apart, so that much is carried over the cuts.
    case = case._replace(resets=case.resets & (torch.rand(case.resets.shape) < 0.001))
    whole = with_gradients(case)
    with torch.no_grad():
        assert_agree(
            {name: whole[name] for name in ("h", "end")},
            dict(zip(("h", "end"), map(as_real, run(case.wide())), strict=True)),
        )
    case = Case(*(each.requires_grad_() for each in case[:4]), *case[4:])
    state, pieces, total = case.state, [], 0
    for first, last in ((0, 1), (1, 20_000), (20_000, 20_000), (20_000, 50_000)):
        part = case._replace(a=case.a[:, first:last], b=case.b[:, first:last], state=state)
        h, state = run(part._replace(resets=case.resets[:, first:last]))
        total = total + weighted(h, 0, first)
        pieces.append(h)
    total = total + weighted(state, 1)
    gradients = torch.autograd.grad(total, case[:4])
    names = ("h", "end", "d a", "d b", "d state", "d restart")
    found = (torch.cat(pieces, dim=1).detach(), state.detach(), *gradients)
    chunked = dict(zip(names, map(as_real, found), strict=True))
    # Gradients of what the reset goes to are added up in another order.
    assert_agree(chunked, whole, outputs=0.0)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_nothing_comes_out_of_the_padding(dtype, backend, garbage):
    case = make_case(dtype, 5, 8, 19, lengths="some", resets="some")
    absent = ~(torch.arange(8) < case.lengths[:, None])
    dirty = case._replace(
        a=case.a.masked_fill(absent[:, :, None], garbage),
        b=case.b.masked_fill(absent[:, :, None], garbage),
        resets=case.resets | absent,
    )
    with tt.kernels.use(backend):
        expected, got = with_gradients(case), with_gradients(dirty)
        assert_same(got, expected)
        assert all(not each[absent].any() for each in (got["h"], got["d a"], got["d b"]))
        # Nor out of the gradient that stands there.
        b = case.b.clone().requires_grad_()
        h, _ = run(case._replace(b=b))
        weights = torch.ones_like(h).masked_fill(absent[:, :, None], garbage)
        (gradient,) = torch.autograd.grad(h, b, weights)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_lane_without_steps_keeps_its_state(backend):
    case = make_case(torch.float32, 3, 5, 7, lengths="none", resets="all")
    with tt.kernels.use(backend):
        got = with_gradients(case)
    assert torch.equal(got["end"], case.state)
    assert not got["h"].any()
    assert not got["d restart"].any()


@needs_library
@pytest.mark.parametrize("dtype", KINDS)
def test_strides_change_nothing(dtype):
    case = make_case(dtype, 3, 6, 20, lengths="some", resets="some")
    expected = with_gradients(case)

    def scattered(tensor):
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)

    def half(tensor):
        return torch.cat([tensor, tensor + 1], dim=-1).chunk(2, dim=-1)[0]

    def every_other(tensor):
        return torch.stack([tensor, tensor + 1], dim=-1)[..., 0]

    def conjugated(tensor):
        return tensor.conj().resolve_conj().conj()

    for change in (scattered, half, every_other, conjugated):
        given = [change(each) if each.dim() > 1 else each for each in case[:4]]
        assert not dtype.is_complex or change is not conjugated or given[0].is_conj()
        leaves = [each.requires_grad_() if each.is_leaf else each for each in given]
        h, end = run(Case(*leaves, case.lengths, case.resets.t().contiguous().t()))
        assert_same({"h": as_real(h), "end": as_real(end)}, {k: expected[k] for k in ("h", "end")})
        got = with_gradients(Case(*given, *case[4:]))
        assert_same(got, expected)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 1, 7), (1, 5, 1), ()])
def test_factors_and_restart_broadcast(dtype, backend, shape):
    case = make_case(dtype, 3, 5, 7, resets="some")
    a = (0.9 * torch.ones(shape) * torch.rand(shape)).to(dtype).requires_grad_()
    restart = case.restart[0].clone().requires_grad_()
    with tt.kernels.use(backend):
        results = run(case._replace(a=a, restart=restart))
        got = torch.autograd.grad(loss_of(results), (a, restart))
        full = case._replace(a=a.expand(3, 5, 7), restart=restart.expand(3, 7))
        expected = with_gradients(full)
    assert torch.equal(as_real(results[0]), expected["h"])
    for gradient, name in zip(got, ("d a", "d restart"), strict=True):
        wanted = expected[name].double()
        if dtype.is_complex:
            wanted = torch.view_as_complex(wanted)
        torch.testing.assert_close(
            gradient, wanted.sum_to_size(gradient.shape).to(dtype), rtol=1e-5, atol=1e-5
        )


@needs_library
def test_what_no_gradient_is_wanted_of_has_none():
    case = make_case(torch.float32, 3, 5, 7, resets="some")
    wide = case.wide()
    for place in range(4):
        found = []
        for each in (case, wide):
            leaf = each[place].clone().requires_grad_()
            _, end = run(Case(*each[:place], leaf, *each[place + 1 :]))
            found.append(torch.autograd.grad(loss_of((end,)), leaf)[0])
        torch.testing.assert_close(found[0].double(), found[1], rtol=1e-5, atol=1e-5)


@needs_library
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    ("lengths", "resets"), [(None, None), ("some", None), (None, "some"), ("some", "some")]
)
def test_gradients_have_gradients(dtype, lengths, resets):
    case = make_case(dtype, 3, 6, 5, lengths=lengths, resets=resets)
    found = []
    for each in (case, case.wide()):
        leaves = [part.clone().requires_grad_() for part in each[:4]]
        options = {"allow_unused": True, "materialize_grads": True}
        total = loss_of(run(Case(*leaves, *each[4:]))).square()
        first = torch.autograd.grad(total, leaves, create_graph=True, **options)
        total = sum(as_real(part).square().sum() for part in first)
        found.append([*first, *torch.autograd.grad(total, leaves, **options)])
    for got, wanted in zip(*found, strict=True):
        scale = 1 + wanted.detach().abs().max()
        assert ((got - wanted).abs() <= 1e-5 * scale).all()


@needs_library
@pytest.mark.parametrize("dtype", KINDS)
def test_the_operators_are_sound(dtype):
    case = make_case(dtype, 2, 4, 5, lengths="some", resets="some")
    leaves = [each.requires_grad_() for each in case[:4]]
    torch.library.opcheck(torch.ops.throughtime.linear.default, (*leaves, *case[4:]))
    torch.library.opcheck(torch.ops.throughtime.linear.default, (*leaves[:3], None, None, None))
    plain = [each.detach() for each in case[:4]]
    h, end = run(Case(*plain, *case[4:]))
    arguments = (torch.ones_like(h), torch.ones_like(end), plain[0], h, *plain[2:], *case[4:])
    torch.library.opcheck(torch.ops.throughtime.linear_backward.default, arguments)


@needs_library
def test_a_compiled_graph_serves_every_length():
    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    for steps in (5, 9):
        case = make_case(torch.float32, 3, steps, 7, lengths="some", resets="some")
        leaves = [each.requires_grad_() for each in case[:4]]
        found = []
        for way in (run, compiled):
            results = way(Case(*leaves, *case[4:]))
            found.append([*results, *torch.autograd.grad(loss_of(results), leaves)])
        for got, wanted in zip(*found, strict=True):
            assert torch.equal(got, wanted)


def way_of(h):
    """Which backend made a result that has a gradient."""
    return "native" if "throughtime_linear" in type(h.grad_fn).__name__ else "reference"


@needs_library
def test_the_kernel_runs_where_it_can(monkeypatch):
    case = make_case(torch.float32, 2, 3, 4)
    case.b.requires_grad_()
    assert way_of(run(case)[0]) == "native"
    assert way_of(run(case.wide())[0]) == "reference"
    with tt.kernels.use("reference"):
        assert way_of(run(case)[0]) == "reference"
    assert linear.reason_against(*case[:4]) is None
    assert "and this is float64" in linear.reason_against(case.wide().a)
    assert "and this is on meta" in linear.reason_against(case.a.to("meta"))
    assert run(case._replace(**{k: getattr(case, k).to("meta") for k in Case._fields[:4]}))
    monkeypatch.setattr(linear.native, "missing", lambda: "it is not there")
    assert linear.reason_against(case.a) == "no native kernels: it is not there"
    assert way_of(run(case)[0]) == "reference"


@pytest.mark.parametrize(
    ("a", "b", "state", "kept"),
    [
        (torch.bfloat16, torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float32, torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.complex64, torch.float32, torch.complex64),
        (torch.float32, torch.float32, torch.float64, torch.float64),
    ],
)
def test_numbers_are_as_wide_as_the_widest_and_float32_at_least(a, b, state, kept):
    results = linear_recurrence(
        torch.ones(4, dtype=a), torch.ones(2, 3, 4, dtype=b), torch.ones(2, 4, dtype=state)
    )
    assert {result.dtype for result in results} == {kept}
    assert torch.equal(results[1].real, torch.full((2, 4), 4.0, dtype=results[1].real.dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": torch.ones(3, 4)}, r"b as \(B, T, N\) and state as \(B, N\), got \(3, 4\) and"),
        ({"state": torch.ones(3, 4)}, r"got \(2, 3, 4\) and \(3, 4\); lanes go first"),
        ({"a": torch.ones(2, 3, 5)}, r"a as \(B, T, N\) = \(2, 3, 4\) .*, got \(2, 3, 5\)"),
        ({"a": torch.ones(1, 2, 3, 4)}, r"or what broadcasts to it, got \(1, 2, 3, 4\)"),
        ({"lengths": torch.tensor([1.0, 2.0])}, r"int64 with B = 2, got \(2,\) torch.float32"),
        ({"lengths": torch.tensor([1, 4])}, "between 0 and T = 3, got 1 to 4"),
        ({"lengths": torch.tensor([-1, 3])}, "between 0 and T = 3, got -1 to 3"),
        ({"resets": torch.ones(2, 3)}, r"\(B, T\) bool = \(2, 3\), got \(2, 3\) torch.float32"),
        ({"resets": torch.ones(2, 3, dtype=torch.bool)}, "restart beside resets, got None"),
        (
            {"resets": torch.ones(2, 3, dtype=torch.bool), "restart": torch.ones(3, 4)},
            r"restart as \(B, N\) = \(2, 4\)",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    given = {"a": torch.ones(2, 3, 4), "b": torch.ones(2, 3, 4), "state": torch.ones(2, 4)} | change
    with pytest.raises(ShapeError, match=message):
        linear_recurrence(given.pop("a"), given.pop("b"), given.pop("state"), **given)


@pytest.mark.parametrize(
    "make", [Gated, lambda: Gated(learned=True), Rotating], ids=["gated", "learned", "rotating"]
)
def test_layers_on_the_kernel_obey_the_laws(make):
    report = check_recurrent(make(), batch_size=2, steps=4)
    assert [row.law for row in report.rows] == list(range(1, 9))


@needs_library
@pytest.mark.parametrize("kind", [Gated, Rotating])
def test_a_layer_runs_all_steps_in_one_call(kind):
    layer, x = kind(), torch.randn(2, 6, 3)
    lengths, resets = torch.tensor([6, 3]), torch.rand(2, 6) < 0.5
    calls = []
    layer.coefficients = lambda x: calls.append(x.shape) or kind.coefficients(layer, x)
    y, end = layer(x, lengths=lengths, resets=resets)
    assert calls == [(2, 6, 3)]
    assert isinstance(layer, LinearRecurrent)
    assert end.shape == (2, layer.state_size)
    assert not y[1, 3:].any()
