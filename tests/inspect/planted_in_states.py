"""Mistakes about what outlives a batch: 4 and 5 of the linter's names."""

import torch
from lint_cases import SYMBOLS, B, F, H, Planted, T, remember, series, text, training
from torch import nn

import throughtime as tt
from throughtime.layers import GRU, LSTM


class _KeepsHidden(nn.Module):
    """Begins each call where the last one ended."""

    def __init__(self, *, detached=True):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)
        self.hidden = None
        self.detached = detached

    def forward(self, x):
        y, hidden = self.rnn(x, self.hidden)
        self.hidden = hidden.detach() if self.detached else hidden
        return self.head(y[:, -1])


def hidden_kept_in_an_attribute():
    model = _KeepsHidden()
    return Planted("state-reused", model, series(), training(model, B, 3))


class _KeepsOurState(nn.Module):
    """The same with one of our layers and its state."""

    def __init__(self):
        super().__init__()
        self.layer = LSTM(F, H, memory=T)
        self.head = nn.Linear(H, 3)
        self.state = None

    def forward(self, x):
        y, state = self.layer(x, self.state)
        self.state = tt.state.detach(state)
        return self.head(y)


def our_state_kept_in_an_attribute():
    model = _KeepsOurState()
    return Planted("state-reused", model, series(), training(model, B, T, 3))


class _KeepsABuffer(nn.Module):
    """The same in a buffer, which is saved with the weights."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)
        self.register_buffer("hidden", torch.zeros(1, B, H))

    def forward(self, x):
        y, hidden = self.rnn(x, self.hidden.clone())
        self.hidden.copy_(hidden.detach())
        return self.head(y[:, -1])


def hidden_kept_in_a_buffer():
    model = _KeepsABuffer()
    return Planted("state-reused", model, series(), training(model, B, 3))


class _ZeroedOnce(nn.Module):
    """A recurrence by hand whose state is zero when the model is built, and never again."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(F, H)
        self.head = nn.Linear(H, 3)
        self.h = torch.zeros(B, H)

    def forward(self, x):
        for t in range(x.shape[1]):
            self.h = self.cell(x[:, t], self.h)
        output = self.head(self.h)
        self.h = self.h.detach()
        return output


def state_zeroed_when_built():
    model = _ZeroedOnce()
    return Planted("state-reused", model, series(steps=6), training(model, B, 3))


class _TakesHidden(nn.Module):
    """A classifier that is handed the state to begin with."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x, hidden=None):
        y, hidden = self.rnn(x, hidden)
        return self.head(y[:, -1]), hidden


def hidden_reused_by_the_training_step():
    """`hidden` is made once for all batches, and each goes on where the one before ended."""
    model = _TakesHidden()
    target = torch.randn(B, 3)
    optimizer = torch.optim.Adam(model.parameters())
    hidden = torch.zeros(1, B, H)

    def train_step(x):
        nonlocal hidden
        optimizer.zero_grad()
        output, hidden = model(x, hidden)
        hidden = hidden.detach()
        loss = nn.functional.mse_loss(output, target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return Planted("state-reused", model, series(), train_step)


class _LanguageModel(nn.Module):
    """Logits of the next symbol, from an LSTM whose state is handed in and out."""

    def __init__(self, rnn):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F)
        self.rnn = rnn
        self.head = nn.Linear(H, SYMBOLS)

    def forward(self, symbols, state=None):
        y, state = self.rnn(self.embedding(symbols), state)
        return self.head(y), state


def _loss(logits, symbols):
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), symbols[:, 1:].flatten())


def _carrying(model, optimizer, carried=lambda state: state, **backward):
    """Return a training step of windows that follow one another; `carried` goes into the next."""
    state = None

    def train_step(symbols):
        nonlocal state
        optimizer.zero_grad()
        logits, state = model(symbols, state)
        state = carried(state)
        _loss(logits, symbols).backward(**backward)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return train_step


def windows_without_detach():
    model = _LanguageModel(remember(nn.LSTM(F, H, batch_first=True)))
    train_step = _carrying(model, torch.optim.Adam(model.parameters()))
    return Planted("state-not-detached", model, text(), train_step, {"stream": True})


def windows_with_retained_graph():
    """The error asks for `retain_graph=True`; with it, weights have changed under the graph."""
    model = _LanguageModel(remember(nn.LSTM(F, H, batch_first=True)))
    train_step = _carrying(model, torch.optim.SGD(model.parameters(), lr=0.1), retain_graph=True)
    return Planted("state-not-detached", model, text(), train_step, {"stream": True})


def windows_with_detach_dropped():
    """`detach` returns the state that it makes, and nobody takes it."""
    model = _LanguageModel(GRU(F, H, memory=T))

    def carried(state):
        tt.state.detach(state)
        return state

    train_step = _carrying(model, torch.optim.Adam(model.parameters()), carried)
    return Planted("state-not-detached", model, text(), train_step, {"stream": True})


class _StepsData(torch.optim.SGD):
    """SGD written as tutorials do, on `.data`: no error tells of a graph that grows."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad.data, alpha=-group["lr"])


def windows_with_a_growing_graph():
    model = _LanguageModel(remember(nn.GRU(F, H, batch_first=True)))
    train_step = _carrying(model, _StepsData(model.parameters(), lr=0.1), retain_graph=True)
    return Planted("state-not-detached", model, text(), train_step, {"stream": True})


def hidden_kept_with_its_graph():
    model = _KeepsHidden(detached=False)
    may_also = frozenset({"state-reused"})
    return Planted("state-not-detached", model, series(), training(model, B, 3), {}, may_also)
