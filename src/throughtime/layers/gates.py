"""What the gates of linear recurrences share.

Under autocast a product comes out in bfloat16. A gate that keeps 0.999 of a state can't be written
in its eight bits, so what follows the product is computed in float32.
"""

import torch
from torch import Tensor, nn

from throughtime.layers.classic import chrono_bias


def precise(x: Tensor) -> Tensor:
    """Return x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x, in float32 at least."""
    return torch.sigmoid(precise(x))


def signed(keep: Tensor, *, negative: bool) -> Tensor:
    r"""Return eigenvalues from a gate in [0, 1]: the gate, or $2 a - 1$ in [-1, 1].

    A layer that can turn a part of its state around at a step can count modulo two, and one that
    can't does not learn parity (Grazzi et al. 2024, https://arxiv.org/abs/2411.12537).
    """
    return 2 * keep - 1 if negative else keep


def scale(*, negative: bool) -> float:
    """Return what `signed` multiplies a gate by."""
    return 2.0 if negative else 1.0


def remember(gate: nn.Linear, memory: int, *, keeps: bool = True) -> None:
    """Start a gate's bias for time constants up to `memory` steps.

    Args:
        gate: the product that the gate is made of, (H, F).
        memory: steps that the state should remember at most.
        keeps: whether an open gate keeps the state, or lets the input in.
    """
    bias = chrono_bias(len(gate.bias), memory)
    with torch.no_grad():
        gate.bias.copy_(bias if keeps else -bias)
