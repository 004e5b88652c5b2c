"""The network as a program in C: its state, its tables and the calls that make a step.

A `Program` is filled by the layers, from the input up (`classic`, `diagonal`, `around`); `write`
turns it into text. Names of C variables are made here, so that no two layers share one.
"""

from dataclasses import dataclass, field

import numpy as np

from throughtime.export.c import layout
from throughtime.export.c.layout import Array


@dataclass(frozen=True)
class Leaf:
    """Where a leaf of a lane's state lies in the C struct.

    Attributes:
        names: the C arrays that it is in; a complex one is in two.
        size: numbers of each array that are used.
        room: numbers of each array.
        start: numbers (size,) of each array before the first step.
    """

    names: tuple[str, ...]
    size: int
    room: int
    start: Array


@dataclass(frozen=True)
class Table:
    """A constant array.

    Attributes:
        name: in C.
        values: (N,), float32 for weights.
        about: what it is, for the comment above it.
    """

    name: str
    values: np.ndarray
    about: str


@dataclass
class Program:
    """A network in C, as far as it is written.

    Attributes:
        leaves: of the state, in the order in which Python has them; None where a leaf is noise of
            training, which C has no use for.
        tables: weights and other constants.
        layers: definitions of constants that describe layers.
        calls: statements of a step.
        buffers: names and sizes of the arrays that the statements use.
        widths: of rows of weights.
        most_units: room that a layer may need for its units.
        most_states: room that a selective layer may need for the states of a unit.
    """

    leaves: list[Leaf | None] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    widths: set[int] = field(default_factory=set)
    most_units: int = 1
    most_states: int = 1
    _counts: int = 0

    def name(self, kind: str) -> str:
        """Return a name for the next layer, such as `gru_0`."""
        self._counts += 1
        return f"{kind}_{self._counts - 1}"

    def state(self, name: str, size: int, start: Array | None = None, *, block: int = 1) -> str:
        """Add a leaf of the state, with room for whole blocks; return how C gets at it."""
        self.leaves.append(self._leaf((name,), size, start, block))
        return f"state->{name}"

    def complex_state(self, name: str, size: int, block: int) -> tuple[str, str]:
        """Add a leaf of complex numbers, which C has as real and imaginary parts."""
        names = (f"{name}_real", f"{name}_imaginary")
        self.leaves.append(self._leaf(names, size, None, block))
        return f"state->{names[0]}", f"state->{names[1]}"

    def table(self, name: str, values: np.ndarray, about: str) -> str:
        """Add a constant array and return its name."""
        self.tables.append(Table(name, values, about))
        return name

    def affine(self, name: str, weight: Array, bias: Array | None, about: str) -> str:
        """Add what the C function `affine` takes as weights (D, N) and biases (D,)."""
        self.widths |= layout.widths(len(weight), layout.COLUMNS)
        return self.table(name, layout.affine(weight, bias), about)

    def gates(
        self,
        name: str,
        biases: Array | None,
        maps: list[Array],
        block: int,
        about: str,
    ) -> str:
        """Add a `gated_layer` of maps (G, H, N), of which the first reads the input."""
        gate_count, units, inputs = maps[0].shape
        self.widths |= layout.widths(units, block, gate_count)
        self.need(layout.padded(units, block))
        weights = self.table(f"{name}_weights", layout.gates(biases, maps, block), about)
        self.layers.append(f"static const gated_layer {name} = {{{inputs}, {units}, {weights}}};")
        return f"&{name}"

    def need(self, units: int) -> None:
        """Make room for so many units in the arrays inside of layers."""
        self.most_units = max(self.most_units, units)

    def buffer(self, name: str, size: int) -> str:
        """Add an array of a step's own and return its name."""
        self.buffers[name] = size
        return name

    def call(self, function: str, *arguments: str | int | float) -> None:
        """Add the call of a function."""
        self.calls.append(f"{function}({', '.join(map(_written, arguments))});")

    def _leaf(self, names: tuple[str, ...], size: int, start: Array | None, block: int) -> Leaf:
        begin = np.zeros(size, np.float32) if start is None else start
        return Leaf(names, size, layout.padded(size, block), begin)


def _written(argument: str | int | float) -> str:
    return number(argument) if isinstance(argument, float) else str(argument)


def number(value: float) -> str:
    """Write a float32 so that C reads the very same one."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"
