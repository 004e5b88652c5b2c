"""What every layer in whole numbers is: constants, a twin's step, and the C that has both.

Nothing here knows a kind of layer; `classic`, `diagonal` and `around` do.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.maps import IntegerAffine, IntegerMap
from throughtime.export.c.int8.numbers import SIGNAL, Whole
from throughtime.export.c.program import Program

Lanes = dict[str, Whole]
"""The states of some lanes: of each leaf the numbers (B, N)."""

SIGNAL_BITS = 15
"""What lies within [-1, 1] is read by maps in units of 2^-15."""

HANDED_ON = 8
"""Bits by which sums are finer than the outputs of 16 bits that they become."""


@dataclass(frozen=True)
class IntegerLayer(ABC):
    """A layer in whole numbers.

    Attributes:
        name: in C.
        inputs: F.
        bits: its output is in units of 2^-bits.
    """

    name: str
    inputs: int
    bits: int

    @abstractmethod
    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state, each (N,) int32 or int16."""

    @abstractmethod
    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step of the twin: x (B, F) to y (B, D), with the states put into `state`."""

    @abstractmethod
    def write(self, program: Program, x: str) -> str:
        """Add the layer to a program in C; return how C gets at its output."""


def signal_bits(most: float, headroom: float = 2.0) -> int:
    """Return the finest format of 16 bits with room for `headroom` times the largest number."""
    return min(24, math.floor(math.log2(SIGNAL / max(headroom * most, 1e-3))))


def state_bits(most: float, headroom: float = 8.0) -> int:
    """Return the format of 32 bits with room for `headroom` times the largest number."""
    return max(17, min(28, math.floor(math.log2(2.0**31 / max(headroom * most, 1e-3)))))


def whole(values: np.ndarray, bits: int, kind: type, most: int = 2**31 - 1) -> np.ndarray:
    """Return real numbers in units of 2^-bits, as a type has them."""
    most = min(most, int(np.iinfo(kind).max))
    scaled = np.rint(values.astype(np.float64) * 2.0**bits)
    return np.clip(scaled, -most, most).astype(kind)


def write_map(
    program: Program,
    name: str,
    map: IntegerMap,
    about: str,
    laid_out: np.ndarray | None = None,
) -> str:
    """Add the tables of a map; return it as an initialiser of `integer_map`.

    Args:
        program: what they are added to.
        name: of the tables.
        map: the map.
        about: what it is, for the comments.
        laid_out: its weights in another order than row by row.
    """
    if map.largest_sum > 2**31 - 1:
        program.pieces["products"] = "typedef int64_t products;\n"  # 32 bits are not enough.
    values = (map.weights if laid_out is None else laid_out).ravel()
    weights = program.table(f"{name}_weights", values, f"{about}, weights")
    scales = program.table(f"{name}_scales", map.scales, f"{about}, scales")
    return f"{{{map.inputs}, {map.shift}, {weights}, {scales}}}"


def write_affine(
    program: Program,
    name: str,
    affine: IntegerAffine,
    about: str,
    laid_out: np.ndarray | None = None,
) -> str:
    """Add the tables of a map with biases; return it as an initialiser of `integer_affine`."""
    inner = write_map(program, name, affine.map, about, laid_out)
    biases = program.table(f"{name}_biases", affine.biases, f"{about}, biases")
    return f"{{{inner}, {biases}, {affine.bits}}}"


def define(program: Program, kind: str, name: str, *fields: str | int) -> str:
    """Define a constant of a type; return its address."""
    lines = ",\n".join(f"    {field}" for field in fields)
    program.layers.append(f"static const {kind} {name} = {{\n{lines},\n}};")
    return f"&{name}"
