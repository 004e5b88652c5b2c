"""A layer on its compiled recurrence is its equations in float64, whatever runs it."""

import copy
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_runs import poisoned_memory, weighted
from native_runs import assert_agree, assert_same, conditions_here, needs_library, under
from torch import Tensor, nn

import throughtime as tt
from throughtime.errors import ShapeError
from throughtime.kernels.gated import FEW_FEATURES, gated_of, run_gated
from throughtime.layers import HGRN, LRU, S5, MinGRU, make
from throughtime.recurrent import LinearRecurrent

NAMES = ("min_gru", "min_lstm", "rg_lru", "lru", "s5", "hgrn", "selective")
SIGNED = ("min_gru", "min_lstm", "rg_lru", "hgrn", "selective")


class Case(NamedTuple):
    """A layer, a call of it, and what resets go to."""

    layer: LinearRecurrent
    x: Tensor
    state: Tensor
    restart: Tensor
    lengths: Tensor | None
    resets: Tensor | None

    def wide(self) -> "Case":
        """The same in float64."""
        layer = copy.deepcopy(self.layer).double()
        return Case(layer, *(each.double() for each in self[1:4]), *self[4:])


def make_case(
    name: str,
    lanes: int = 3,
    steps: int = 19,
    features: int = 2,
    units: int = 21,
    *,
    negative: bool = False,
    lengths: str | None = None,
    resets: str | None = None,
    seed: int = 0,
) -> Case:
    """Draw a case. `lengths`: some, or none of the steps; `resets`: some, or all of them."""
    options: dict[str, object] = {"selective": {"states": 3}, "hgrn": {"lower_bound": 0.2}}.get(
        name, {}
    )
    if name == "rg_lru" and units % 3 == 0:
        options = {"groups": 3}
    if negative and name in SIGNED:
        options = {**options, "negative_eigenvalues": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = make(name, features, units, **options)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            # An angle of many turns has few digits left for where it ends, in any float32.
            if name == "s5":
                layer.frequency /= 20
            elif name == "lru":
                layer.log_angle -= 3
        state, restart = torch.randn(2, lanes, layer.state_size)
        share = {None: 0.0, "some": 0.3, "all": 1.0}[resets]
        flags = torch.rand(lanes, steps) < share
        counts = torch.randint(0, (0 if lengths == "none" else steps) + 1, (lanes,))
        return Case(
            layer,
            torch.randn(lanes, steps, features),
            state,
            restart,
            None if lengths is None else counts,
            None if resets is None else flags,
        )


def run(case: Case) -> tuple[Tensor, Tensor]:
    layer, x, state, restart, lengths, resets = case
    layer.restart = lambda state: restart
    return layer(x, state, lengths=lengths, resets=resets)


def with_gradients(case: Case) -> dict[str, Tensor]:
    """Everything that a run computes, by name: outputs, then gradients of all there are."""
    leaves = [each.detach().clone().requires_grad_() for each in case[1:4]]
    results = run(Case(case.layer, *leaves, *case[4:]))
    parameters = dict(case.layer.named_parameters())
    gradients = torch.autograd.grad(
        weighted(results[0]) + weighted(results[1], 1),
        [*leaves, *parameters.values()],
        allow_unused=True,
        materialize_grads=True,
    )
    names = ("h", "end", "d x", "d state", "d restart", *(f"d {name}" for name in parameters))
    found = (*results, *gradients)
    return {name: each.detach() for name, each in zip(names, found, strict=True)}


def in_sizes_of(expected: dict[str, Tensor], results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide by the largest number of each: sums over states that cancel are as exact as these."""
    sizes = {
        name: (1 + each.abs().amax()) if each.numel() else 1 for name, each in expected.items()
    }
    return {name: each.double() / sizes[name] for name, each in results.items()}


def assert_native_is_exact(case: Case, threads: tuple[int, ...] = (1, 2)) -> None:
    with tt.kernels.use("reference"):
        expected = with_gradients(case.wide())
    assert gated_of(case.layer, case.x, case.state) is not None
    for conditions in (each for each in conditions_here() if each.threads in threads):
        with under(conditions), poisoned_memory():
            got = with_gradients(case)
        if type(case.layer) in (LRU, S5):
            got, wanted = in_sizes_of(expected, got), in_sizes_of(expected, expected)
        else:
            wanted = expected
        assert_agree(got, wanted, where=conditions)


@needs_library
@settings(max_examples=120)
@given(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(NAMES),
            "lanes": st.sampled_from([1, 2, 3, 5, 0]),
            "steps": st.sampled_from([1, 2, 7, 8, 9, 0, 20]),
            "features": st.sampled_from([1, 2, 5, FEW_FEATURES, FEW_FEATURES + 1]),
            "units": st.sampled_from([1, 2, 3, 7, 15, 16, 17, 31, 33, 48]),
            "negative": st.booleans(),
            "lengths": st.sampled_from([None, "some", "none"]),
            "resets": st.sampled_from([None, "some", "all"]),
            "seed": st.integers(0, 9999),
        }
    )
)
def test_the_kernel_is_the_layer(sizes):
    assert_native_is_exact(make_case(**sizes))


@needs_library
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("features", [2, FEW_FEATURES + 4])
def test_every_kernel_is_its_layer(name, negative, features):
    case = make_case(name, features=features, negative=negative, lengths="some", resets="some")
    assert_native_is_exact(case)


@needs_library
@pytest.mark.parametrize("name", NAMES)
def test_what_threads_share_is_the_layer(name):
    case = make_case(name, 9, 130, 1, 130, lengths="some", resets="some")
    assert_native_is_exact(case, (2,))


@needs_library
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("features", [2, FEW_FEATURES + 4])
def test_nothing_comes_out_of_the_padding(name, features):
    case = make_case(name, 5, 21, features, lengths="some", resets="some")
    absent = ~(torch.arange(21) < case.lengths[:, None])
    dirty = case._replace(
        x=case.x.masked_fill(absent[:, :, None], float("nan")), resets=case.resets | absent
    )
    assert_same(with_gradients(dirty), with_gradients(case))
    # Nor out of the gradient that stands there.
    x = case.x.clone().requires_grad_()
    y, _ = run(case._replace(x=x))
    weights = torch.ones_like(y).masked_fill(absent[:, :, None], float("nan"))
    if name in ("min_gru", "min_lstm", "rg_lru", "hgrn", "selective"):
        (gradient,) = torch.autograd.grad(y, x, weights)
        assert gradient.isfinite().all()
        assert not gradient[absent].any()


@needs_library
@pytest.mark.parametrize("name", NAMES)
def test_a_lane_without_steps_keeps_its_state(name):
    case = make_case(name, lengths="none", resets="all")
    got = with_gradients(case)
    assert torch.equal(got["end"], case.state)
    assert not got["h"].any()
    assert not got["d restart"].any()


@needs_library
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), 1e30, float("inf")])
def test_what_is_not_finite_goes_through_as_in_torch(name, value):
    case = make_case(name, 2, 12, 1, 20)
    case.x[1, 9] = value
    got = with_gradients(case)
    with tt.kernels.use("reference"):
        expected = with_gradients(case)
    assert got["h"][0].isfinite().all()
    assert torch.equal(got["h"][1, :9], with_gradients(case)["h"][1, :9])
    if value != value:
        for key in ("h", "end", "d x", "d state"):
            assert torch.equal(got[key].isnan(), expected[key].isnan()), key
    assert torch.equal(got["end"].isfinite(), expected["end"].isfinite())


@needs_library
@pytest.mark.parametrize("name", NAMES)
def test_shut_and_open_gates_are_exact(name):
    case = make_case(name, 2, 12, 1, 20)
    for size in (30.0, 300.0):
        large = case._replace(x=case.x * size, state=0 * case.state)
        with torch.no_grad():
            got, _ = run(large)
            with tt.kernels.use("reference"):
                expected, _ = run(large.wide())
        scale = 1 + expected.abs().max()
        assert float((got - expected).abs().max() / scale) < 1e-6


@needs_library
@pytest.mark.parametrize("name", ["min_gru", "hgrn", "selective"])
def test_what_no_gradient_is_wanted_of_has_none(name):
    case, found = make_case(name, resets="some"), []
    for each in (case, case.wide()):
        state = each.state.clone().requires_grad_()
        _, end = run(each._replace(state=state))
        found.append(torch.autograd.grad(weighted(end), state)[0])
    torch.testing.assert_close(found[0].double(), found[1], rtol=1e-5, atol=1e-5)


@needs_library
def test_a_second_derivative_is_refused_and_the_reference_has_it():
    case = make_case("min_gru")
    x = case.x.clone().requires_grad_()

    def twice():
        (first,) = torch.autograd.grad(run(case._replace(x=x))[0].sum(), x, create_graph=True)
        return torch.autograd.grad(first.sum(), x)[0]

    with pytest.raises(RuntimeError, match=r"got a second derivative; use `with tt.kernels.use"):
        twice()
    with tt.kernels.use("reference"):
        assert twice().isfinite().all()


@needs_library
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("features", [2, FEW_FEATURES + 1])
def test_the_operator_is_sound(name, features):
    case = make_case(name, 2, 9, features, 5, lengths="some", resets="some")
    given = case.layer.compiled(case.x)

    def leaf(tensor):
        return tensor.detach().clone().requires_grad_()

    planes = [
        leaf(each.reshape(2, -1, given.states).transpose(1, 2))
        for each in (case.state, case.restart)
    ]
    constants = torch.zeros(0, 5) if given.constants is None else given.constants
    weight = None if given.weight is None else leaf(given.weight)
    fixed = (given.gates, given.scale, given.bound, given.epsilon)
    torch.library.opcheck(
        torch.ops.throughtime.gated.default,
        (
            *(leaf(given.x), weight, leaf(constants)),
            *((None, None) if given.leave is None else map(leaf, given.leave.parameters())),
            *(*planes, case.lengths, case.resets, *fixed),
        ),
    )


@needs_library
@pytest.mark.parametrize(("lanes", "steps", "outputs"), [(1, 200, 3), (35, 70, 40), (3, 0, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_matrix_behind_a_recurrence_is_a_product_with_its_output(lanes, steps, outputs, bias):
    case = make_case("hgrn", lanes, steps, lengths="some", resets="some")
    leave = nn.Linear(21, outputs, bias=bias)
    parameters = [*case.layer.parameters(), *leave.parameters()]
    own = {id(each) for each in case.layer.leave.parameters()}
    parameters = [each for each in parameters if id(each) not in own]
    within = torch.arange(steps) < case.lengths[:, None]
    found = []
    for apart in (False, True):
        x = case.x.clone().requires_grad_()
        given = case.layer.compiled(x)._replace(leave=None if apart else leave)
        y, end = run_gated(given, case.state, case.restart, case.lengths, case.resets)
        if apart:
            y = leave(y).masked_fill(~within[:, :, None], 0)
        loss = weighted(y) + weighted(end, 1)
        found.append([y, end, *torch.autograd.grad(loss, [x, *parameters])])
    for got, wanted in zip(*found, strict=True):
        size = 1 + float(wanted.detach().abs().max()) if wanted.numel() else 1.0
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-6 * size)


@needs_library
def test_which_threads_run_a_matrix_behind_a_recurrence_changes_nothing():
    case = make_case("hgrn", 35, 70, units=130, lengths="some")
    runs = []
    for conditions in conditions_here()[-3:]:
        with under(conditions):
            runs.append(with_gradients(case))
    for other in runs[1:]:
        assert_same(other, runs[0])


@needs_library
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(3, 41)}, r"weight as float32 \(3, 42\) in a native min_gru"),
        ({"x": torch.ones(2, 19, 2)}, r"x as float32 \(3, 19, 2\)"),
        ({"constants": torch.ones(1, 21)}, r"constants as float32 \(0, 21\)"),
        ({"weight": torch.ones(3, 42).double()}, r"got torch.float64 \(3, 42\)"),
        ({"leave": nn.Linear(21, 2)}, "no matrix behind a native min_gru"),
        ({"leave": nn.Linear(20, 2)}, r"leave_weight as float32 \(2, 21\)"),
    ],
)
def test_other_sizes_are_refused(change, message):
    case = make_case("min_gru")
    given = case.layer.compiled(case.x)._replace(**change)
    with pytest.raises(ShapeError, match=message), torch.no_grad():
        run_gated(given, case.state, None, None, None)


def compiled(layer, x=None):
    state = layer.initial_state(1)
    return gated_of(layer, torch.ones(1, 2, layer.input_size) if x is None else x, state)


class Halved(MinGRU):
    def coefficients(self, x):
        a, b = super().coefficients(x)
        return a / 2, b


class Named(MinGRU):
    pass


def test_a_layer_with_other_maths_is_not_its_parents_kernel():
    assert compiled(Named(3, 4)) is not None
    assert compiled(Halved(3, 4)) is None
    layer, x = Halved(3, 4), torch.randn(2, 5, 3)
    with tt.kernels.use("reference"):
        expected, _ = layer(x)
    torch.testing.assert_close(layer(x)[0], expected)


def test_a_layer_with_changed_parts_runs_as_written():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = HGRN(3, 4)
    assert compiled(layer) is not None
    layer.leave = Doubled(4, 4)
    assert compiled(layer) is None
    layer = HGRN(3, 4)
    layer.candidate.register_forward_hook(lambda module, given, result: 2 * result)
    assert compiled(layer) is None
    layer = MinGRU(3, 4)
    layer.coefficients = lambda x: (torch.zeros(4), torch.ones(1, 2, 4))
    assert compiled(layer) is None


def test_what_is_not_float32_runs_as_written():
    layer = MinGRU(3, 4)
    assert compiled(layer, torch.ones(1, 2, 3).double()) is None
    assert compiled(copy.deepcopy(layer).double()) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(layer) is None
