"""What surrounds a module stays as it was: parameters, optimizers, copies, hooks, torch's tools."""

import copy
import io
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerated import FEATURES, KINDS, UNITS, call, close, make, same_numbers, twins
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.layers import accelerate, backends, decelerate
from throughtime.layers.accelerated import FEW_STEPS


@pytest.fixture(autouse=True)
def _on_our_layers():
    """Have no call left to torch.nn for want of something faster."""
    with tt.kernels.use("reference"):
        yield


class Tagger(nn.Module):
    """A model as users write them, with recurrent modules at several depths."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, FEATURES)
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(FEATURES, UNITS, 2, bidirectional=True)})
        self.blocks = nn.Sequential(nn.Linear(2 * UNITS, 5), nn.Tanh())
        self.decoder = nn.ModuleList([nn.GRU(5, 5), nn.RNN(5, 5, nonlinearity="relu")])
        self.head = nn.Linear(5, 2)

    def forward(self, tokens):
        y = self.blocks(self.encoder["lstm"](self.embed(tokens))[0])
        for module in self.decoder:
            y, _ = module(y)
        return self.head(y)


TOKENS = torch.arange(12).remainder(11).view(6, 2)


def test_modules_are_found_wherever_they_are():
    model = Tagger()
    assert accelerate(model) is model
    assert backends(model) == dict.fromkeys(
        ["encoder.lstm", "decoder.0", "decoder.1"], "reference: asked for"
    )
    assert isinstance(model.encoder["lstm"], nn.LSTM)
    assert isinstance(model.decoder[0], nn.GRU)
    assert isinstance(model.decoder[1], nn.RNN)
    assert "AcceleratedLSTM(3, 4, num_layers=2, bidirectional=True)" in repr(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_be_the_module_itself(kind):
    module = make(kind)
    assert accelerate(module) is module
    assert backends(module) == {"": "reference: asked for"}


def test_once_more_changes_nothing():
    model = accelerate(Tagger())
    classes = [type(module) for module in model.modules()]
    accelerate(model)
    assert [type(module) for module in model.modules()] == classes


def test_a_script_trains_as_before_from_an_optimizer_made_before():
    torch.manual_seed(0)
    slow = Tagger().double()
    fast = copy.deepcopy(slow)
    targets = TOKENS % 2
    curves = []
    for model in (slow, fast):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        if model is fast:
            before = dict(model.named_parameters())
            accelerate(model)
            assert all(before[name] is value for name, value in model.named_parameters())
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=1e-10)
    assert curves[0][-1] < curves[0][0]


def test_state_dicts_go_both_ways():
    plain, fast = Tagger(), accelerate(Tagger())
    assert list(plain.state_dict()) == list(fast.state_dict())
    fast.load_state_dict(plain.state_dict())
    torch.testing.assert_close(fast(TOKENS), plain(TOKENS))
    other = Tagger()
    other.load_state_dict(fast.state_dict())
    torch.testing.assert_close(other(TOKENS), plain(TOKENS))


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_stay(kind):
    theirs, fast = twins(make(kind, 2, bidirectional=True, dropout=0.2, batch_first=True))
    for name in theirs.__constants__:
        assert getattr(fast, name) == getattr(theirs, name)
    fast.flatten_parameters()
    assert [len(row) for row in fast.all_weights] == [4] * 4
    assert fast.all_weights[0][0] is fast.weight_ih_l0
    assert fast.extra_repr() == theirs.extra_repr()


def test_options_may_be_changed_afterwards():
    module = accelerate(nn.GRU(FEATURES, UNITS, 2))
    x = torch.randn(2, 5, FEATURES)
    module.batch_first, module.dropout = True, 1.0
    y, _ = module(x)
    assert y.shape == (2, 5, UNITS)
    assert not torch.allclose(y, module.eval()(x)[0])


class Shared(nn.Module):
    """One module in two places, and two modules with one weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.GRU(FEATURES, FEATURES)
        self.again = self.first
        self.other = nn.GRU(FEATURES, FEATURES)
        self.other.weight_hh_l0 = self.first.weight_hh_l0

    def forward(self, x):
        for module in (self.first, self.again, self.other):
            x, _ = module(x)
        return x


