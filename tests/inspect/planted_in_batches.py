"""Mistakes about the axes of a batch: 1 to 3 of the linter's names."""

import torch
from lint_cases import (
    SYMBOLS,
    B,
    Embedded,
    F,
    H,
    Planted,
    T,
    Tagger,
    orthogonal,
    remember,
    series,
    text,
    training,
)
from torch import nn

from throughtime.layers import LSTM


def lstm_tagger_without_batch_first():
    model = Tagger(remember(nn.LSTM(F, H)))
    return Planted("batch-and-time-swapped", model, series(), training(model, B, T, 3))


def symbols_without_batch_first():
    """The last column of the output goes by samples before it, and by no other step."""
    model = Embedded(remember(nn.GRU(F, H)))
    return Planted("batch-and-time-swapped", model, text(), training(model, B, 3))


class _TransposedByHabit(nn.Module):
    """Puts time first for a layer that has samples first."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(x.transpose(0, 1))
        return self.head(y.transpose(0, 1))


def time_first_into_batch_first():
    model = _TransposedByHabit(remember(nn.GRU(F, H, batch_first=True)))
    return Planted("batch-and-time-swapped", model, series(), training(model, B, T, 3))


def time_first_into_our_layer():
    model = _TransposedByHabit(LSTM(F, H, memory=T))
    return Planted("batch-and-time-swapped", model, series(), training(model, B, T, 3))


class _LoopOverSamples(nn.Module):
    """A recurrence by hand, over the first axis of (B, T, F)."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(F, H)
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        h = x.new_zeros(x.shape[1], H)
        states = []
        for step in x:
            h = self.cell(step, h)
            states.append(h)
        return self.head(torch.stack(states))


def loop_over_samples():
    model = _LoopOverSamples()
    return Planted("batch-and-time-swapped", model, series(), training(model, B, T, 3))


def rows_into_rnn():
    """Rows of a table, (B, F): each is meant as a sample, and read as a step."""
    model = Tagger(orthogonal(nn.RNN(F, H, batch_first=True)))
    return Planted("unbatched-input", model, torch.randn(B, F), training(model, B, 3))


def series_as_features():
    """Series of one value a step, (B, T): the layer is told that T is its input size."""
    model = Tagger(remember(nn.LSTM(T, H, batch_first=True)))
    return Planted("unbatched-input", model, torch.randn(B, T), training(model, B, 3))


class _StepByStep(nn.Module):
    """Calls a sequence layer a step at a time, with (B, F)."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        h, outputs = None, []
        for t in range(x.shape[1]):
            y, h = self.rnn(x[:, t], h)
            outputs.append(self.head(y))
        return torch.stack(outputs, 1)


def gru_stepped_with_rows():
    """What the last sample leaves behind is where the first sample's next step begins."""
    model = _StepByStep()
    return Planted("unbatched-input", model, series(), training(model, B, T, 3))


class _Standardised(nn.Module):
    """Standardises by mean and deviation of the batch at hand."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        x = (x - x.mean(0)) / (x.std(0) + 1e-5)
        y, _ = self.rnn(x)
        return self.head(y[:, -1])


def standardised_over_the_batch():
    model = _Standardised()
    return Planted("samples-leak", model, series(), training(model, B, 3))


class _BatchNormalised(nn.Module):
    """Batch norm that keeps no running figures, so evaluation goes by the batch at hand."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(F, track_running_stats=False)
        self.rnn = LSTM(F, H, memory=T)
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.head(y)


def batch_norm_without_running_figures():
    model = _BatchNormalised()
    return Planted("samples-leak", model, series(), training(model, B, T, 3))


class _AttentionOverBatch(nn.Module):
    """Attention whose first axis is time by default, on states whose first axis is samples."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.attention = nn.MultiheadAttention(H, 2)
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(x)
        mixed, _ = self.attention(y, y, y, need_weights=False)
        return self.head(y + mixed)


def attention_over_the_batch():
    model = _AttentionOverBatch()
    may_also = frozenset({"batch-and-time-swapped"})
    return Planted("samples-leak", model, series(), training(model, B, T, 3), {}, may_also)


class _PooledOverWrongAxis(nn.Module):
    """Attention weights of steps, made to sum to 1 over samples."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F)
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.score = nn.Linear(H, 1)
        self.head = nn.Linear(H, 3)

    def forward(self, symbols):
        y, _ = self.rnn(self.embedding(symbols))
        weights = torch.softmax(self.score(y), dim=0)
        return self.head((weights * y).sum(1))


def softmax_over_samples():
    model = _PooledOverWrongAxis()
    return Planted("samples-leak", model, text(), training(model, B, 3))


class _ReshapedInsteadOfTransposed(nn.Module):
    """`reshape` gives the wanted shape, and cuts samples into pieces of other sequences."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        samples, steps, features = x.shape
        y, _ = self.rnn(x.reshape(steps, samples, features))
        return self.head(y.reshape(samples, steps, H))


def reshaped_instead_of_transposed():
    model = _ReshapedInsteadOfTransposed()
    may_also = frozenset({"batch-and-time-swapped"})
    return Planted("samples-leak", model, series(), training(model, B, T, 3), {}, may_also)
