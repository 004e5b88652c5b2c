"""Varied classic layers: by the laws, by other libraries' numbers, and over long runs."""

import numpy as np
import pytest
import torch
from three_ways import assert_three_ways_agree

import throughtime as tt
from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers import (
    GRU,
    LSTM,
    CoupledLSTM,
    LayerNormGRU,
    LayerNormLSTM,
    MinGRU,
    PeepholeLSTM,
    ProjectedLSTM,
    Regularised,
    make,
)

NAMES = ("layer_norm_lstm", "layer_norm_gru", "peephole_lstm", "coupled_lstm", "projected_lstm")
NOISES = {
    "dropped": {"recurrent_dropout": 0.3, "span": 3},
    "zoned": {"zoneout": 0.2},
    "weights": {"weight_drop": 0.3, "span": 2},
    "all": {"recurrent_dropout": 0.2, "zoneout": 0.1, "weight_drop": 0.2},
}
BACKENDS = ("native", "reference")


def drawn(name, size=6, **options):
    torch.manual_seed(0)
    layer = make(name, 3, size, **options)
    for parameter in layer.parameters():
        if parameter.dim() == 1 or parameter is getattr(layer, "peepholes", None):
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


# What is normalised is divided by a deviation, which in so few units may be small; what was
# rounded before grows with it.
TOLERANCE = {"layer_norm_lstm": 1e-5, "layer_norm_gru": 1e-5}


