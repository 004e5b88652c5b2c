"""Models that are well made, with training steps that are: the linter has nothing to say.

Several do what looks like a mistake and is none: they keep a state that nothing reads, normalise by
running figures, or read the last column of batches that have no padding. `clean_in_training.py` has
those of which it is true of the training.
"""

import clean_in_training as in_training
import torch
from lint_cases import (
    LENGTHS,
    SYMBOLS,
    B,
    Clean,
    Embedded,
    F,
    H,
    T,
    Tagger,
    orthogonal,
    padded_series,
    padded_text,
    present,
    remember,
    series,
    text,
    training,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.layers import GRU, LSTM, Stack, make


class _PackedClassifier(nn.Module):
    """Reads each sample's last real step out of a packed run."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F, padding_idx=0)
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, symbols, lengths):
        packed = pack_padded_sequence(
            self.embedding(symbols), lengths, batch_first=True, enforce_sorted=False
        )
        _, hidden = self.rnn(packed)
        return self.head(hidden[-1])


def packed_classifier():
    model = _PackedClassifier()
    batch = {"symbols": padded_text(), "lengths": LENGTHS}
    return Clean(model, batch, training(model, B, 3))


class _StackWithHead(nn.Module):
    """Our layers with lengths; the summary is the last layer's state, after the last real step."""

    def __init__(self):
        super().__init__()
        self.stack = Stack(
            [LSTM(F, H, memory=T), LSTM(H, H, memory=T)], dropout=0.1, residual=True, norm=True
        )
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        _, state = self.stack(x, lengths=lengths)
        return self.head(state[1].h)


def our_stack_with_lengths():
    model = _StackWithHead()
    return Clean(model, {"x": padded_series(), "lengths": LENGTHS}, training(model, B, 3))


class _LastRealStep(nn.Module):
    """Runs through the padding and gathers each sample's last real step before it."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        y, _ = self.rnn(x)
        return self.head(y[torch.arange(len(x)), lengths - 1])


def gathered_last_step():
    model = _LastRealStep()
    batch = padded_series(), LENGTHS
    return Clean(model, batch, training(model, B, 3), {"lengths": LENGTHS})


class _PackedBidirectional(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H, batch_first=True, bidirectional=True))
        self.head = nn.Linear(2 * H, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(y)


def packed_bidirectional_tagger():
    """Whole sentences are there before it is asked, so it may read them from the end, too."""
    model = _PackedBidirectional()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    return Clean(model, batch, training(model, B, T, 3))


class _MaskedAttention(nn.Module):
    """Attention over real steps only."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.GRU(F, H, batch_first=True))
        self.score = nn.Linear(H, 1)
        self.head = nn.Linear(H, 3)

    def forward(self, x, lengths):
        y, _ = self.rnn(x)
        scores = self.score(y).squeeze(-1)
        scores = scores.masked_fill(~present(lengths, x.shape[1]), float("-inf"))
        return self.head((torch.softmax(scores, 1)[..., None] * y).sum(1))


def attention_with_a_mask():
    model = _MaskedAttention()
    batch = {"x": padded_series(), "lengths": LENGTHS}
    return Clean(model, batch, training(model, B, 3))


class _CausalConvolution(nn.Module):
    """Two convolutions, padded in front."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(F, H, 3)
        self.second = nn.Conv1d(H, 3, 3, dilation=2)

    def forward(self, x):
        x = torch.relu(self.first(nn.functional.pad(x.transpose(1, 2), (2, 0))))
        return self.second(nn.functional.pad(x, (4, 0))).transpose(1, 2)


def causal_convolution():
    model = _CausalConvolution()
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


class _CausalTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, H)
        self.place = nn.Parameter(0.1 * torch.randn(T, H))
        self.layer = nn.TransformerEncoderLayer(H, 2, 2 * H, dropout=0.1, batch_first=True)
        self.head = nn.Linear(H, SYMBOLS)

    def forward(self, symbols):
        steps = symbols.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        x = self.embedding(symbols) + self.place[:steps]
        return self.head(self.layer(x, src_mask=mask, is_causal=True))


def causal_transformer():
    model = _CausalTransformer()
    return Clean(model, text(), training(model, B, T, SYMBOLS), {"stream": True})


class _TimeFirstInside(nn.Module):
    """Puts time first for a layer that wants it so, and puts it back."""

    def __init__(self):
        super().__init__()
        self.rnn = remember(nn.LSTM(F, H, num_layers=2, dropout=0.1))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(x.transpose(0, 1))
        return self.head(y.transpose(0, 1))


def time_first_inside():
    model = _TimeFirstInside()
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


def gru_for_a_hundred_steps():
    """The gates were set for what the task needs, and the batch is shorter."""
    model = Tagger(remember(nn.GRU(F, H, batch_first=True), steps=100))
    return Clean(model, series(40), training(model, B, 40, 3), {"memory": 100})


class _Regularised(nn.Module):
    """Dropout and layer norm as modules, both of which know when they are evaluated."""

    def __init__(self):
        super().__init__()
        self.below = nn.Sequential(nn.Linear(F, H), nn.LayerNorm(H), nn.Dropout(0.2))
        self.rnn = remember(nn.GRU(H, H, batch_first=True))
        self.above = nn.Sequential(nn.LayerNorm(H), nn.Dropout(0.2), nn.Linear(H, 3))

    def forward(self, x):
        y, _ = self.rnn(self.below(x))
        return self.above(nn.functional.dropout(y, 0.1, training=self.training))


def dropout_and_layer_norm():
    model = _Regularised()
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


class _RunningFigures(nn.Module):
    """Batch norm, which in evaluation goes by what it saw in training."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(F)
        self.rnn = remember(nn.LSTM(F, H, batch_first=True))
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        y, _ = self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.head(y[:, -1])


def batch_norm_with_running_figures():
    model = _RunningFigures()
    return Clean(model, series(), training(model, B, 3))


def summary_of_full_columns():
    """The last column is every sample's last real step where there is no padding."""
    model = Embedded(remember(nn.GRU(F, H, batch_first=True)))
    return Clean(model, text(), training(model, B, 3))


class _KeepsAGlance(nn.Module):
    """Keeps the last state to be looked at; every call begins with zeros."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(F, H)
        self.head = nn.Linear(H, 3)
        self.hidden = None

    def forward(self, x):
        self.hidden = x.new_zeros(len(x), H), x.new_zeros(len(x), H)
        outputs = []
        for t in range(x.shape[1]):
            self.hidden = self.cell(x[:, t], self.hidden)
            outputs.append(self.head(self.hidden[0]))
        return torch.stack(outputs, 1)


def state_kept_to_be_looked_at():
    model = _KeepsAGlance()
    with torch.no_grad():
        model.cell.bias_ih[H : 2 * H] = 3.0
    return Clean(model, series(12), training(model, B, 12, 3), {"stream": True})


def rotation_with_clipping():
    model = Tagger(orthogonal(nn.RNN(F, H, batch_first=True)))
    return Clean(model, series(), training(model, B, T, 3), {"memory": 10})


def default_gru_for_four_steps():
    """As PyTorch starts it, a GRU remembers a few steps, and that is all that is asked."""
    model = nn.GRU(F, H, batch_first=True)
    return Clean(model, series(12), None, {"memory": 4})


def learned_initial_state():
    model = Tagger(GRU(F, H, memory=T, learned_initial_state=True))
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


def linear_recurrence():
    """A layer of ours that is run by a scan."""
    model = Tagger(make("lru", F, H))
    return Clean(model, series(), training(model, B, T, 3), {"stream": True})


CLEAN = {
    make.__name__: make
    for make in (
        packed_classifier,
        in_training.language_model_with_carried_state,
        in_training.stream_kept_in_the_model,
        our_stack_with_lengths,
        gathered_last_step,
        packed_bidirectional_tagger,
        attention_with_a_mask,
        causal_convolution,
        causal_transformer,
        time_first_inside,
        gru_for_a_hundred_steps,
        dropout_and_layer_norm,
        batch_norm_with_running_figures,
        summary_of_full_columns,
        state_kept_to_be_looked_at,
        rotation_with_clipping,
        in_training.unscaled_target_clipped_by_hand,
        in_training.tame_without_clipping,
        in_training.unscaled_target_clipped_by_value,
        in_training.windows_within_a_step,
        in_training.noise_in_training,
        default_gru_for_four_steps,
        learned_initial_state,
        linear_recurrence,
    )
}
"""Each builds a `Clean`; numbers are drawn from the seed that is set before."""