def test_what_is_shared_stays_shared():
    torch.manual_seed(0)
    theirs = Shared().double()
    fast = accelerate(copy.deepcopy(theirs))
    assert fast.first is fast.again
    assert fast.other.weight_hh_l0 is fast.first.weight_hh_l0
    assert list(backends(fast)) == ["first", "other"]
    x = torch.randn(4, 2, FEATURES, dtype=torch.float64)
    for model in (theirs, fast):
        model(x).sin().sum().backward()
    for got, wanted in zip(fast.parameters(), theirs.parameters(), strict=True):
        same_numbers(got.grad, wanted.grad, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_accelerated_and_independent(kind):
    fast = accelerate(make(kind, 2))
    x = torch.randn(5, 2, FEATURES, dtype=torch.float64)
    fast(x)
    buffer = io.BytesIO()
    torch.save(fast, buffer)
    buffer.seek(0)
    copies = [
        copy.deepcopy(fast),
        pickle.loads(pickle.dumps(fast)),
        torch.load(buffer, weights_only=False),
    ]
    for each in copies:
        assert type(each) is type(fast)
        assert torch.equal(each(x)[0], fast(x)[0])
        with torch.no_grad():
            each.weight_hh_l0.mul_(2)
        assert not torch.equal(each(x)[0], fast(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_read_as_they_are_now(kind):
    theirs, fast = twins(make(kind))
    x = torch.randn(5, 2, FEATURES, dtype=torch.float64)
    for module in (theirs, fast):
        module(x)
        module.weight_ih_l0.data = module.weight_ih_l0.data * 2
        module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.detach() / 2)
        with torch.no_grad():
            module.bias_ih_l0.add_(1)
    close(call(fast, x), call(theirs, x), 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_another_dtype_moves_it(kind):
    theirs, fast = twins(make(kind, dtype=torch.float32))
    for dtype in (torch.float64, torch.float32):
        x = torch.randn(5, 2, FEATURES, dtype=dtype)
        assert fast.to(dtype).backend == "reference: asked for"
        close(call(fast, x), call(theirs.to(dtype), x), 1e-5)
    assert fast.bfloat16().backend == "torch.nn: its weights are torch.bfloat16"
    x = torch.randn(5, 2, FEATURES, dtype=torch.bfloat16)
    assert torch.equal(fast(x)[0], theirs.bfloat16()(x)[0])
    assert fast.to("meta").backend == "torch.nn: its weights are on meta"
    assert fast(x.to("meta"))[0].shape == (5, 2, UNITS)


def test_hooks_run():
    module = nn.GRU(FEATURES, UNITS)
    seen = []
    module.register_forward_pre_hook(lambda module, args: seen.append("before"))
    module.register_forward_hook(lambda module, args, result: (result[0] + 1, result[1]))
    accelerate(module)
    module.register_forward_hook(lambda module, args, result: seen.append("after"))
    x = torch.randn(5, 2, FEATURES)
    y, _ = module(x)
    assert seen == ["before", "after"]
    torch.testing.assert_close(y - 1, module.forward(x)[0])


def test_only_modules_of_the_model_are_seen_by_hooks_on_all():
    model = accelerate(nn.Sequential(nn.LSTM(FEATURES, UNITS, 2)))
    seen = []
    with nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module)):
        model(torch.zeros(5, 2, FEATURES))
    assert seen == [model[0], model]


def test_weights_computed_from_others_are_served():
    def prepare_pruned(module):
        prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)

    def prepare_normed(module):
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")

    for prepare in (prepare_pruned, prepare_normed):
        theirs, fast = twins(make("lstm"))
        prepare(theirs), prepare(fast)
        x = torch.randn(5, 2, FEATURES, dtype=torch.float64)
        assert fast.backend == "reference: asked for"
        close(call(fast, x), call(theirs, x), 1e-13)


def test_functional_call_takes_other_weights():
    theirs, fast = twins(make("gru"))
    x = torch.randn(5, 2, FEATURES, dtype=torch.float64)
    other = {name: value.detach() * 2 for name, value in theirs.named_parameters()}
    wanted = torch.func.functional_call(theirs, other, (x,))
    got = torch.func.functional_call(fast, other, (x,))
    same_numbers(got[0], wanted[0], 1e-13)


