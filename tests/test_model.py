"""The model of every task: encoder, stack, head; from a configuration and on no device at all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from throughtime import layers
from throughtime import state as states
from throughtime.errors import OptionError, ThroughtimeError
from throughtime.model import ModelConfig, SequenceModel

KINDS = [f"{name}:{size}" for name in layers.names() for size in ("8", "4x2")]


def make(layer, *, symbols=False, **options):
    inputs = {"symbols": 7, "embedding": 5} if symbols else {"features": 3}
    return SequenceModel(ModelConfig(layer=layer, outputs=4, **inputs, **options))


def batch(symbols, lanes=3, steps=9):
    lengths = torch.tensor([steps, 4, 0][:lanes])
    resets = torch.rand(lanes, steps) < 0.2
    inputs = torch.randint(7, (lanes, steps)) if symbols else torch.randn(lanes, steps, 3)
    return inputs, lengths, resets


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize("symbols", [False, True])
def test_forward_is_the_fold_of_step(layer, symbols):
    model = make(layer, symbols=symbols).eval()
    inputs, lengths, resets = batch(symbols)
    with torch.no_grad():
        y, end = model(inputs, lengths=lengths, resets=resets)
        for lane in range(3):
            state = model.initial_state(1)
            for t in range(int(lengths[lane])):
                one, state = model.step(inputs[lane, t][None], state, reset=resets[lane, t][None])
                assert torch.allclose(y[lane, t], one[0], atol=1e-6)
            for got, wanted in zip(states.leaves(end), states.leaves(state), strict=True):
                assert torch.allclose(got[lane], wanted[0], atol=1e-6)
    assert y.shape == (3, 9, 4)


@pytest.mark.parametrize("layer", KINDS)
def test_a_model_can_be_made_of_no_memory_and_filled(layer):
    real = make(layer, symbols=True, dropout=0.3 if "x2" in layer else 0.0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        empty = SequenceModel(real.config)
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"
    assert all(p.is_meta for p in empty.parameters())
    empty.load_state_dict(real.state_dict(), assign=True)
    assert not any(t.is_meta for t in (*empty.parameters(), *empty.buffers()))
    assert all(p.requires_grad for p in empty.parameters())
    inputs, lengths, resets = batch(True)
    with torch.no_grad():
        wanted = real.eval()(inputs, lengths=lengths, resets=resets)
        got = empty.eval()(inputs, lengths=lengths, resets=resets)
    for a, b in zip(states.leaves(got), states.leaves(wanted), strict=True):
        assert torch.equal(a, b)
    assert empty.parameter_count() == sum(p.numel() for p in real.parameters())


@pytest.mark.parametrize("layer", KINDS)
def test_a_huge_model_is_only_described(layer):
    """Made on the meta device, a model that no memory holds costs nothing."""
    spec = layers.parse(layer)
    huge = f"{spec.layers[0].name}:50000x{len(spec.layers)}"
    config = ModelConfig(features=3, layer=huge, outputs=4)
    with torch.device("meta"):
        model = SequenceModel(config)
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    most = max(tensor.numel() for tensor in tensors)
    assert most > 10**9 or model.parameter_count() > 50_000


def test_memory_reaches_the_gates():
    torch.manual_seed(0)
    with_memory = make("gru:50", memory=100).layers.bias_ih[50:100].detach()
    assert float(with_memory.min()) > 0
    assert float(with_memory.max()) < 4.6
    assert not make("gru:50").layers.bias_ih.any()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"features": 3, "symbols": 4},
        {"features": 0},
        {"symbols": 0},
        {"features": 3, "layer": "gru:0"},
        {"features": 3, "layer": "grus:4"},
        {"features": 3, "dropout": 1.0},
        {"features": 3, "memory": 2},
        {"features": 3, "outputs": 0},
        {"features": 3, "colour": "red"},
    ],
)
def test_what_makes_no_model_is_refused(options):
    with pytest.raises((ValidationError, OptionError)):
        ModelConfig(**{"layer": "gru:4", "outputs": 2} | options)


@given(st.text(max_size=12))
def test_any_text_is_a_layer_or_one_line(name):
    message = ""
    try:
        layers.parse(name)
    except ThroughtimeError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
