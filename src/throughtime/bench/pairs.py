"""A layer of ours and torch.nn's with the same weights, and a training step of either.

A training step is what a layer in the middle of a network does: its input requires a gradient, and
backward starts from a dense gradient of the output, which is that of the loss sum(w * y) for
weights w that are drawn once and are the same for both.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from throughtime.bench.measure import Way, drawn
from throughtime.layers import make, to_torch
from throughtime.recurrent import Recurrent

LAYERS = ("gru", "rnn", "lstm")
PEERS = {"gru": "nn.GRU", "rnn": "nn.RNN", "lstm": "nn.LSTM"}
OURS = {"gru": "tt.GRU", "rnn": "tt.RNN", "lstm": "tt.LSTM"}

FLOAT32 = 1e-4
"""Largest difference, relative to the largest value, between two orders of adding in float32."""
BFLOAT16 = 5e-2
"""The same between products of bfloat16 and of float32; as in the laws."""

Size = tuple[int, int, int, int]
"""B lanes, T steps, F features, H units."""


def as_text(size: tuple[int, ...]) -> str:
    """Return a size as it is printed: (8,200,8,32)."""
    return f"({','.join(str(number) for number in size)})"


def pair(name: str, features: int, units: int) -> tuple[Recurrent, nn.RNNBase]:
    """Return a layer of ours and its peer, with the same weights in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = make(name, features, units)
        return layer, to_torch(layer)


class Training:
    """A training step: forward and backward. Outputs and gradients are there after a call.

    Args:
        forward: x to y.
        module: whose parameters get gradients.
        x: what y is computed from.
        weighting: the gradient that y gets, and its shape.
        autocast: whether forward runs in bfloat16 where torch's autocast has it; backward is
            outside of it.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        module: nn.Module,
        x: Tensor,
        weighting: Tensor,
        *,
        autocast: bool = False,
    ) -> None:
        self.forward = forward
        self.module = module
        self.x = x.clone().requires_grad_()
        self.weighting = weighting
        self.autocast = autocast
        self.y = weighting

    @property
    def way(self) -> Way:
        """What is timed: each call begins without gradients."""
        return Way(self, self.clear)

    def clear(self) -> None:
        """Forget the gradients and the output of the call before."""
        self.y = self.weighting
        self.x.grad = None
        self.module.zero_grad(set_to_none=True)

    def __call__(self) -> None:
        """Run forward and backward once."""
        if self.autocast:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.forward(self.x)
        else:
            y = self.forward(self.x)
        torch.autograd.backward(y, self.weighting)
        self.y = y.detach()

    def results(self) -> dict[str, Tensor]:
        """Return the output and the gradients of the last call, by our names."""
        found = {"output": self.y, "gradient of x": _there(self.x.grad)}
        for name, parameter in self.module.named_parameters():
            found[f"gradient of {name.removesuffix('_l0')}"] = _there(parameter.grad)
        return found


def trainings(
    name: str, size: Size, *, autocast: bool = False
) -> tuple[Recurrent, Training, Training]:
    """Return a layer, its training step, and torch.nn's on the same numbers.

    Args:
        name: of the layer.
        size: B, T, F, H.
        autocast: whether ours runs in bfloat16.
    """
    lanes, steps, features, units = size
    layer, peer = pair(name, features, units)
    x, weighting = drawn(lanes, steps, features, seed=1), drawn(lanes, steps, units, seed=2)
    return (
        layer,
        Training(lambda x: layer(x)[0], layer, x, weighting, autocast=autocast),
        Training(lambda x: peer(x)[0], peer, x, weighting),
    )


def _there(gradient: Tensor | None) -> Tensor:
    return torch.empty(0) if gradient is None else gradient
