"""Weights of 8 bits: how they are rounded, and what a map makes of 16-bit inputs.

Each output has a scale of its own, (16 + s % 16) 2^(s / 16) of a byte s: the scale is chosen among
those that a byte can say, and the weights are rounded by that very one, so that nothing is rounded
twice. It need not reach the largest weight: a smaller one that cuts off the largest weights is
taken where that leaves less error in all of them together.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from throughtime.errors import OptionError
from throughtime.export.c.int8.numbers import PRE_BITS, SIGNAL, Whole, rounded
from throughtime.export.c.layout import Array

_LARGEST = 127
_TRIED = 10
"""Scales below the one that reaches the largest weight."""

_SPARE = 12
"""Bits by which sums are moved up before a scale moves them down, which so may move them up too."""


@dataclass(frozen=True)
class IntegerMap:
    """A map of N inputs to D outputs without biases.

    Attributes:
        weights: (D, N) int8.
        scales: (D,) uint8.
        shift: see `source/integer_map.c`.
    """

    weights: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint8]
    shift: int

    @property
    def inputs(self) -> int:
        """N."""
        count: int = self.weights.shape[1]
        return count

    @property
    def largest_sum(self) -> int:
        """The largest sum of products that inputs of 16 bits can lead to."""
        sums = np.abs(self.weights.astype(np.int64)).sum(1)
        largest: int = sums.max(initial=0).item() * SIGNAL
        return largest

    def product(self, x: Whole) -> Whole:
        """Return what the map makes (..., D) of x (..., N)."""
        return self.scaled_sum((x.astype(np.float64) @ self._exact).astype(np.int64))

    def scaled_sum(self, sums: Whole) -> Whole:
        """Return sums of products (..., D) by the scales of their outputs."""
        scales = self.scales.astype(np.int64)
        return rounded(sums * ((16 + scales % 16) << _SPARE), self.shift - scales // 16)

    @cached_property
    def _exact(self) -> npt.NDArray[np.float64]:
        # Products with float64 are exact, since no sum is near 2^53, and BLAS is far quicker than
        # NumPy is with whole numbers.
        found: npt.NDArray[np.float64] = self.weights.T.astype(np.float64)
        return found


@dataclass(frozen=True)
class IntegerAffine:
    """A map with biases (D,) int16, in 2^bits of what the outputs are counted in."""

    map: IntegerMap
    biases: npt.NDArray[np.int16]
    bits: int

    def bias(self) -> Whole:
        """Return the biases (D,)."""
        found: Whole = self.biases.astype(np.int64) * (1 << self.bits)
        return found

    def sum(self, x: Whole) -> Whole:
        """Return W x + b, (..., D)."""
        return self.bias()[: len(self.map.weights)] + self.map.product(x)


def affine(weight: Array, bias: Array | None, x_bits: int, y_bits: int = PRE_BITS) -> IntegerAffine:
    """Round a map with biases; more biases than outputs are kept as they are.

    Args:
        weight: (D, N).
        bias: (D,) or more; zeros when None.
        x_bits: the inputs are in units of 2^-x_bits.
        y_bits: the outputs are in units of 2^-y_bits.
    """
    found = linear(weight, x_bits, y_bits)
    given = np.zeros(len(weight), np.float32) if bias is None else bias
    return IntegerAffine(found, *rounded_biases(given, y_bits))


def rounded_biases(bias: Array, y_bits: int) -> tuple[npt.NDArray[np.int16], int]:
    """Return biases (D,) of 16 bits in 2^bits of units of 2^-y_bits, and those bits."""
    values = bias.astype(np.float64) * 2.0**y_bits
    most = float(np.abs(values).max(initial=0))
    bits = max(0, math.ceil(math.log2(max(most, 1.0) / SIGNAL)))
    return np.rint(values / 2.0**bits).astype(np.int16), bits


def linear(weight: Array, x_bits: int, y_bits: int = PRE_BITS) -> IntegerMap:
    """Round a map without biases.

    Raises:
        OptionError: the weights are so large, or inputs so coarse, that their products have no
            place.
    """
    exact = weight.astype(np.float64)
    # A scale is m 2^-a with m from 16 to 31; it is stored as a step down from the largest a.
    steps = np.array([_scale(row) for row in exact], np.int64).reshape(-1)
    filled = np.abs(exact).max(1, initial=0) > 0
    if not filled.any():
        return IntegerMap(np.zeros(weight.shape, np.int8), np.zeros(len(weight), np.uint8), _SPARE)
    steps = np.where(filled, steps, steps[filled].max())
    # What has a far smaller scale than others gets a coarser one.
    steps = np.maximum(steps, (steps.max() // 16 - 15) * 16)
    lowest = int(steps.min() // 16)
    shift = x_bits - y_bits - lowest + _SPARE
    if shift - (int(steps.max()) // 16 - lowest) < 1:
        raise OptionError(
            f"expected weights and inputs of less size for int8, got weights up to "
            f"{np.abs(exact).max():.3g} for inputs up to {2.0 ** (15 - x_bits):.3g}; export float32"
        )
    weights = np.rint(exact / _values(steps)[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int8)
    return IntegerMap(weights, (steps - 16 * lowest).astype(np.uint8), shift)


def _scale(row: npt.NDArray[np.float64]) -> int:
    """Return the number of the scale that loses least of a row: (16 + s % 16) 2^(s // 16)."""
    most = float(np.abs(row).max(initial=0))
    if most == 0:
        return 0
    exponent = math.floor(math.log2(most / _LARGEST)) - 4
    mantissa = math.ceil(most / _LARGEST / 2.0**exponent) - 16
    tried = 16 * exponent + mantissa - np.arange(_TRIED)
    scales = _values(tried)[:, None]
    rounded_rows = scales * np.rint(row / scales).clip(-_LARGEST, _LARGEST)
    errors = ((rounded_rows - row) ** 2).sum(1)
    return int(tried[errors.argmin()])


def _values(steps: Whole) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = (16 + steps % 16) * 2.0 ** (steps // 16).astype(np.float64)
    return found
