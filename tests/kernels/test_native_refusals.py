"""What the native kernels refuse: they write through plain pointers, where anything fits."""

import pytest
import torch
from native_runs import make_case, native, needs_library

from throughtime import kernels
from throughtime.errors import ThroughtimeError
from throughtime.layers import GRU
from throughtime.layers.gru import GRUState

pytestmark = needs_library


@pytest.mark.parametrize(
    "lengths",
    [
        torch.tensor([6, 1, 2]),
        torch.tensor([5, -1, 2]),
        torch.tensor([2**62, 2**62, 2**62]),
        torch.tensor([5, 1, 2], dtype=torch.int32),
        torch.tensor([5, 1]),
        torch.tensor([[5, 1, 2]]),
    ],
    ids=lambda lengths: f"{lengths.tolist()}_{lengths.dtype}",
)
def test_lengths_that_are_not_lengths_are_refused(lengths):
    # A layer checks lengths, but not while it is compiled.
    case = make_case("gru", 3, 5, 4, 18, lengths="some")
    with pytest.raises(ThroughtimeError, match="lengths"):
        native(case._replace(lengths=lengths))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("place", ["x", "state", "restart"])
def test_numbers_of_another_type_are_refused(place, dtype):
    case = make_case("lstm", 3, 5, 4, 18, resets="some")
    if place == "x":
        case = case._replace(x=case.x.to(dtype))
    else:
        case = case._replace(**{place: tuple(leaf.to(dtype) for leaf in getattr(case, place))})
    with pytest.raises(ThroughtimeError, match="float32"):
        native(case)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_parameters_of_another_type_or_size_are_refused(name):
    for wrong in (lambda p: p.double(), lambda p: p[:-1], lambda p: p[None]):
        case = make_case("gru", 3, 5, 4, 18)
        parameter = wrong(getattr(case.layer, name).detach())
        setattr(case.layer, name, torch.nn.Parameter(parameter))
        with pytest.raises(ThroughtimeError, match=name):
            native(case)


@pytest.mark.parametrize("part", ["state", "restart"])
def test_states_of_another_size_are_refused(part):
    case = make_case("lstm", 3, 5, 4, 18, resets="some")
    for wrong in (lambda s: s[:2], lambda s: s[:, :17], lambda s: s[None], lambda s: s[:0]):
        h, c = getattr(case, part)
        for leaves in ((wrong(h), c), (h, wrong(c))):
            with pytest.raises(ThroughtimeError, match="expected"):
                native(case._replace(**{part: leaves}))


@pytest.mark.parametrize(
    "resets",
    [
        torch.zeros(3, 4, dtype=torch.bool),
        torch.zeros(2, 5, dtype=torch.bool),
        torch.zeros(3, dtype=torch.bool),
        torch.zeros(3, 5),
    ],
    ids=lambda resets: f"{tuple(resets.shape)}_{resets.dtype}",
)
def test_resets_that_are_not_resets_are_refused(resets):
    case = make_case("gru", 3, 5, 4, 18, resets="some")
    with pytest.raises(ThroughtimeError, match="resets"):
        native(case._replace(resets=resets))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", ["forward", "step"])
def test_a_state_of_another_type_does_in_a_layer_what_it_does_in_the_reference(dtype, how):
    layer, x = GRU(3, 18), torch.randn(4, 5, 3)
    state = GRUState(torch.randn(4, 18).to(dtype))

    def result(backend):
        with kernels.use(backend), torch.no_grad():
            try:
                y, end = layer(x, state) if how == "forward" else layer.step(x[:, 0], state)
            except RuntimeError:
                return None
        return y.float(), end.h.float()

    wanted, got = result("reference"), result("native")
    assert (wanted is None) == (got is None)
    if wanted is not None:
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)
