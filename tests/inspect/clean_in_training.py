"""Well-made models whose training, or what outlives a call, looks like a mistake and is none."""

import torch
from lint_cases import SYMBOLS, B, Clean, F, H, T, Tagger, call, remember, series, text, training
from torch import nn

import throughtime as tt
from throughtime.layers import GRU


class _LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F)
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(H, SYMBOLS)

    def forward(self, symbols, state=None):
        y, state = self.rnn(self.embedding(symbols), state)
        return self.head(self.dropout(y)), state


def language_model_with_carried_state():
    """Windows follow one another; the state goes on from each to the next, without its graph."""
    model = _LanguageModel()
    optimizer = torch.optim.Adam(model.parameters())
    state = None

    def train_step(symbols):
        nonlocal state
        model.train()
        optimizer.zero_grad()
        logits, (h, c) = model(symbols, state)
        state = h.detach(), c.detach()
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), symbols[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return Clean(model, text(), train_step, {"stream": True})


class _KeepsItsStream(nn.Module):
    """Made to be run on arriving data: lanes go on from call to call until they are reset."""

    def __init__(self):
        super().__init__()
        self.layer = GRU(F, H, memory=T)
        self.head = nn.Linear(H, 3)
        self.state = None

    def reset(self):
        self.state = None

    def forward(self, x):
        y, state = self.layer(x, self.state)
        self.state = tt.state.detach(state)
        return self.head(y)


def stream_kept_in_the_model():
    model = _KeepsItsStream()
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


def unscaled_target_clipped_by_hand():
    """Targets in thousands give gradients in thousands, and the author scales them down."""
    model = Tagger(remember(nn.GRU(F, H, batch_first=True)))
    target = 3000 * torch.randn(B, T, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train_step(x):
        optimizer.zero_grad()
        nn.functional.mse_loss(call(model, x), target).backward()
        with torch.no_grad():
            norm = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
            for parameter in model.parameters():
                parameter.grad *= min(1.0, 1.0 / float(norm))
        optimizer.step()

    return Clean(model, series(), train_step)


def tame_without_clipping():
    """Gradients are of the same size in every step and at every lag: there is nothing to clip."""
    model = Tagger(remember(nn.LSTM(F, H, batch_first=True)))
    return Clean(model, series(), training(model, B, T, 3, clip=None))


def unscaled_target_clipped_by_value():
    model = Tagger(remember(nn.LSTM(F, H, batch_first=True)))
    target = 3000 * torch.randn(B, T, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train_step(x):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()

    return Clean(model, series(), train_step)


def windows_within_a_step():
    """Truncated backpropagation: a state goes from window to window of a batch, not to the next."""
    model = Tagger(remember(nn.GRU(F, H, batch_first=True)))
    target = torch.randn(B, T, 3)
    optimizer = torch.optim.Adam(model.parameters())

    def train_step(x):
        hidden = None
        for window, wanted in zip(x.split(8, 1), target.split(8, 1), strict=True):
            optimizer.zero_grad()
            y, hidden = model.rnn(window, hidden)
            hidden = hidden.detach()
            nn.functional.mse_loss(model.head(y), wanted).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return Clean(model, series(), train_step)


class _NoisyInTraining(nn.Module):
    """Noise on the input, in training only."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        if self.training:
            x = x + 0.1 * torch.randn_like(x)
        y, _ = self.rnn(x)
        return self.head(y)


def noise_in_training():
    model = _NoisyInTraining()
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})
