"""Mistakes about steps: those that are not there, those to come, and noise; names 6 to 9."""

import torch
from lint_cases import (
    LENGTHS,
    SYMBOLS,
    B,
    Embedded,
    F,
    H,
    Planted,
    T,
    Tagger,
    padded_series,
    padded_text,
    remember,
    series,
    text,
    training,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.layers import GRU, LSTM, Bidirectional, Stack

LAST_COLUMN = frozenset({"padding-changes-results"})
"""A summary that is read in the padding after a run through it goes by what stands there."""


def padding_read_backwards():
    """The backward half comes to the last real step out of the padding."""
    model = Tagger(remember(nn.GRU(F, H, batch_first=True, bidirectional=True)), width=2 * H)
    options = {"lengths": LENGTHS}
    step = training(model, B, T, 3)
    return Planted("padding-changes-results", model, padded_series(), step, options)


class _MeanOfColumns(nn.Module):
    """The mean over all T columns, real or not."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F, padding_idx=0)
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, symbols):
        y, _ = self.rnn(self.embedding(symbols))
        return self.head(y.mean(1))


def mean_over_the_padding():
    model = _MeanOfColumns()
    options = {"lengths": LENGTHS}
    step = training(model, B, 3)
    return Planted("padding-changes-results", model, padded_text(), step, options)


class _DividedByLengths(nn.Module):
    """Lengths are taken, for the divisor; the sum goes over all columns."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        y, _ = self.rnn(x)
        return self.head(y.sum(1) / lengths[:, None])


def sum_divided_by_lengths():
    model = _DividedByLengths()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    return Planted("padding-changes-results", model, batch, training(model, B, 3))


class _AttendsToPadding(nn.Module):
    """Attention that is asked from the first step and masks nothing."""

    def __init__(self):
        super().__init__()
        self.layer = LSTM(F, H, memory=T)
        self.score = nn.Linear(H, 1)
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.layer(x)
        weights = torch.softmax(self.score(y), dim=1)
        return self.head((weights * y).sum(1))


def attention_without_a_mask():
    model = _AttendsToPadding()
    options = {"lengths": LENGTHS}
    step = training(model, B, 3)
    return Planted("padding-changes-results", model, padded_series(), step, options)


class _NormalisedWithPadding(nn.Module):
    """Each sample is standardised over time, its padding included."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        x = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
        y, _ = self.rnn(x)
        return self.head(y)


def standardised_with_the_padding():
    model = _NormalisedWithPadding()
    options = {"lengths": LENGTHS}
    step = training(model, B, T, 3)
    return Planted("padding-changes-results", model, padded_series(), step, options)


class _SortedLengths(nn.Module):
    """Lengths are sorted for packing, and samples are not: each is cut where another one ends."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        lengths = lengths.sort(descending=True).values
        _, hidden = self.rnn(pack_padded_sequence(x, lengths, batch_first=True))
        return self.head(hidden[-1])


def lengths_sorted_without_samples():
    model = _SortedLengths()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    may_also = frozenset({"read-out-of-padding"})
    step = training(model, B, 3)
    return Planted("padding-changes-results", model, batch, step, {}, may_also)


def last_column_of_symbols():
    model = Embedded(remember(nn.LSTM(F, H, batch_first=True)))
    options = {"lengths": LENGTHS}
    step = training(model, B, 3)
    return Planted("read-out-of-padding", model, padded_text(), step, options, LAST_COLUMN)


class _LastHidden(nn.Module):
    """`h_n`, which is the state after the padding where nothing is packed."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        _, hidden = self.rnn(x)
        return self.head(hidden[-1])


def hidden_after_the_padding():
    model = _LastHidden()
    options = {"lengths": LENGTHS}
    step = training(model, B, 3)
    return Planted("read-out-of-padding", model, padded_series(), step, options, LAST_COLUMN)


class _PackedInVain(nn.Module):
    """Packs and unpacks as it should, then takes the last column: zeros, for short samples."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(y[:, -1])


def last_column_of_unpacked():
    model = _PackedInVain()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    return Planted("read-out-of-padding", model, batch, training(model, B, 3))


class _LastColumnOfStack(nn.Module):
    """Our layers take lengths and are zero after them; the last column is read all the same."""

    def __init__(self):
        super().__init__()
        self.stack = Stack([GRU(F, H, memory=T), GRU(H, H, memory=T)])
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        y, _ = self.stack(x, lengths=lengths)
        return self.head(y[:, -1])


def last_column_of_our_stack():
    model = _LastColumnOfStack()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    return Planted("read-out-of-padding", model, batch, training(model, B, 3))


STREAM = {"stream": True}


def bidirectional_lstm_on_a_stream():
    model = Tagger(remember(nn.LSTM(F, H, batch_first=True, bidirectional=True)), width=2 * H)
    return Planted("not-causal", model, series(), training(model, B, T, 3), STREAM)


def our_bidirectional_on_a_stream():
    both = Bidirectional(GRU(F, H, memory=T), GRU(F, H, memory=T))
    model = Tagger(both, width=2 * H)
    return Planted("not-causal", model, series(), training(model, B, T, 3), STREAM)


class _CentredConvolution(nn.Module):
    """A convolution padded on both sides, below a GRU: two steps ahead are seen."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(F, F, 5, padding=2)
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(self.convolution(x.transpose(1, 2)).transpose(1, 2))
        return self.head(y)


def centred_convolution():
    model = _CentredConvolution()
    return Planted("not-causal", model, series(), training(model, B, T, 3), STREAM)


class _ScaledByWindow(nn.Module):
    """Each series is scaled by its mean over the window, as forecasters do."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(x / (1e-5 + x.abs().mean(1, keepdim=True)))
        return self.head(y)


def scaled_by_the_window():
    model = _ScaledByWindow()
    return Planted("not-causal", model, series(), training(model, B, T, 3), STREAM)


class _UnmaskedTransformer(nn.Module):
    """A language model that sees the symbols it is to predict."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, H)
        self.place = nn.Parameter(0.1 * torch.randn(T, H))
        self.layer = nn.TransformerEncoderLayer(H, 2, 2 * H, dropout=0.1, batch_first=True)
        self.head = nn.Linear(H, SYMBOLS)

    def forward(self, symbols):
        return self.head(self.layer(self.embedding(symbols) + self.place[: symbols.shape[1]]))


def transformer_without_a_mask():
    model = _UnmaskedTransformer()
    return Planted("not-causal", model, text(), training(model, B, T, SYMBOLS), STREAM)


class _Noisy(nn.Module):
    """A classifier with something done to the states before the head reads the last one."""

    def __init__(self, disturb):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)
        self.disturb = disturb

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(self.disturb(y)[:, -1])


def functional_dropout():
    """`nn.functional.dropout` drops unless it is told not to."""
    model = _Noisy(lambda y: nn.functional.dropout(y, 0.3))
    return Planted("noise-in-evaluation", model, series(), training(model, B, 3))


def dropout_made_in_forward():
    """A module that is made anew in each call is in training mode."""
    model = _Noisy(lambda y: nn.Dropout(0.5)(y))
    return Planted("noise-in-evaluation", model, series(), training(model, B, 3))


def noise_on_the_states():
    model = _Noisy(lambda y: y + 0.05 * torch.randn_like(y))
    return Planted("noise-in-evaluation", model, series(), training(model, B, 3))


class _RandomStart(nn.Module):
    """States begin with random numbers, as in a well-known tutorial."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        start = torch.randn(1, len(x), H), torch.randn(1, len(x), H)
        y, _ = self.rnn(x, start)
        return self.head(y)


def random_initial_state():
    model = _RandomStart()
    return Planted("noise-in-evaluation", model, series(), training(model, B, T, 3))