@pytest.mark.parametrize("name", NAMES)
def test_the_laws_hold(name):
    layer = drawn(name, learned_initial_state=True)
    tt.testing.check_recurrent(layer, batch_size=2, steps=5, tolerance=TOLERANCE.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_laws_hold_on_every_backend(name, backend):
    with tt.kernels.use(backend):
        tt.testing.check_recurrent(drawn(name), tolerance=TOLERANCE.get(name))


def test_the_laws_hold_under_all_noise_at_once():
    layer = Regularised(drawn("gru"), **NOISES["all"])
    tt.testing.check_recurrent(layer, batch_size=2, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_the_laws_hold_under_noise(noise, backend):
    with tt.kernels.use(backend):
        tt.testing.check_recurrent(Regularised(drawn("gru"), **noise))


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("name", ["rnn", "lstm", *NAMES])
def test_the_laws_hold_under_noise_in_every_cell(name, noise):
    layer = Regularised(drawn(name), **noise)
    tt.testing.check_recurrent(layer, tolerance=TOLERANCE.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_three_ways_agree_over_a_long_run(name):
    assert_three_ways_agree(drawn(name), 50_000)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_three_ways_agree_over_a_long_run_under_noise(training):
    layer = Regularised(drawn("gru"), recurrent_dropout=0.2, zoneout=0.1, span=70)
    layer.train(training)
    layer.initial_state = lambda *a, **k: Regularised.initial_state(layer.eval(), *a, **k)
    assert_three_ways_agree(layer, 50_000)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_the_projected_lstm_has_torchs_numbers():
    ours = drawn("projected_lstm", 5, cell_size=8)
    theirs = torch.nn.LSTM(3, 8, proj_size=5, batch_first=True)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            getattr(theirs, f"{name}_l0").copy_(getattr(ours, name))
    x = torch.randn(4, 9, 3)
    h, c = torch.randn(4, 5), torch.randn(4, 8)
    y, end = ours(x, type(ours.initial_state(1))(h, c))
    wanted, (h_end, c_end) = theirs(x, (h[None], c[None]))
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(end.h, h_end[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(end.c, c_end[0], rtol=1e-5, atol=1e-6)


def onnx_lstm(layer, x, h, c):
    """The outputs of ONNX Runtime's LSTM, which has peepholes and coupled gates of its own.

    Its rows are in the order i, o, f, g.
    """
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    size = layer.hidden_size

    def rows(weight):
        blocks = list(weight.detach().split(size))
        if isinstance(layer, CoupledLSTM):
            # There the input gate is computed and the forget gate follows: 1 - sigmoid(-a).
            blocks = [-blocks[0], torch.zeros_like(blocks[0]), *blocks[1:]]
        i, f, g, o = blocks
        return torch.cat([i, o, f, g])

    given = {
        "X": x.transpose(0, 1),
        "W": rows(layer.weight_ih)[None],
        "R": rows(layer.weight_hh)[None],
        "B": torch.cat([rows(layer.bias_ih), rows(layer.bias_hh)])[None],
        "h": h[None],
        "c": c[None],
    }
    names = ["X", "W", "R", "B", "", "h", "c"]
    if isinstance(layer, PeepholeLSTM):
        i, f, o = layer.peepholes.detach()
        given["P"] = torch.cat([i, o, f])[None]
        names.append("P")
    node = onnx.helper.make_node(
        "LSTM",
        names,
        ["Y", "", "c_end"],
        hidden_size=size,
        input_forget=int(isinstance(layer, CoupledLSTM)),
    )
    number = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [onnx.helper.make_tensor_value_info(k, number, v.shape) for k, v in given.items()],
        [onnx.helper.make_tensor_value_info(k, number, None) for k in ("Y", "c_end")],
    )
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, c_end = session.run(None, {k: np.ascontiguousarray(v) for k, v in given.items()})
    return torch.from_numpy(y)[:, 0].transpose(0, 1), torch.from_numpy(c_end)[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["peephole_lstm", "coupled_lstm"])
def test_gates_are_those_of_onnx_runtime(name, backend):
    layer = drawn(name, 7)
    x, h, c = torch.randn(4, 9, 3), torch.randn(4, 7), torch.randn(4, 7)
    y, c_end = onnx_lstm(layer, x, h, c)
    with tt.kernels.use(backend), torch.no_grad():
        ours, end = layer(x, type(layer.initial_state(1))(h, c))
    torch.testing.assert_close(ours, y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(end.c, c_end, rtol=1e-5, atol=1e-5)


def test_peepholes_start_closed():
    torch.manual_seed(0)
    plain, layer = LSTM(3, 5), PeepholeLSTM(3, 5)
    layer.load_state_dict(plain.state_dict() | {"peepholes": layer.peepholes})
    x = torch.randn(2, 7, 3)
    torch.testing.assert_close(layer(x)[0], plain(x)[0])


@pytest.mark.parametrize("made", [LayerNormLSTM, LayerNormGRU])
def test_no_scale_of_inputs_or_weights_comes_through_where_sums_are_normalised(made):
    torch.manual_seed(0)
    layer, other = made(3, 64), made(3, 64)
    other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        other.weight_hh.mul_(1000)
    x = torch.randn(2, 7, 3)
    y, scaled = layer(x)[0], other(1000 * x)[0]
    # The first steps start from zeros, of which the sums have no scale.
    torch.testing.assert_close(scaled, y, rtol=5e-3, atol=5e-3)


def test_what_rounding_changes_stays_small():
    torch.manual_seed(0)
    layer = LayerNormLSTM(1, 128)
    exact = LayerNormLSTM(1, 128).double()
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(4, 600, 1)
    with torch.no_grad(), tt.kernels.use("reference"):
        wanted, _ = exact(x.double())
    with torch.no_grad():
        y, _ = layer(x)
    assert float((y - wanted).abs().max()) < 1e-5


def test_sums_of_each_gate_have_mean_zero_and_deviation_one():
    layer = LayerNormGRU(3, 50)
    with torch.no_grad():
        layer.gain_hh.fill_(1.0)
    share = layer.from_hidden(torch.randn(4, 50)).view(4, 3, 50)
    torch.testing.assert_close(share.mean(-1), torch.zeros(4, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(share.std(-1, unbiased=False), torch.ones(4, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("made", [LayerNormLSTM, PeepholeLSTM, CoupledLSTM, ProjectedLSTM])
def test_a_memory_opens_the_forget_gate(made):
    for layer, low in ((made(3, 40, memory=100), 0.0), (made(3, 40, forget_bias=2.5), 2.49)):
        gate = 0 if made is CoupledLSTM else 1
        bias = layer.bias_ih.view(layer.gates, -1)
        assert (bias[gate] >= low).all()
        assert bias[gate].max() < np.log(99)
    with pytest.raises(OptionError, match="memory or forget_bias"):
        made(3, 4, memory=9, forget_bias=1.0)


def test_a_layer_of_ones_own_maths_is_not_run_by_kernels_of_other_maths():
    class Other(LayerNormGRU):
        def from_input(self, x):
            return 2 * super().from_input(x)

    layer = Other(3, 4)
    assert layer.backend.startswith("reference")
    with pytest.raises(OptionError, match="expected an RNN, LSTM, GRU or a variant"):
        Regularised(layer, zoneout=0.1)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (GRU(3, 4), {}, "expected one of recurrent_dropout, zoneout, weight_drop above 0"),
        (GRU(3, 4), {"zoneout": 1.0}, "expected zoneout of at least 0 and below 1, got 1.0"),
        (GRU(3, 4), {"weight_drop": -0.1}, "expected weight_drop of at least 0"),
        (GRU(3, 4), {"zoneout": 0.1, "span": 0}, "expected a span of 1 step or more, got 0"),
        (MinGRU(3, 4), {"zoneout": 0.1}, "got MinGRU: noise goes between its gates"),
    ],
)
def test_impossible_noise_is_refused(layer, options, message):
    with pytest.raises(OptionError, match=message):
        Regularised(layer, **options)


def test_a_projection_of_no_cells_is_refused():
    with pytest.raises(OptionError, match="expected cell_size of 1 or more, got 0"):
        ProjectedLSTM(3, 4, cell_size=0)


def test_a_zoned_unit_stays_as_it_was():
    layer = Regularised(LSTM(3, 50), zoneout=0.4)
    state = layer.initial_state(20)
    state = state._replace(layer=states.tree_map(torch.randn_like, state.layer))
    _, after = layer.step(torch.randn(20, 3), state)
    for before, now in zip(state.layer, after.layer, strict=True):
        assert abs((before == now).double().mean() - 0.4) < 0.05
    h_stays, c_stays = (a == b for a, b in zip(state.layer, after.layer, strict=True))
    assert not torch.equal(h_stays, c_stays)


def test_evaluation_takes_what_is_expected_and_drops_nothing():
    inner = drawn("gru")
    layer = Regularised(inner, recurrent_dropout=0.3, weight_drop=0.5).eval()
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(layer(x)[0], inner(x)[0])
    zoned = Regularised(inner, zoneout=0.25).eval()
    h = torch.randn(2, 6)
    state = zoned.initial_state(2)._replace(layer=type(inner.initial_state(1))(h))
    y, _ = zoned.step(x[:, 0], state)
    plain, _ = inner.step(x[:, 0], state.layer)
    torch.testing.assert_close(y, 0.25 * h + 0.75 * plain)


def test_masks_change_at_a_reset_and_every_span():
    inner = make("rnn", 1, 80, nonlinearity="relu", bias=False)
    with torch.no_grad():
        inner.weight_ih.fill_(1)
        inner.weight_hh.copy_(torch.eye(80))
    layer = Regularised(inner, recurrent_dropout=0.5, span=4)
    resets = torch.zeros(1, 12, dtype=torch.bool)
    resets[0, 6] = True
    y, _ = layer(torch.ones(1, 12, 1), resets=resets)
    # With weights of one, a unit that is dropped at a step comes out as its input, one.
    dropped = [frozenset(torch.nonzero(y[0, t] == 1)[:, 0].tolist()) for t in range(12)]
    assert dropped[1] == dropped[2] == dropped[3]
    assert dropped[4] == dropped[5] != dropped[3]
    assert len(dropped[6]) == 80
    assert dropped[7] == dropped[8] == dropped[9] not in (dropped[3], dropped[5])
    assert dropped[10] == dropped[11] != dropped[9]
    assert 20 < len(dropped[1]) < 60
