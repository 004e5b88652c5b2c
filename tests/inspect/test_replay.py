"""What is replayed of a run is what its steps computed, in our layers and in torch's modules."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime.errors import ShapeError
from throughtime.inspect import replay, run_patched
from throughtime.inspect.watch import watched
from throughtime.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Regularised,
    Stack,
    make,
    names,
)
from throughtime.model import ModelConfig, SequenceModel


def stepped(layer, x, state, resets=None):
    """The leaves of the state after each step, by name, from `step`."""
    seen = []
    for t in range(x.shape[1]):
        reset = None if resets is None else resets[:, t]
        _, state = layer.step(x[:, t], state, reset=reset)
        seen.append(dict(zip(tt.state.names(state), tt.state.leaves(state), strict=True)))
    return {name: torch.stack([step[name] for step in seen], 1) for name in seen[0]}


@pytest.mark.parametrize("name", [each for each in names() if each not in ("echo_state",)])
def test_states_are_those_of_the_steps(name):
    layer = make(name, 3, 8).eval()
    x, resets = torch.randn(2, 9, 3), torch.rand(2, 9) < 0.2
    found = replay(layer, x, resets=resets)
    with torch.no_grad():
        wanted = stepped(layer, x, layer.initial_state(2), resets)
    for leaf, each in wanted.items():
        if each.is_floating_point():
            torch.testing.assert_close(found[leaf], each, rtol=1e-5, atol=2e-6)


def test_gates_of_an_lstm_lead_from_state_to_state():
    layer, x = LSTM(3, 5), torch.randn(2, 8, 3)
    found = replay(layer, x)
    before = torch.cat([torch.zeros(2, 1, 5), found["c"]], 1)[:, :-1]
    c = found["f"] * before + found["i"] * found["g"]
    torch.testing.assert_close(found["c"], c, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["h"], found["o"] * torch.tanh(c), rtol=1e-5, atol=1e-6)


def test_gates_of_a_gru_lead_from_state_to_state():
    layer, x = GRU(3, 5), torch.randn(2, 8, 3)
    found = replay(layer, x)
    before = torch.cat([torch.zeros(2, 1, 5), found["h"]], 1)[:, :-1]
    h = (1 - found["z"]) * found["n"] + found["z"] * before
    torch.testing.assert_close(found["h"], h, rtol=1e-5, atol=1e-6)


def test_coefficients_of_a_linear_recurrence_lead_from_state_to_state():
    layer, x = make("rg_lru", 3, 6), torch.randn(2, 8, 3)
    found = replay(layer, x)
    before = torch.cat([torch.zeros(2, 1, 6), found["state"]], 1)[:, :-1]
    torch.testing.assert_close(found["state"], found["a"] * before + found["b"])


def test_nothing_is_there_beyond_a_length():
    found = replay(LSTM(3, 5), torch.randn(2, 8, 3), lengths=torch.tensor([8, 3]))
    for each in found.values():
        assert not each[1, 3:].any()
        assert each[1, :3].any()


def test_layers_within_layers_and_models_have_their_names():
    stack = Stack([GRU(3, 4), LSTM(4, 4)], residual=True, norm=True)
    found = replay(stack, torch.randn(2, 5, 3))
    assert {"layers.0.h", "layers.0.z", "layers.1.c", "layers.1.o"} <= set(found)
    model = SequenceModel(
        ModelConfig(symbols=9, embedding=3, layer="rg_lru:6x2:conv:block", outputs=2)
    )
    found = replay(model.eval(), torch.randint(9, (2, 7)))
    assert sum(name.endswith(".a") for name in found) == 2
    assert all(each.shape[:2] == (2, 7) for each in found.values())
    found = replay(Bidirectional(RNN(3, 4), RNN(3, 4)), torch.randn(2, 5, 3))
    assert set(found) == {"forward_layer.h", "backward_layer.h"}


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, num_layers=2)
        self.own = GRU(4, 2)

    def forward(self, x):
        y, hx = self.rnn(x)
        y, _ = self.rnn(x, hx)
        return self.own(y.transpose(0, 1))[0]


def test_modules_of_torch_in_anybodys_model_are_seen_as_they_are():
    model, x = Twice(), torch.randn(5, 2, 3)
    found = replay(model, x)
    assert {"rnn.layers.0.0.c", "rnn.layers.1.1.h", "own.z"} <= set(found)
    with torch.no_grad():
        y, hx = model.rnn(x)
        again, _ = model.rnn(x, hx)
    torch.testing.assert_close(found["rnn.layers.1.0.h"], y.transpose(0, 1))
    torch.testing.assert_close(found["rnn.layers.1.1.h"], again.transpose(0, 1))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_packed_and_single_sequences_of_torch_are_seen_too(kind, both):
    module = kind(3, 4, batch_first=True, bidirectional=both)
    x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 4])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    h = replay(module, packed)["forward_layer.h" if both else "h"]
    alone = replay(module, x[0, :2])["forward_layer.h" if both else "h"]
    torch.testing.assert_close(h[0, :2], alone[0])
    assert not h[0, 2:].any()


def test_a_model_is_after_it_what_it_was_before():
    model = Twice()
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(RuntimeError), watched(model):
        model(torch.randn(5, 2, 7))
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert not model.rnn._forward_hooks


def test_a_run_without_changes_is_the_run():
    layer, x = Stack([LSTM(3, 4), GRU(4, 5)]), torch.randn(2, 9, 3)
    lengths, resets = torch.tensor([9, 5]), torch.rand(2, 9) < 0.3
    wanted, end = layer(x, lengths=lengths, resets=resets)
    for changes in ({}, {4: lambda state: state}, {0: lambda state: state, 9: lambda state: state}):
        y, got = run_patched(layer, x, changes, lengths=lengths, resets=resets)
        assert torch.equal(y, wanted)
        assert all(map(torch.equal, tt.state.leaves(got), tt.state.leaves(end)))


def test_what_is_changed_is_what_later_steps_start_from():
    layer, x = LSTM(3, 4), torch.randn(2, 9, 3)
    y, _ = layer(x)
    patched, end = run_patched(
        layer, x, {7: lambda state: state._replace(c=torch.zeros_like(state.c))}
    )
    assert torch.equal(patched[:, :7], y[:, :7])
    _, at = layer(x[:, :7])
    wanted, _ = layer(x[:, 7:], at._replace(c=torch.zeros_like(at.c)))
    assert torch.equal(patched[:, 7:], wanted)
    patched, end = run_patched(layer, x, {9: lambda state: tt.state.zeros_like(state)})
    assert torch.equal(patched, y)
    assert not end.h.any()


def test_a_change_where_no_step_is_is_refused():
    with pytest.raises(ShapeError, match="changes at steps 0 to 9, got one at 10"):
        run_patched(LSTM(3, 4), torch.randn(2, 9, 3), {10: lambda state: state})


def before(after, state, resets, restart):
    """What each step started from, where `after` (B, T, ...) is what it ended in."""
    found = torch.cat([state[:, None], after], 1)[:, :-1]
    return torch.where(resets.view(*resets.shape, *[1] * (found.dim() - 2)), restart, found)


def close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6)


VARIED = ("layer_norm_lstm", "peephole_lstm", "coupled_lstm", "projected_lstm")


def varied(name):
    """A layer whose every parameter says something, its gates' peepholes included."""
    layer = make(name, 3, 8).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("name", VARIED)
