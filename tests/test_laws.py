import time
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import LawBrokenError, OptionError
from throughtime.layers import GRU, LSTM, RNN, Bidirectional, Stack
from throughtime.recurrent import LinearRecurrent, Recurrent
from throughtime.testing import check_recurrent


class Decay(Recurrent):
    """The ten lines that a user writes; its state is a bare tensor."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)
        self.rate = nn.Parameter(torch.full((size,), 0.9))

    def initial_state(self, batch_size, *, device=None, dtype=None):
        return self.rate.new_zeros(batch_size, self.output_size)

    def update(self, x, state):
        state = self.rate * state + x
        return state, state


class Gated(LinearRecurrent):
    """A linear recurrence with gates that the input sets."""

    def __init__(self) -> None:
        super().__init__(3, 2, 4)
        self.gates = nn.Linear(3, 8)
        self.out = nn.Linear(4, 2)

    def coefficients(self, x):
        a, b = self.gates(x).chunk(2, dim=-1)
        return torch.sigmoid(a), b

    def read_out(self, h, x):
        return self.out(h.to(x.dtype))


@states.register
class ClockState(NamedTuple):
    h: Tensor
    ticks: Tensor


class Clock(Recurrent):
    """A layer that counts its steps in the state, and starts elsewhere than at zero."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.start = nn.Parameter(torch.tensor([0.5, -0.5, 1.0]))
        self.mix = nn.Linear(3, 3)

    def initial_state(self, batch_size, *, device=None, dtype=None):
        h = self.start.to(device, dtype).repeat(batch_size, 1)
        return ClockState(h, torch.zeros(batch_size, dtype=torch.int64, device=device))

    def update(self, x, state):
        phase = torch.cos(state.ticks[:, None].to(x.dtype))
        h = torch.tanh(self.mix(x) + phase * state.h)
        return h, ClockState(h, state.ticks + 1)


LAYERS = {
    "rnn": lambda: RNN(3, 4),
    "rnn_relu": lambda: RNN(3, 4, nonlinearity="relu"),
    "rnn_bare": lambda: RNN(3, 4, bias=False, learned_initial_state=True),
    "lstm": lambda: LSTM(3, 4),
    "lstm_bare": lambda: LSTM(3, 4, bias=False),
    "lstm_memory": lambda: LSTM(3, 4, memory=20, learned_initial_state=True),
    "gru": lambda: GRU(3, 4),
    "gru_bare": lambda: GRU(3, 4, bias=False),
    "gru_memory": lambda: GRU(3, 4, memory=20, learned_initial_state=True),
    "stack": lambda: Stack([GRU(3, 4), GRU(4, 4)]),
    "stack_full": lambda: Stack([LSTM(4, 4), GRU(4, 5)], dropout=0.4, residual=True, norm=True),
    "stack_mixed": lambda: Stack([RNN(3, 2), LSTM(2, 5), Decay(5)], dropout=0.2),
    "bidirectional": lambda: Bidirectional(GRU(3, 4), LSTM(3, 2, learned_initial_state=True)),
    "bidirectional_of_stack": lambda: Bidirectional(
        Stack([GRU(3, 2), GRU(2, 3)], dropout=0.5), RNN(3, 2)
    ),
    "stack_of_bidirectional": lambda: Stack(
        [Bidirectional(GRU(3, 2), GRU(3, 2)), GRU(4, 3)], dropout=0.3
    ),
    "decay": lambda: Decay(3),
    "gated": Gated,
    "clock": Clock,
}


def learned(layer: nn.Module) -> nn.Module:
    """Move learned initial states away from the zeros that they start at."""
    for name, parameter in layer.named_parameters():
        if name.endswith("initial"):
            nn.init.normal_(parameter, std=0.5)
    return layer


TELLING = {"rnn", "lstm", "gru", "stack_full", "decay", "gated", "clock"}
"""Layers whose check in the reference adds to that in faster kernels; the others', those of more
stacks and of torch's kernel with other options are slow."""


def on_every_backend():
    """Each layer on each backend that has a kernel for it."""
    for name, make in LAYERS.items():
        for backend in kernels.BACKENDS:
            with kernels.use(backend):
                falls_back = make().backend.startswith("reference")
            slow = name not in TELLING and (backend == "reference" or "stack" in name)
            slow |= name == "stack_full" and backend != "native"
            slow |= name.endswith(("_bare", "_memory")) and backend == "torch"
            marks = [pytest.mark.slow] if slow else []
            if backend == "reference" or not falls_back:
                yield pytest.param(name, backend, marks=marks)


