"""How weights lie in the C source: by blocks of units, in the order in which a step reads them.

A step is a stream through the weights: for each block of at most 64 columns the sums of its gates
stay in registers, while a row of weights is added for each input. So a row holds all gates of a
block's units, and nothing is ever gathered. Here are arrays only; what the columns mean is in the C
functions of the layers, in `source/`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

COLUMNS = 64
"""Sums that a block has at most: eight vectors of AVX2, four of AVX-512."""

Array = npt.NDArray[np.float32]


def blocks(units: int, block: int) -> Iterator[slice]:
    """Yield the units of each block; the last one may be smaller."""
    for first in range(0, units, block):
        yield slice(first, min(first + block, units))


def padded(units: int, block: int) -> int:
    """Return how many units the blocks have together, were the last one full."""
    return -(-units // block) * block


def whole_blocks(values: Array, block: int) -> Array:
    """Return values (H,) with zeros up to whole blocks."""
    return np.pad(values, (0, padded(len(values), block) - len(values)))


def gates(biases: Array | None, maps: Sequence[Array], block: int, room: int = 0) -> Array:
    """Lay out a layer of gates.

    Args:
        biases: (G, H), or None where there is no room for any.
        maps: weights (G, H, N) of each thing that the gates read, in the order in which they do.
        block: units of a block.
        room: biases of a block at least.

    Returns:
        For each block its biases, with zeros up to the room for them, and then a row for each of
        the N of each map: all gates of the block's units, gate by gate.
    """
    parts = []
    for units in blocks(maps[0].shape[1], block):
        if biases is not None:
            own = biases[:, units].ravel()
            parts.append(np.pad(own, (0, max(0, room - len(own)))))
        for weights in maps:
            parts.append(weights[:, units].reshape(-1, weights.shape[2]).T.ravel())
    return np.concatenate(parts)


def affine(weight: Array, bias: Array | None) -> Array:
    """Lay out a map of N inputs to D outputs: its biases, then its panels of 64 outputs.

    Args:
        weight: (D, N).
        bias: (D,); zeros when None.
    """
    begin = np.zeros(len(weight), np.float32) if bias is None else bias
    return np.concatenate([begin, panels([weight])])


def panels(weights: Sequence[Array]) -> Array:
    """Lay out maps (D, N) that add up to one output, a row for each input, by 64 outputs."""
    parts = [
        weight[columns].T.ravel()
        for columns in blocks(len(weights[0]), COLUMNS)
        for weight in weights
    ]
    return np.concatenate(parts)


def widths(units: int, block: int, each: int = 1) -> set[int]:
    """Return the widths of the rows of a layer: of its full blocks and of its last one."""
    return {(part.stop - part.start) * each for part in blocks(units, block)}
