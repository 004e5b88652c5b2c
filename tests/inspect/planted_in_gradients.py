"""Mistakes about how gradients pass through time: names 10 to 12."""

import torch
from lint_cases import B, F, H, Planted, Tagger, call, orthogonal, remember, series, training
from torch import nn

from throughtime.layers import GRU, LSTM, RNN

UNSTABLE = frozenset({"lyapunov-far-from-zero"})
"""Gradients that explode over lags are what an exponent above zero foretells."""

FORGETFUL = frozenset({"lyapunov-far-from-zero"})
"""A gate that is half shut makes gradients vanish, and the exponent says so."""

LONG = 40


def _unclipped(model, *shape, before=None, after=None, rate=0.01):
    """Return a training step that clips at the wrong place, if at all."""
    target = torch.randn(*shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)

    def train_step(batch):
        optimizer.zero_grad()
        if before:
            before()
        nn.functional.mse_loss(call(model, batch), target).backward()
        optimizer.step()
        if after:
            after()

    return train_step


def _rectified():
    """Return a tagger of rectified units that start as a little more than the identity."""
    rnn = nn.RNN(F, H, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(1.05 * torch.eye(H))
    return Tagger(rnn)


def rectified_without_clipping():
    model = _rectified()
    step = _unclipped(model, B, LONG, 3)
    return Planted("no-clipping", model, series(LONG), step, {}, UNSTABLE)


def chaotic_without_clipping():
    """Outputs stay within 1, and gradients do not."""
    model = Tagger(orthogonal(RNN(F, 24), gain=6.0), width=24)
    step = _unclipped(model, B, LONG, 3)
    return Planted("no-clipping", model, series(LONG), step, {}, UNSTABLE)


class _LinearByHand(nn.Module):
    """A linear recurrence by hand, with nothing that keeps its matrix from growing."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(nn.init.orthogonal_(torch.empty(H, H), gain=1.3))
        self.b = nn.Linear(F, H)
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        h = x.new_zeros(len(x), H)
        for t in range(x.shape[1]):
            h = h @ self.a.T + self.b(x[:, t])
        return self.head(h)


def linear_by_hand_without_clipping():
    model = _LinearByHand()
    step = _unclipped(model, B, 3)
    return Planted("no-clipping", model, series(LONG), step, {}, UNSTABLE)


def clipped_after_the_step():
    model = _rectified()
    step = _unclipped(
        model, B, LONG, 3, after=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    )
    return Planted("no-clipping", model, series(LONG), step, {}, UNSTABLE)


def clipped_before_backward():
    """What is clipped are the gradients of the step before, or none."""
    model = _rectified()
    step = _unclipped(
        model, B, LONG, 3, before=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    )
    return Planted("no-clipping", model, series(LONG), step, {}, UNSTABLE)


def clipped_in_the_head_only():
    """The gradients that pass through time are those that are left as they are."""
    model = _rectified()
    target = torch.randn(B, LONG, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def train_step(x):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        nn.utils.clip_grad_norm_(model.head.parameters(), 1.0)
        optimizer.step()

    return Planted("no-clipping", model, series(LONG), train_step, {}, UNSTABLE)


def default_lstm_for_a_hundred_steps():
    model = Tagger(nn.LSTM(F, H, batch_first=True))
    options = {"memory": 100}
    step = training(model, B, LONG, 3)
    return Planted("forget-bias-near-zero", model, series(LONG), step, options, FORGETFUL)


def default_gru_over_its_batch():
    """The task needs all the steps of its batch, and the layer begins with gates half shut."""
    model = nn.GRU(F, H, batch_first=True)
    options = {"memory": LONG}
    return Planted("forget-bias-near-zero", model, series(LONG), None, options, FORGETFUL)


def our_lstm_with_zero_bias():
    model = Tagger(LSTM(F, H, forget_bias=0.0))
    options = {"memory": 200}
    step = training(model, B, LONG, 3)
    return Planted("forget-bias-near-zero", model, series(LONG), step, options, FORGETFUL)


def our_gru_with_default_bias():
    model = Tagger(GRU(F, H))
    step = training(model, B, LONG, 3)
    options = {"memory": 100}
    return Planted("forget-bias-near-zero", model, series(LONG), step, options, FORGETFUL)


def bias_of_another_gate():
    """The author has the forget gate first; in `nn.LSTM` the input gate is."""
    rnn = nn.LSTM(F, H, batch_first=True)
    with torch.no_grad():
        rnn.bias_ih_l0[:H] = 5.0
        rnn.bias_hh_l0[:H] = 0.0
    model = Tagger(rnn)
    step = training(model, B, LONG, 3)
    options = {"memory": 100}
    return Planted("forget-bias-near-zero", model, series(LONG), step, options, FORGETFUL)


def shut_in_the_upper_layer():
    """The lower of two layers was seen to, the upper was not."""
    rnn = nn.LSTM(F, H, num_layers=2, batch_first=True)
    with torch.no_grad():
        rnn.bias_ih_l0[H : 2 * H] = torch.empty(H).uniform_(1, 99).log()
        rnn.bias_hh_l0[H : 2 * H] = 0.0
        rnn.bias_ih_l1[H : 2 * H] = 0.0
        rnn.bias_hh_l1[H : 2 * H] = 0.0
    model = Tagger(rnn)
    step = training(model, B, LONG, 3)
    options = {"memory": 100}
    return Planted("forget-bias-near-zero", model, series(LONG), step, options, FORGETFUL)


def default_rnn_for_a_hundred_steps():
    model = Tagger(nn.RNN(F, H, batch_first=True))
    options = {"memory": 100}
    step = training(model, B, LONG, 3)
    return Planted("lyapunov-far-from-zero", model, series(LONG), step, options)


def our_rnn_with_tiny_weights():
    layer = RNN(F, H)
    nn.init.normal_(layer.weight_hh, std=0.01)
    model = Tagger(layer)
    step = training(model, B, LONG, 3)
    return Planted("lyapunov-far-from-zero", model, series(LONG), step)


def chaotic_and_clipped():
    """Clipping keeps steps small; where gradients point is still noise."""
    model = Tagger(orthogonal(nn.RNN(F, 24, batch_first=True), gain=6.0), width=24)
    step = training(model, B, LONG, 3)
    return Planted("lyapunov-far-from-zero", model, series(LONG), step)


def chaotic_lower_layer():
    """A healthy GRU reads what a chaotic network makes of the input."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower = orthogonal(nn.RNN(F, H, batch_first=True), gain=8.0)
            self.upper = remember(nn.GRU(H, H, batch_first=True), LONG)

        def forward(self, x):
            return self.upper(self.lower(x)[0])[0]

    model = Two()
    step = training(model, B, LONG, H)
    return Planted("lyapunov-far-from-zero", model, series(LONG), step)