@pytest.mark.parametrize(("name", "backend"), list(on_every_backend()))
def test_a_layer_keeps_the_laws(name, backend):
    layer = learned(LAYERS[name]())
    with kernels.use(backend):
        report = check_recurrent(layer, batch_size=2, steps=5)
    laws = [row.law for row in report.rows]
    assert laws == ([1, 2, 3, 4, 5, 6, 7, 8] if layer.streamable else [1, 2, 3, 4, 5, 6, 8])
    assert report.notes == ()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_in_another_dtype_keeps_the_laws(dtype):
    check_recurrent(LSTM(3, 4, learned_initial_state=True).to(dtype), batch_size=2, steps=5, seed=1)


def test_a_larger_layer_keeps_the_laws_within_a_tolerance_of_its_own():
    check_recurrent(LSTM(5, 64), batch_size=4, steps=9, seed=2, tolerance=1e-5)


def test_a_check_leaves_no_trace():
    layer = Stack([GRU(3, 4), GRU(4, 4)], dropout=0.5).train()
    layer.layers[1].eval()
    layer(torch.randn(2, 3, 3))[0].sum().backward()
    attributes = {name: set(vars(module)) for name, module in layer.named_modules()}
    parameters = {name: (p, p.data_ptr(), p.clone()) for name, p in layer.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in layer.named_parameters()}
    modes = [module.training for module in layer.modules()]
    random = torch.get_rng_state()
    check_recurrent(layer, batch_size=2, steps=4)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in layer.modules()] == modes
    assert {name: set(vars(module)) for name, module in layer.named_modules()} == attributes
    for name, parameter in layer.named_parameters():
        before, place, content = parameters[name]
        assert parameter is before
        assert parameter.data_ptr() == place
        assert torch.equal(parameter, content)
        assert torch.equal(parameter.grad, gradients[name])


def test_a_check_works_under_no_grad():
    with torch.no_grad():
        check_recurrent(GRU(2, 3))


def test_a_small_layer_is_checked_in_seconds():
    start = time.process_time()
    check_recurrent(GRU(3, 4))
    assert time.process_time() - start < 10


def test_the_report_prints_a_line_for_each_law():
    text = str(check_recurrent(RNN(2, 3)))
    assert text.startswith("RNN(2, 3, bias=True): 8 laws hold")
    for name in ("step", "chunking", "hold", "reset", "lanes", "shape", "causality", "numbers"):
        assert name in text


def test_too_small_a_case_is_refused():
    with pytest.raises(OptionError, match="batch_size of 2 or more and steps of 4 or more"):
        check_recurrent(RNN(2, 3), steps=3)


class Forgetful(Decay):
    """Masks after the projection, so that NaN in the padding reaches its parameters."""

    def forward(self, x, state=None, *, lengths=None, resets=None):
        scaled = x * self.rate
        y, end = super().forward(scaled, state, lengths=lengths, resets=resets)
        return y, end

    def step(self, x, state, *, reset=None):
        return super().step(x * self.rate, state, reset=reset)


def test_a_message_names_the_law_the_place_the_amount_and_the_mend():
    with pytest.raises(LawBrokenError) as caught:
        check_recurrent(Forgetful(3))
    assert caught.value.law == 3
    message = str(caught.value)
    assert message.startswith(
        "law 3 (hold): the gradient of rate of forward with NaN in the padding"
    )
    assert "first at index [0]: nan instead of" in message
    assert message.endswith("mask the input before anything is computed from it")


class Float32Only(Decay):
    def update(self, x, state):
        y, state = super().update(x, state)
        return (y.float() @ torch.eye(3)).to(x.dtype), state


class Float32Constant(Decay):
    def update(self, x, state):
        return super().update(x @ torch.eye(3), state)


def test_a_layer_that_only_runs_in_float32_is_checked_there():
    report = check_recurrent(Float32Constant(3))
    assert "in float32 only" in str(report)


def test_a_layer_that_rounds_to_float32_is_held_to_that():
    report = check_recurrent(Float32Only(3))
    assert "rounds as float32" in str(report)
