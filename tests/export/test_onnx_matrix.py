"""Layers of every kind in ONNX Runtime, exported in shuffled order in one process."""

import copy
import random
from functools import partial

import pytest
import torch

import throughtime as tt
from throughtime.layers import Bidirectional, Block, Regularised, Stack, build, make, names, parse
from throughtime.layers.convolution import CausalConvolution

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

CLASSIC = ("rnn", "lstm", "gru")

CASES = {name: partial(make, name, 3, 8) for name in names()}
CASES |= {
    f"{name}, a learned start": partial(make, name, 3, 4, learned_initial_state=True)
    for name in (*CLASSIC, "layer_norm_lstm", "coupled_lstm", "projected_lstm", "peephole_lstm")
}
CASES |= {f"{name}, no bias": partial(make, name, 3, 5, bias=False) for name in CLASSIC}
CASES |= {f"{name} twice": lambda name=name: build(parse(f"{name}:4x2"), 3) for name in CLASSIC}
CASES |= {
    f"{name} both ways": lambda name=name: Bidirectional(make(name, 3, 4), make(name, 3, 4))
    for name in (*CLASSIC, "min_gru", "slstm")
}
CASES |= {
    "rnn, relu": lambda: make("rnn", 3, 4, nonlinearity="relu"),
    "echo state that leaks": lambda: make("echo_state", 3, 6, leak=0.3, density=0.5),
    "one way and another": lambda: Bidirectional(
        make("gru", 3, 4, learned_initial_state=True), make("min_lstm", 3, 5)
    ),
    "both ways twice": lambda: Stack(
        [Bidirectional(make("lstm", 3, 4), make("lstm", 3, 4)),
         Bidirectional(make("gru", 8, 3, learned_initial_state=True), make("gru", 8, 3))]
    ),
    "stack of three, learned starts": lambda: Stack(
        [make("lstm", 3, 4, learned_initial_state=True), make("rg_lru", 4, 4),
         make("gru", 4, 5, learned_initial_state=True)], dropout=0.3
    ),
    "stack with norms": lambda: Stack(
        [make("gru", 3, 3), make("lstm", 3, 4)], residual=True, norm=True
    ),
    "blocks": lambda: build(parse("rg_lru:4x2:conv:block"), 3, dropout=0.3),
    "block of attention": lambda: Block(make("attention", 4, 4, heads=2, window=5)),
    "attention over two": lambda: make("attention", 3, 4, heads=2, window=2),
    "deep convolution": lambda: CausalConvolution(4, 4, depthwise=True),
    "zoneout": lambda: Regularised(make("lstm", 3, 4), zoneout=0.3, recurrent_dropout=0.2),
    "dropped weights": lambda: Regularised(make("layer_norm_gru", 3, 4), weight_drop=0.3),
    "negative eigenvalues": lambda: make("rg_lru", 3, 4, groups=2, negative_eigenvalues=True),
    "mixed": lambda: build(parse("gru:8+mlstm:8:block+convolution:4"), 3),
}  # fmt: skip

QUICK = ("lstm", "gru both ways", "lru", "rwkv7", "gru, a learned start", "blocks", "zoneout")


def shuffled(chosen):
    order = list(chosen)
    random.Random(7).shuffle(order)
    return order


def test_there_are_enough_cases():
    assert len(CASES) >= 40
    assert set(names()) < set(CASES)


@pytest.mark.parametrize("name", shuffled(QUICK))
def test_some_layers_give_their_numbers(name):
    assert_exact(name)


@pytest.mark.slow
def test_the_whole_matrix_gives_its_numbers():
    found = {}
    for name in shuffled(CASES):
        try:
            assert_exact(name)
        except Exception as error:  # What failed is named with all others that did.
            found[name] = error
    assert found == {}


def assert_exact(name):
    torch.manual_seed(len(name))
    layer = CASES[name]().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    from throughtime.export.onnx.layer import write_models

    for file, model in write_models(layer).items():
        session = opened(model)
        # Once as the loops of the graph run, once without any restart, as its layers do.
        for lanes, steps, often in ((1, 31, 0.0), (5, 14, 0.15), (4, 1, 0.0)):
            run_and_compare(layer, session, file, lanes, steps, often)


def opened(model):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model.SerializeToString(), options)


@torch.no_grad()
def run_and_compare(layer, session, file, lanes, steps, often):
    """Run in chunks with carried state, and hold it against one forward in float64."""
    x = torch.randn(lanes, steps, layer.input_size)
    lengths = torch.randint(0, steps + 1, (lanes,))
    lengths[0] = steps
    if file == "step.onnx":
        lengths[:] = steps
    resets = torch.rand(lanes, steps) < often
    with tt.kernels.use("reference"):
        wanted, end = copy.deepcopy(layer).double()(x.double(), lengths=lengths, resets=resets)
    x[torch.arange(steps) >= lengths[:, None]] = torch.nan
    state = {
        each.name: begin(layer, each, lanes, lengths)
        for each in session.get_inputs()
        if each.name.startswith("past_")
    }
    outputs = [each.name for each in session.get_outputs()]
    chunk = 1 if file == "step.onnx" else 6 if layer.streamable else steps
    found = []
    for start in range(0, steps, chunk):
        piece = slice(start, start + chunk)
        flags = resets[:, piece].clone()
        if start == 0:
            flags[:] |= torch.arange(flags.shape[1]) == 0
        if chunk == 1 and file == "step.onnx":
            given = {"x": x[:, start], "reset": flags[:, 0]}
        else:
            count = (lengths - start).clamp(0, flags.shape[1])
            given = {"x": x[:, piece], "lengths": count, "resets": flags}
        fed = {name: each.numpy() for name, each in given.items()} | state
        made = dict(zip(outputs, session.run(outputs, fed), strict=True))
        state = {name: made[name.replace("past_", "present_", 1)] for name in state}
        found.append(torch.from_numpy(made["y"]).view(lanes, -1, layer.output_size))
    assert torch.isfinite(torch.cat(found, 1)).all()
    torch.testing.assert_close(torch.cat(found, 1).double(), wanted, rtol=1e-5, atol=1e-5)
    ends = [made[name] for name in outputs if name != "y"]
    leaves = [leaf for leaf in wanted_leaves(end)]
    assert len(ends) == len(leaves)
    for got, leaf in zip(ends, leaves, strict=True):
        torch.testing.assert_close(
            torch.from_numpy(got).double(), leaf.double(), rtol=1e-5, atol=1e-5
        )


def begin(layer, described, lanes, lengths):
    """Zeros, which a reset replaces; the initial state for lanes that never begin."""
    kinds = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64}
    shape = (lanes, *described.shape[1:])
    zeros = torch.zeros(shape, dtype=kinds[described.type])
    from throughtime.export.onnx.states import Layout

    (leaf,) = [each for each in Layout(layer).leaves if each.past == described.name]
    start = leaf.initial.expand(shape)
    never = (lengths == 0).view(-1, *[1] * (len(shape) - 1))
    return torch.where(never, start, zeros).numpy()


def wanted_leaves(end):
    """The leaves of a state in order, without seeds and counters of noise."""
    from throughtime.layers.noise import Noise

    if isinstance(end, Noise):
        return
    if isinstance(end, tuple):
        for part in end:
            yield from wanted_leaves(part)
    else:
        yield end
