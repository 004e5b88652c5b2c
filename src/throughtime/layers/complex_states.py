"""Products with complex matrices, whose parameters are kept as two real ones.

Optimizers, files and autocast know real parameters; complex numbers exist in between alone.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from throughtime.layers.gates import precise


def drawn(state_size: int, size: int, count: int) -> Tensor:
    """Return a matrix (2, N, size), real and imaginary part, of normal numbers.

    Args:
        state_size: N.
        size: of what is read or written.
        count: how many independent terms a sum over it has, so that results start of size one.
    """
    return torch.randn(2, state_size, size) / math.sqrt(count)


def into(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the complex product B x, (..., N), of x (..., F) and a matrix (2, N, F)."""
    # Two products and not one of (2 N, F), so that N is the last axis of each.
    real, imaginary = (precise(functional.linear(x, part)) for part in matrix)
    return torch.complex(real, imaginary)


def out_of_planes(h: Tensor, matrix: Tensor) -> Tensor:
    """Return what `out_of` does of h (..., 2 N), all real parts before all imaginary ones."""
    return h @ torch.cat([matrix[0], -matrix[1]])


def out_of(h: Tensor, matrix: Tensor) -> Tensor:
    """Return Re(C h), (..., D), of h (..., N), complex, and C as a matrix (2, N, D)."""
    return h.real @ matrix[0] - h.imag @ matrix[1]
