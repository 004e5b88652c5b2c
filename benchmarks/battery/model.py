"""The one small model that every layer is put into."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.battery.task import Task
from throughtime import layers
from throughtime.recurrent import Recurrent

WIDTH, BLOCKS = 64, 2
TAPS = 4
"""Steps that the convolution before a layer sees."""


class ShortConvolution(nn.Module):
    """Each feature mixed with its own last few steps, the present one included.

    In a task of pairs it stands before every layer: a value belongs to the key one step before it,
    and which layers can look back a step by themselves is not what such a task is about.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, TAPS, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, F) to y (B, T, F)."""
        mixed: Tensor = self.mix(functional.pad(x.transpose(1, 2), (TAPS - 1, 0)))
        return mixed.transpose(1, 2)


class Block(nn.Module):
    """A layer, perhaps after a short convolution, then two linear maps with a GELU between.

    Both halves read what is normalised, and what they put out is added to it.

    Args:
        layer: of F = D = the width, or with another D, which is then mapped to it.
        width: of what is read and put out.
        pairs: whether there is a convolution.
    """

    def __init__(self, layer: Recurrent, width: int, *, pairs: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = ShortConvolution(width) if pairs else nn.Identity()
        self.layer = layer
        size = layer.output_size
        self.fit = nn.Identity() if size == width else nn.Linear(size, width)
        self.wide = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, F) to y (B, T, F)."""
        y, _ = self.layer(self.mix(self.norm(x)))
        x = x + self.fit(y)
        widened: Tensor = self.wide(x)
        return x + widened


class Model(nn.Module):
    """An embedding or projection, blocks around the layer, and a linear head.

    Args:
        task: says what goes in and comes out.
        layer: name of the layer.
        options: of the layer.
        width: H, and the size of everything between.
        blocks: how many.
    """

    def __init__(
        self,
        task: Task,
        layer: str,
        options: Mapping[str, Any],
        *,
        width: int = WIDTH,
        blocks: int = BLOCKS,
    ) -> None:
        super().__init__()
        self.enter: nn.Module
        if task.symbols:
            self.enter = nn.Embedding(task.inputs, width)
        else:
            self.enter = nn.Linear(task.inputs, width)
        made = [layers.make(layer, width, width, **options) for _ in range(blocks)]
        # With the steps that the convolutions look back on.
        kept = (TAPS - 1) * width if task.pairs else 0
        self.state_floats = sum(layers.state_floats(each) + kept for each in made)
        self.blocks = nn.Sequential(*(Block(each, width, pairs=task.pairs) for each in made))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, task.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T) or (B, T, F) to scores (B, T, D)."""
        scores: Tensor = self.head(self.blocks(self.enter(x)))
        return scores

    @property
    def parameter_count(self) -> int:
        """How many numbers training changes."""
        return sum(each.numel() for each in self.parameters())
