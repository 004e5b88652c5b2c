"""The network as a program in C: its state, its tables and the calls that make a step.

A `Program` is filled by the layers, from the input up (`classic`, `diagonal`, `around`); `write`
turns it into text. Names of C variables are made here, so that no two layers share one.
"""

from dataclasses import dataclass, field

import numpy as np

from throughtime.export.c import layout
from throughtime.export.c.layout import Array

_SPARE = 16
"""Numbers of a call's arrays beyond those of the gates: 256 bytes without the frames of calls."""


@dataclass(frozen=True)
class Leaf:
    """Where a leaf of a lane's state lies in the C struct.

    Attributes:
        names: the C arrays that it is in; a complex one is in two.
        size: numbers of each array that are used.
        room: numbers of each array.
        start: numbers (size,) of each array before the first step, in the type that it has.
    """

    names: tuple[str, ...]
    size: int
    room: int
    start: np.ndarray


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
        buffers: names, types and sizes of the arrays that the statements use.
        widths: of rows of weights.
        most_units: room that a layer may need for its units.
        most_states: room that a selective layer may need for the states of a unit.
        most_rank: room that it may need for what its step lengths are made of.
        numbers: what it computes in, float32 or int8; `source/` of that kind comes first.
        pieces: C functions and types made for this network, by name.
        features: how a step is given its input.
        blocks: units of a block of layers with up to four sums a unit, by that name in C, and of
            those with up to two; what the first pass over the layers found best, for the second.
        widest: numbers that the gates of a layer have together, at most.
    """

    leaves: list[Leaf | None] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    buffers: dict[str, tuple[str, int]] = field(default_factory=dict)
    widths: set[int] = field(default_factory=set)
    most_units: int = 1
    most_states: int = 1
    most_rank: int = 1
    numbers: str = "float32"
    pieces: dict[str, str] = field(default_factory=dict)
    features: str = "const float *features"
    blocks: dict[str, int] = field(default_factory=dict)
    widest: int = 0
    _found: dict[str, tuple[int, int]] = field(default_factory=dict)
    _counts: int = 0

    def name(self, kind: str) -> str:
        """Return a name for the next layer, such as `gru_0`."""
        self._counts += 1
        return f"{kind}_{self._counts - 1}"

    @property
    def number(self) -> str:
        """The C type of what layers hand on to each other."""
        return "float" if self.numbers == "float32" else "int16_t"

    def state(
        self, name: str, size: int, start: np.ndarray | None = None, *, block: int = 1
    ) -> str:
        """Add a leaf of the state, with room for whole blocks; return how C gets at it."""
        self.leaves.append(self._leaf((name,), size, start, block))
        return f"state->{name}"

    def fields(self) -> list[Leaf]:
        """Return the leaves as they lie in the struct, wide numbers first: no gaps are needed."""
        found = [leaf for leaf in self.leaves if leaf is not None]
        return sorted(found, key=lambda leaf: -leaf.start.itemsize)

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
        room: int = 0,
    ) -> str:
        """Add a `gated_layer` of maps (G, H, N), of which the first reads the input.

        There is room for so many sums for each unit of a block.
        """
        gate_count, units, inputs = maps[0].shape
        self.gate_numbers(gate_count * units)
        self.widths |= layout.widths(units, block, gate_count)
        self.need(layout.padded(units, block) if room else units)
        weights = self.table(
            f"{name}_weights", layout.gates(biases, maps, block, room * block), about
        )
        self.layers.append(f"static const gated_layer {name} = {{{inputs}, {units}, {weights}}};")
        return f"&{name}"

    def block(self, sums: int, units: int, gates: int, arrays: int = 0, more: int = 0) -> int:
        """Return the units of a block for a layer.

        Full blocks are quickest. Smaller ones are taken where the arrays of a call would need more
        memory than that of the gates and a little: the sums of a block, and some of all units.

        Args:
            sums: of each unit, 2 to 4.
            units: of the layer.
            gates: numbers of each unit that the gates have.
            arrays: numbers of each unit that a call keeps besides.
            more: numbers that it keeps in all besides.
        """
        name, most = ("BLOCK_OF_TWOS", 32) if sums == 2 else ("BLOCK_OF_FOURS", 16)
        if name in self.blocks:
            return self.blocks[name]
        fits = ((gates - arrays) * units + _SPARE - more) // sums
        count = -(-units // max(1, min(most, fits)))
        size = -(-units // count)
        self._found[name] = max((units, size), self._found.get(name, (0, 0)))
        return size

    def best_blocks(self) -> dict[str, int]:
        """Return the sizes of blocks for all layers so far: those that suit the largest ones."""
        return {name: size for name, (_, size) in self._found.items()}

    def gate_numbers(self, count: int) -> None:
        """Note that the gates of a layer have so many numbers together."""
        self.widest = max(self.widest, count)

    def padding(self) -> int:
        """Return the bytes of a state that are there for whole blocks only."""
        return sum(
            (leaf.room - leaf.size) * len(leaf.names) * leaf.start.itemsize
            for leaf in self.fields()
        )

    def need(self, units: int) -> None:
        """Make room for so many units in the arrays inside of layers."""
        self.most_units = max(self.most_units, units)

    def buffer(self, name: str, size: int, kind: str | None = None) -> str:
        """Add an array of a step's own and return its name."""
        self.buffers[name] = (kind or self.number, size)
        return name

    def call(self, function: str, *arguments: str | int | float) -> None:
        """Add the call of a function."""
        self.calls.append(f"{function}({', '.join(map(_written, arguments))});")

    def _leaf(
        self, names: tuple[str, ...], size: int, start: np.ndarray | None, block: int
    ) -> Leaf:
        begin = np.zeros(size, np.float32) if start is None else start
        return Leaf(names, size, layout.padded(size, block), begin)


def _written(argument: str | int | float) -> str:
    return number(argument) if isinstance(argument, float) else str(argument)


def number(value: float) -> str:
    """Write a float32 so that C reads the very same one."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"