def test_gates_of_a_varied_lstm_lead_from_cell_to_cell(name):
    layer = varied(name)
    x, resets = torch.randn(2, 9, 3), torch.rand(2, 9) < 0.2
    state = layer.initial_state(2)
    found = replay(layer, x, resets=resets)
    c = found["f"] * before(found["c"], state.c, resets, 0.0) + found["i"] * found["g"]
    close(found["c"], c)
    read = c
    if name == "layer_norm_lstm":
        read = nn.functional.layer_norm(c, c.shape[-1:], layer.cell_gain, layer.cell_bias)
    h = found["o"] * torch.tanh(read)
    close(found["h"], h @ layer.weight_hr.T if name == "projected_lstm" else h)


def test_peepholes_are_seen_in_the_gates():
    layer, x = varied("peephole_lstm"), torch.randn(2, 9, 3)
    seen = replay(layer, x)
    with torch.no_grad():
        layer.peepholes[1] += 1.0
    assert not torch.allclose(replay(layer, x)["f"][:, 1:], seen["f"][:, 1:], atol=1e-3)


def test_gates_of_a_normalised_gru_lead_from_state_to_state():
    layer, x = varied("layer_norm_gru"), torch.randn(2, 9, 3)
    found = replay(layer, x)
    last = before(found["h"], torch.zeros(2, 8), torch.zeros(2, 9, dtype=torch.bool), 0.0)
    close(found["h"], (1 - found["z"]) * found["n"] + found["z"] * last)


