"""One step by the native library, from plain weights and by a stepper that keeps its lanes' states.

A stepper is called here through the C interface as it is, which is all that it has to keep to.
"""

import ctypes
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runs import (
    CELLS,
    SIZES,
    Conditions,
    assert_agree,
    cell_layer,
    make_case,
    native,
    needs_library,
    reference,
    sets_here,
    under,
)

from throughtime import kernels
from throughtime.kernels import library
from throughtime.kernels.native import step
from throughtime.kernels.operators import view_of_layer

pytestmark = needs_library


def address(tensor):
    return None if tensor is None else tensor.data_ptr()


class Stepper:
    """The calls of a stepper, with tensors."""

    def __init__(self, layer, lanes, restart=()):
        weights = (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        view, self.kept = view_of_layer(layer.cell, False, *weights)
        h, c = (*map(address, restart), None, None)[:2]
        self.library, self.size = library.load(), (lanes, layer.hidden_size)
        self.at = self.library.tt_stepper_new(ctypes.byref(view), lanes, h, c)
        assert self.at

    def state(self):
        """Copies of the states of all lanes."""
        places = self.library.tt_stepper_h(self.at), self.library.tt_stepper_c(self.at)
        many = self.size[0] * self.size[1]
        return [
            torch.tensor((ctypes.c_float * many).from_address(place)).view(self.size)
            for place in places
            if place
        ]

    def put(self, *leaves):
        for place, leaf in zip(
            (self.library.tt_stepper_h(self.at), self.library.tt_stepper_c(self.at)),
            leaves,
            strict=False,
        ):
            ctypes.memmove(place, leaf.contiguous().data_ptr(), 4 * leaf.numel())

    def call(self, x, which=None, resets=None):
        """The outputs, and what the library returns."""
        y = torch.full((len(x), self.size[1]), torch.nan)
        given = [None if each is None else each.contiguous() for each in (which, x, resets)]
        done = self.library.tt_stepper_step(self.at, len(x), *map(address, given), address(y))
        return y, done

    def step(self, x, which=None, resets=None):
        y, done = self.call(x, which, resets)
        assert done == 0
        return y


@contextmanager
def stepper(*arguments):
    made = Stepper(*arguments)
    try:
        yield made
    finally:
        made.library.tt_stepper_free(made.at)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_from_plain_weights_is_the_update(cell):
    @settings(max_examples=30)
    @given(SIZES)
    def check(sizes):
        case = make_case(cell, **{**sizes, "steps": 1, "lengths": None, "resets": None})
        y, *end = reference(case.double())
        expected = {"y": y[:, 0]} | {f"end {place}": leaf for place, leaf in enumerate(end)}
        state = type(case.layer.initial_state(1))(*case.state)
        for name in sets_here():
            with under(Conditions(name)), torch.no_grad():
                got_y, got = step(case.layer, case.x[:, 0], state)
            leaves = {f"end {place}": leaf for place, leaf in enumerate(got)}
            assert_agree({"y": got_y} | leaves, expected, where=name)
            for leaf, before in zip(state, case.state, strict=True):
                assert torch.equal(leaf, before)

    check()


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_the_public_layer_is_its_update(cell):
    layer = cell_layer(cell, 5, 18, learned_initial_state=True)
    torch.nn.init.normal_(layer.initial)
    x, reset = torch.randn(4, 5), torch.tensor([True, False, False, True])
    state = type(layer.initial_state(1))(*(torch.randn(4, 18) for _ in layer.initial_state(1)))
    results = []
    for backend in ("reference", "native"):
        with kernels.use(backend), torch.no_grad():
            y, end = layer.step(x, state, reset=reset)
        results.append((y, *end))
    for wanted, got in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_lane_steps_alike_in_any_company(cell):
    case = make_case(cell, 23, 1, 9, 37)
    kind = type(case.layer.initial_state(1))
    for name in sets_here():
        with under(Conditions(name)), torch.no_grad():
            y, end = step(case.layer, case.x[:, 0], kind(*case.state))
            alone, alone_end = step(
                case.layer, case.x[7:8, 0], kind(*(leaf[7:8] for leaf in case.state))
            )
        assert torch.equal(alone[0], y[7]), name
        for leaf, wanted in zip(alone_end, end, strict=True):
            assert torch.equal(leaf[0], wanted[7]), name


@pytest.mark.parametrize("cell", CELLS)
def test_a_stepper_is_bit_equal_to_the_sequence(cell):
    @settings(max_examples=15)
    @given(SIZES.filter(lambda sizes: sizes["lanes"] > 0))
    def check(sizes):
        # One restart for all lanes: a stepper has no more.
        case = make_case(cell, **{**sizes, "lengths": None})
        restart = tuple(leaf[:1] for leaf in case.restart)
        case = case._replace(restart=tuple(leaf.expand(len(case.x), -1) for leaf in restart))
        for name in sets_here():
            with under(Conditions(name)), torch.no_grad():
                y, *end = native(case)
                with stepper(case.layer, len(case.x), restart) as made:
                    made.put(*case.state)
                    for t in range(case.x.shape[1]):
                        resets = None if case.resets is None else case.resets[:, t]
                        assert torch.equal(made.step(case.x[:, t], None, resets), y[:, t]), name
                    for got, wanted in zip(made.state(), end, strict=True):
                        assert torch.equal(got, wanted), name

    check()


@pytest.mark.parametrize("cell", CELLS)
def test_only_the_lanes_that_are_named_step(cell):
    @settings(max_examples=10)
    @given(st.sampled_from([1, 7, 50, 101]), st.data())
    def check(lanes, data):
        case = make_case(cell, lanes, 3, 5, 19)
        restart = tuple(leaf[:1].contiguous() for leaf in case.restart)
        kind = type(case.layer.initial_state(1))
        order = data.draw(st.permutations(range(lanes)))
        which = torch.tensor(order[: data.draw(st.integers(0, lanes))], dtype=torch.int64)
        resets = torch.rand(len(which)) < 0.4
        before = [
            torch.where(resets[:, None], restart[i], leaf[which])
            for i, leaf in enumerate(case.state)
        ]
        for name in sets_here():
            with under(Conditions(name)), torch.no_grad():
                wanted, end = step(case.layer, case.x[which, 0], kind(*before))
                with stepper(case.layer, lanes, restart) as made:
                    made.put(*case.state)
                    y = made.step(case.x[which, 0], which, resets)
                    state = made.state()
            torch.testing.assert_close(y, wanted, rtol=2e-6, atol=2e-6)
            others = torch.ones(lanes, dtype=torch.bool)
            others[which] = False
            for got, leaf, was in zip(state, end, case.state, strict=True):
                torch.testing.assert_close(got[which], leaf, rtol=2e-6, atol=2e-6)
                assert torch.equal(got[others], was[others]), name
            assert torch.equal(state[0][which], y)

    check()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("learned", [False, True])
def test_a_stepper_starts_and_restarts_from_the_state_it_was_made_with(cell, learned):
    case = make_case(cell, 3, 1, 4, 18)
    restart = tuple(leaf[:1].contiguous() for leaf in case.restart) if learned else ()
    wanted = restart or [torch.zeros(1, 18) for _ in case.state]
    for name in sets_here():
        with under(Conditions(name)), stepper(case.layer, 3, restart) as made:
            for got, leaf in zip(made.state(), wanted, strict=True):
                assert torch.equal(got, leaf.expand(3, -1)), name
            first = made.step(case.x[:, 0])
            assert not torch.equal(made.step(case.x[:, 0])[0], first[0])
            flags = torch.tensor([True, False, True])
            again = made.step(case.x[:, 0], None, flags)
        assert torch.equal(again[flags], first[flags]), name
        assert not torch.equal(again[1], first[1]), name


@pytest.mark.parametrize("cell", CELLS)
def test_a_nan_stays_in_its_lane_of_a_stepper_until_it_restarts(cell):
    case = make_case(cell, 20, 1, 4, 18)
    x = case.x[:, 0].clone()
    with stepper(case.layer, 20) as clean, stepper(case.layer, 20) as made:
        wanted = clean.step(x)
        x[11, 2] = torch.nan
        y = made.step(x)
        others = torch.arange(20) != 11
        assert y[11].isnan().all()
        assert torch.equal(y[others], wanted[others])
        resets = torch.ones(20, dtype=torch.bool)
        assert torch.equal(made.step(case.x[:, 0], None, resets), wanted)


@pytest.mark.parametrize("lanes", [[0, 3], [-1], [1, 2, 1], [2**62], [0, 1, 2, 0]], ids=str)
def test_lanes_that_are_not_there_or_named_twice_are_refused_before_anything_is_done(lanes):
    case, which = make_case("lstm", 4, 1, 4, 18), torch.tensor(lanes)
    for name in sets_here():
        with under(Conditions(name)), stepper(case.layer, 3) as made:
            made.put(*(leaf[:3] for leaf in case.state))
            y, done = made.call(case.x[: len(which), 0], which, torch.ones(4, dtype=torch.bool))
            assert done
            assert y.isnan().all(), name
            for leaf, before in zip(made.state(), case.state, strict=True):
                assert torch.equal(leaf, before[:3]), name
            # It is no worse for it.
            made.step(case.x[:3, 0], torch.tensor([2, 0, 1]))


def test_more_rows_than_lanes_are_refused():
    case = make_case("gru", 4, 1, 4, 18)
    with stepper(case.layer, 3) as made:
        assert made.call(case.x[:, 0])[1]


def test_a_stepper_stays_with_the_kernels_that_made_it():
    case = make_case("lstm", 3, 2, 4, 18)
    for made_by in sets_here():
        for later in sets_here():
            with under(Conditions(made_by)), stepper(case.layer, 3) as made:
                wanted = [made.step(case.x[:, t]) for t in range(2)]
            with under(Conditions(made_by)):
                made = Stepper(case.layer, 3)
            with under(Conditions(later)):
                for t in range(2):
                    assert torch.equal(made.step(case.x[:, t]), wanted[t]), (made_by, later)
                made.library.tt_stepper_free(made.at)


def test_freeing_no_stepper_is_harmless():
    library.load().tt_stepper_free(None)
