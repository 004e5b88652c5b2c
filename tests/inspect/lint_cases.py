"""What the linter's examples share: what one consists of, batches, and a right training step.

Of the two kinds, `Planted` has one mistake and `Clean` has none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

B, T, F, H, SYMBOLS = 6, 24, 4, 16, 12
LENGTHS = torch.tensor([24, 9, 15, 5, 20, 12])


class Planted(NamedTuple):
    """A model with one mistake.

    Attributes:
        name: of the finding that says it.
        model: as its author wrote it.
        batch: what the model is called with.
        train_step: one step of its training, where there is one.
        options: further ones of `lint`.
        may_also: names of findings that are true of it by nature, too.
    """

    name: str
    model: nn.Module
    batch: Any
    train_step: Callable[[Any], Any] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012
    may_also: frozenset[str] = frozenset()


class Clean(NamedTuple):
    """A model with nothing to find; fields as in `Planted`."""

    model: nn.Module
    batch: Any
    train_step: Callable[[Any], Any] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012


def call(model, batch):
    """Return the output of a model, without the state that may come after it."""
    if isinstance(batch, dict):
        result = model(**batch)
    else:
        result = model(*batch) if isinstance(batch, tuple) else model(batch)
    return result if isinstance(result, Tensor) else result[0]


def input_of(batch):
    """Return the first tensor of a batch."""
    if isinstance(batch, dict):
        return next(iter(batch.values()))
    return batch[0] if isinstance(batch, tuple) else batch


def with_input(batch, x):
    """Return the batch with another first tensor."""
    if isinstance(batch, dict):
        return {**batch, next(iter(batch)): x}
    return (x, *batch[1:]) if isinstance(batch, tuple) else x


def series(steps=T):
    """Return floats (B, T, F)."""
    return torch.randn(B, steps, F)


def text():
    """Return symbols (B, T) from 1 up: 0 stands for padding."""
    return torch.randint(1, SYMBOLS, (B, T))


def present(lengths=LENGTHS, steps=T):
    """Return (B, T): whether a step is there."""
    return torch.arange(steps) < lengths[:, None]


def padded_series():
    """Return floats (B, T, F) with zeros after each sample's length."""
    return series() * present()[..., None]


def padded_text():
    """Return symbols (B, T) with 0 after each sample's length."""
    return text() * present()


def remember(rnn, steps=T):
    """Start the gates of an `nn.LSTM` or `nn.GRU` for time constants up to `steps`; return it."""
    size = rnn.hidden_size
    with torch.no_grad():
        for name, bias in rnn.named_parameters():
            if not name.startswith("bias"):
                continue
            bias[size : 2 * size] = 0
            if name.startswith("bias_ih"):
                keep = torch.empty(size).uniform_(1, steps - 1).log()
                bias[size : 2 * size] = keep
                if isinstance(rnn, nn.LSTM):
                    bias[:size] = -keep
    return rnn


def orthogonal(rnn, gain=1.0):
    """Start the recurrent weights of an `nn.RNN` as a rotation times `gain`; return it."""
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(weight, gain)
    return rnn


def training(model, *shape, clip=1.0, rate=1e-3):
    """Return a training step towards random targets of a shape that does everything right."""
    target = torch.randn(*shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def train_step(batch):
        model.train()
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(call(model, batch), target)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss.item()

    return train_step


class Tagger(nn.Module):
    """An output for every step: any layer that returns (y, state), and a head."""

    def __init__(self, rnn, width=H):
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y)


class Embedded(nn.Module):
    """A summary of symbols: the last column of what a layer makes of their embedding."""

    def __init__(self, rnn, width=H):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, F, padding_idx=0)
        self.rnn = rnn
        self.head = nn.Linear(width, 3)

    def forward(self, symbols):
        y, _ = self.rnn(self.embedding(symbols))
        return self.head(y[:, -1])