def test_gates_of_an_slstm_lead_from_cell_to_cell():
    layer = make("slstm", 3, 8, heads=2)
    x, resets = torch.randn(2, 9, 3), torch.rand(2, 9) < 0.2
    found = replay(layer, x, resets=resets)
    ratio = found["c"] / found["n"]
    close(found["h"], found["o"] * ratio)
    scale = torch.exp(found["log_i"] - found["m"])
    last_m = before(found["m"], torch.zeros(2, 8), resets, 0.0)
    last_n = before(found["n"], torch.zeros(2, 8), resets, 0.0)
    keep = torch.where(last_n == 0, 0.0, found["f"] * torch.exp(last_m - found["m"]))
    c = keep * before(found["c"], torch.zeros(2, 8), resets, 0.0) + scale * found["z"]
    close(found["c"], c)


def test_gates_of_an_mlstm_lead_from_memory_to_memory():
    layer, x = make("mlstm", 3, 8, heads=2), torch.randn(2, 9, 3)
    found = replay(layer, x)
    assert found["f"].shape == found["log_i"].shape == (2, 9, 2)
    none = torch.zeros(2, 9, dtype=torch.bool)
    last_m = before(found["m"], torch.zeros(2, 2), none, 0.0)
    last_n = before(found["n"], torch.zeros(2, 2, 4), none, 0.0)
    k = layer.inputs(x)[3]
    keep, enter = (
        found["f"] * torch.exp(last_m - found["m"]),
        torch.exp(found["log_i"] - found["m"]),
    )
    close(found["n"], keep[..., None] * last_n + enter[..., None] * k)


def test_gates_of_a_delta_memory_lead_from_memory_to_memory():
    layer, x = make("gated_delta", 3, 8, heads=2), torch.randn(2, 9, 3)
    found = replay(layer, x)
    none = torch.zeros(2, 9, dtype=torch.bool)
    kept = found["alpha"][..., None, None] * before(found["s"], torch.zeros(2, 2, 4, 4), none, 0.0)
    k, v = layer.inputs(x)[3:]
    held = (k[..., None] * kept).sum(-2)
    update = found["beta"][..., None] * (v - held)
    close(found["s"], kept + k[..., None] * update[..., None, :])


def test_gates_of_an_rwkv_see_the_step_before_unless_it_was_reset():
    layer = make("rwkv7", 3, 8, heads=2)
    x, resets = torch.randn(2, 9, 3), torch.zeros(2, 9, dtype=torch.bool)
    resets[:, 4] = True
    found = replay(layer, x, resets=resets)
    assert found["w"].shape == found["a"].shape == (2, 9, 2, 4)
    afresh = replay(layer, x[:, 4:])
    for name in ("w", "a", "g"):
        close(found[name][:, 4:], afresh[name])
    assert not torch.allclose(found["w"][:, 5:], replay(layer, x[:, 5:])["w"], atol=1e-3)


@pytest.mark.parametrize("name", ["gru", "lstm", "peephole_lstm", "rnn"])
def test_a_layer_with_noise_has_the_gates_of_the_layer_within(name):
    layer = Regularised(varied(name), zoneout=0.3).eval()
    x, resets = torch.randn(2, 9, 3), torch.rand(2, 9) < 0.2
    found = replay(layer, x, resets=resets)
    with torch.no_grad():
        wanted = stepped(layer, x, layer.initial_state(2), resets)
    close(found["layer.h"], wanted["layer.h"])
    if name == "gru":
        last = before(found["layer.h"], torch.zeros(2, 8), resets, 0.0)
        h = (1 - found["z"]) * found["n"] + found["z"] * last
        close(found["layer.h"], 0.3 * last + 0.7 * h)
    elif name != "rnn":
        last = before(found["layer.c"], torch.zeros(2, 8), resets, 0.0)
        c = found["f"] * last + found["i"] * found["g"]
        close(found["layer.c"], 0.3 * last + 0.7 * c)


def test_in_training_noise_is_in_the_states_and_gates_are_left_out():
    layer = Regularised(GRU(3, 8), zoneout=0.5)
    x, state = torch.randn(2, 9, 3), layer.initial_state(2)
    found = replay(layer, x, state)
    close(found["layer.h"], stepped(layer, x, state)["layer.h"].detach())
    assert set(found) == {"layer.h"}
