"""What small experiments share: models that read sequences, how they learn, how they are scored."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import layers
from throughtime import state as states
from throughtime.recurrent import Recurrent
from throughtime.state import State

Sample = Callable[[], tuple[Tensor, Tensor]]
Score = Callable[[Tensor, Tensor], Tensor]

SWAPS = torch.tensor([[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]])
"""Where a ball in cup 0, 1 or 2 is after each move: none, or two cups change places."""


class Reader(nn.Module):
    """Symbols or numbers in, scores out: an encoder, a recurrent layer or stack, a read-out.

    Args:
        inputs: how many symbols there are; how many numbers a step has where they are `numbers`.
        outputs: how many scores, D.
        layer: as `--layer` takes it, or a function from the width of a step to a layer.
        every: whether each step has scores (B, T, D); those of the last step (B, D) if not.
        numbers: whether steps are numbers (B, T, F), not symbols (B, T).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        layer: str | Callable[[int], Recurrent],
        every: bool = False,
        numbers: bool = False,
    ) -> None:
        super().__init__()
        width = inputs if numbers else 16
        self.encoder = nn.Identity() if numbers else nn.Embedding(inputs, width)
        make = partial(layers.build, layers.parse(layer)) if isinstance(layer, str) else layer
        self.layer = make(width)
        self.head = nn.Linear(self.layer.output_size, outputs)
        self.every = every

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return scores of each step (B, T, D), or of the last step of each lane (B, D)."""
        return self.carry(x, None, lengths)[0]

    def carry(
        self, x: Tensor, state: State | None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Return scores and the state after them, from a state before."""
        y, state = self.layer(self.encoder(x), state, lengths=lengths)
        if not self.every:
            last = torch.full((len(y),), y.shape[1]) if lengths is None else lengths
            y = y[torch.arange(len(y)), last - 1]
        return self.head(y), states.detach(state)


class Transformer(nn.Module):
    """Causal attention in two blocks, with positions as sines, as Vaswani et al. (2017) have it.

    Args:
        encoder: from the steps of sequences to vectors (B, T, H).
        outputs: how many scores, D.
        size: H.
    """

    def __init__(self, encoder: nn.Module, outputs: int, size: int) -> None:
        super().__init__()
        self.encoder = encoder
        block = nn.TransformerEncoderLayer(size, 4, 2 * size, 0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(size, outputs)
        self.rates = 10_000.0 ** (-torch.arange(0, size, 2) / size)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of each step (B, T, D)."""
        steps = x.shape[1]
        angles = torch.arange(steps)[:, None] * self.rates
        x = self.encoder(x) + torch.cat([angles.sin(), angles.cos()], 1)
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        scores: Tensor = self.head(self.blocks(x, mask=mask, is_causal=True))
        return scores


def games(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return moves of three cups (B, T), and the cup with the ball after each (B, T); first 0."""
    moves = torch.randint(0, len(SWAPS), (count, length), generator=generator)
    cup = torch.zeros(count, dtype=torch.int64)
    cups = []
    for t in range(length):
        cup = SWAPS[moves[:, t], cup]
        cups.append(cup)
    return moves, torch.stack(cups, 1)


def cross_entropy(scores: Tensor, answers: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores (..., D) where answers (...) are not below 0."""
    return functional.cross_entropy(scores.flatten(0, -2), answers.flatten(), ignore_index=-1)


def learn(
    model: nn.Module,
    sample: Sample,
    *,
    updates: int,
    rate: float = 5e-3,
    clip: float = 1.0,
    loss: Score = cross_entropy,
    watch: Callable[[int, float], bool] | None = None,
) -> None:
    """Train a model by Adam on fresh samples.

    Args:
        model: from what `sample` gives first to what `loss` takes first.
        sample: returns inputs and answers, new ones each time.
        updates: how many at most.
        rate: of learning.
        clip: the largest norm of a gradient.
        loss: from outputs and answers to a number.
        watch: told the number of updates made and the loss of each; True ends the training.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for update in range(1, updates + 1):
        given, answers = sample()
        found = loss(model(given), answers)
        optimiser.zero_grad()
        torch.autograd.backward(found)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        if watch is not None and watch(update, float(found.detach())):
            break
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, given: Tensor, answers: Tensor) -> float:
    """Return the share of answers (..., those below 0 left out) that have the highest score."""
    asked = answers >= 0
    return float((model(given).argmax(-1) == answers)[asked].double().mean())