def test_second_derivatives_on_the_reference():
    theirs, fast = twins(make("gru"))
    x = torch.randn(4, 2, FEATURES, dtype=torch.float64, requires_grad=True)
    penalties = []
    for module in (theirs, fast):
        (gradient,) = torch.autograd.grad(module(x)[0].sin().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        penalties.append([p.grad for p in module.parameters()])
    for got, wanted in zip(*penalties, strict=True):
        same_numbers(got, wanted, 1e-12)


def test_what_torchs_tools_see_is_what_they_saw():
    program = Path(__file__).with_name("accelerated_traced.py")
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["compiled", "exported", "traced", "transformed"]


class Own(nn.GRU):
    def forward(self, input, hx=None):
        return super().forward(input, hx)[0], None


def replaced_forward():
    module = nn.LSTM(FEATURES, UNITS)
    module.forward = lambda input, hx=None: (input, None)
    return module


LEFT = {
    "Own is not nn.RNN, nn.LSTM or nn.GRU itself": lambda: Own(FEATURES, UNITS),
    "LSTMCell is not nn.RNN, nn.LSTM or nn.GRU itself": lambda: nn.LSTMCell(FEATURES, UNITS),
    "it has proj_size=2": lambda: nn.LSTM(FEATURES, UNITS, proj_size=2),
    "its forward was replaced on the object": replaced_forward,
    "ParametrizedGRU is not nn.RNN, nn.LSTM or nn.GRU itself": lambda: (
        nn.utils.parametrizations.weight_norm(nn.GRU(FEATURES, UNITS), "weight_hh_l0")
    ),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_can_not_be_served_is_left_alone_and_named(reason, caplog):
    model = nn.ModuleDict({"fine": nn.GRU(FEATURES, UNITS), "other": LEFT[reason]()})
    kind = type(model["other"])
    assert accelerate(model) is model
    assert type(model["other"]) is kind
    assert backends(model) == {"fine": "reference: asked for", "other": f"torch.nn: {reason}"}
    assert [record.getMessage() for record in caplog.records] == [
        f"accelerated 1 of 2 recurrent modules of ModuleDict; left alone: other: {reason}"
    ]
    assert caplog.records[0].levelno == logging.WARNING
    assert isinstance(decelerate(model)["other"], kind)


@pytest.mark.filterwarnings("ignore")
def test_quantised_modules_are_left_alone():
    quantised = torch.ao.nn.quantized.dynamic.LSTM(FEATURES, UNITS)
    model = accelerate(nn.Sequential(quantised))
    assert model[0] is quantised
    assert backends(model) == {"0": "torch.nn: LSTM is not nn.RNN, nn.LSTM or nn.GRU itself"}


def test_the_log_says_when_there_is_nothing_and_when_all_is_well(caplog):
    caplog.set_level(logging.INFO, "throughtime")
    model = nn.Linear(2, 2)
    assert accelerate(model) is model
    accelerate(Tagger())
    accelerate(tt.GRU(2, 2))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "accelerated none of the recurrent modules of Linear: there are none of torch.nn's",
        ),
        ("INFO", "accelerated all 3 recurrent modules of Tagger"),
        (
            "WARNING",
            "accelerated none of the recurrent modules of GRU: there are none of torch.nn's",
        ),
    ]


def test_it_can_be_undone():
    model = Tagger()
    classes = [type(module) for module in model.modules()]
    assert decelerate(accelerate(model)) is model
    assert [type(module) for module in model.modules()] == classes
    assert backends(model)["decoder.0"] == "torch.nn: it is not accelerated"


@pytest.mark.parametrize("function", [accelerate, decelerate, backends])
def test_what_is_no_module_is_refused(function):
    unchecked = getattr(function, "__wrapped__", function)
    with pytest.raises(OptionError, match=r"expected an nn.Module, got dict; pass the model"):
        unchecked({})


def test_torch_runs_it_where_nothing_is_faster():
    fast = accelerate(nn.GRU(FEATURES, UNITS))
    with tt.kernels.use("torch"):
        assert fast.backend.startswith("torch.nn: nothing faster (torch: ")
        x = torch.randn(5, 2, FEATURES)
        y, _ = fast(x)
    assert torch.equal(y, nn.GRU.forward(fast, x)[0])


def test_few_steps_are_left_to_torch_whatever_their_form(monkeypatch):
    fast = accelerate(nn.GRU(FEATURES, UNITS, batch_first=True))
    seen = []
    forward = tt.GRU.forward

    def watched(layer, x, state=None, **options):
        seen.append(x.shape[1])
        return forward(layer, x, state, **options)

    monkeypatch.setattr(tt.GRU, "forward", watched)
    monkeypatch.setattr(tt.GRU, "backend", property(lambda layer: "native: as if"))
    for steps in (FEW_STEPS - 1, FEW_STEPS):
        x = torch.randn(2, steps, FEATURES)
        fast(x), fast(x[0]), fast(pack_sequence(list(x)))
        fast.batch_first = False
        fast(x.transpose(0, 1))
        fast.batch_first = True
    assert seen == [FEW_STEPS] * 4
    assert fast.backend == "native: as if"


def test_mixed_weights_are_torchs_matter():
    fast = accelerate(nn.GRU(FEATURES, UNITS))
    fast.bias_hh_l0.data = fast.bias_hh_l0.data.double()
    assert fast.backend == "torch.nn: its weights are of several kinds"


@pytest.mark.parametrize(
    ("dtype", "to", "reason"),
    [
        (torch.float32, torch.float16, "autocast is to torch.float16"),
        (torch.float64, torch.bfloat16, "its weights are torch.float64 under autocast"),
    ],
)
def test_rare_autocasts_are_torchs_matter(dtype, to, reason):
    fast = accelerate(nn.GRU(FEATURES, UNITS, dtype=dtype))
    with torch.autocast("cpu", dtype=to):
        assert fast.backend == f"torch.nn: {reason}"
