"""What layers are put together with, in whole numbers: convolutions, residual blocks, zoneout."""

from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.diagonal import SMALL_EPSILON
from throughtime.export.c.int8.layer import (
    HANDED_ON,
    IntegerLayer,
    Lanes,
    define,
    write_affine,
    write_map,
)
from throughtime.export.c.int8.maps import IntegerAffine, IntegerMap
from throughtime.export.c.int8.numbers import (
    PRE_BITS,
    Whole,
    by_root_mean_square,
    moved,
    narrowed,
    saturated,
    silu,
    times,
)
from throughtime.export.c.program import Program


@dataclass(frozen=True)
class IntegerConvolution(IntegerLayer):
    """A convolution: `source/convolution.c`.

    Attributes:
        taps: a map for each, that of the present input first.
        biases: (D,) int16, see `integer_convolution`.
        bias_bits: see `biases`.
        dilation: steps between taps.
    """

    taps: tuple[IntegerMap, ...]
    biases: np.ndarray
    bias_bits: int
    dilation: int

    @property
    def kept(self) -> int:
        """How many inputs are kept."""
        return (len(self.taps) - 1) * self.dilation

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return {f"{self.name}_past": np.zeros(self.kept * self.inputs, np.int16)}

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: y = b + the sum of W_k x_(t - k dilation)."""
        rows, after = _with_past(state[f"{self.name}_past"], x)
        sums = self.biases.astype(np.int64) * (1 << self.bias_bits)
        for k, tap in enumerate(self.taps):
            sums = sums + tap.product(rows[:, self.kept - k * self.dilation])
        state[f"{self.name}_past"] = after
        return narrowed(sums, HANDED_ON)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        outputs = len(self.biases)
        program.gate_numbers(outputs)
        taps = [
            write_map(program, f"{self.name}_{k}", tap, f"{self.name}, W_{k}")
            for k, tap in enumerate(self.taps)
        ]
        listed = "".join(f"    {tap},\n" for tap in taps)
        name = f"{self.name}_taps"
        program.layers.append(f"static const integer_map {name}[] = {{\n{listed}}};")
        biases = program.table(f"{self.name}_biases", self.biases, f"biases of {self.name}")
        sizes = (self.inputs, outputs, len(self.taps), self.dilation)
        fields = (*sizes, name, biases, self.bias_bits)
        of = define(program, "integer_convolution", self.name, *fields)
        past = program.state(f"{self.name}_past", self.kept * self.inputs, *self.start().values())
        y = program.buffer(f"{self.name}_y", outputs)
        program.call("convolution", of, y, past, x)
        return y


@dataclass(frozen=True)
class IntegerDepthwise(IntegerLayer):
    """A convolution of each feature by itself: `source/depthwise_convolution.c`.

    Attributes:
        maps: (F, taps), that of the present input first.
        dilation: steps between taps.
    """

    maps: IntegerAffine
    dilation: int

    @property
    def kept(self) -> int:
        """How many inputs are kept."""
        return (self.maps.map.inputs - 1) * self.dilation

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return {f"{self.name}_past": np.zeros(self.kept * self.inputs, np.int16)}

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: y = b + the sum of w_k x_(t - k dilation)."""
        rows, after = _with_past(state[f"{self.name}_past"], x)
        of = self.maps.map
        sums = np.zeros_like(x)
        for k in range(of.inputs):
            seen = rows[:, self.kept - k * self.dilation]
            sums = sums + of.weights[:, k].astype(np.int64) * seen
        state[f"{self.name}_past"] = after
        return narrowed(self.maps.bias() + of.scaled_sum(sums), HANDED_ON)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        program.gate_numbers(self.inputs)
        by_taps = np.ascontiguousarray(self.maps.map.weights.T)
        inner = write_affine(program, self.name, self.maps, self.name, laid_out=by_taps)
        program.layers.append(f"static const integer_affine {self.name} = {inner};")
        past = program.state(f"{self.name}_past", self.kept * self.inputs, *self.start().values())
        y = program.buffer(f"{self.name}_y", self.inputs)
        of = f"&{self.name}"
        program.call("depthwise_convolution", of, self.dilation, self.inputs, y, past, x)
        return y


@dataclass(frozen=True)
class IntegerBlock(IntegerLayer):
    """A residual block around layers: `source/root_mean_square_norm.c` and what follows.

    Attributes:
        x_bits: its input is in units of 2^-x_bits.
        lift: from x to what is added up; None where that is x itself.
        gains: (2, H) int16 of both norms.
        gain_bits: gains are in units of 2^-gain_bits.
        read_bits: what is read after a norm is in units of 2^-read_bits.
        layers: what is in it.
        wide: the rows of W_1 and of W_2.
        shown_bits: W_3 reads in units of 2^-shown_bits.
        narrow: W_3.
    """

    x_bits: int
    lift: IntegerAffine | None
    gains: np.ndarray
    gain_bits: int
    read_bits: int
    layers: tuple[IntegerLayer, ...]
    wide: IntegerMap
    shown_bits: int
    narrow: IntegerMap

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        found: dict[str, np.ndarray] = {}
        for layer in self.layers:
            found |= layer.start()
        return found

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: y += layer(norm(y)), y += W_3 (silu(W_1 norm(y)) W_2 norm(y))."""
        y = moved(x, PRE_BITS - self.x_bits) if self.lift is None else saturated(self.lift.sum(x))
        z = self._read(y, 0)
        for layer in self.layers:
            z = layer.step(state, z)
        y = saturated(y + moved(z, PRE_BITS - self.layers[-1].bits))
        gate, wide = np.split(saturated(self.wide.product(self._read(y, 1))), 2, axis=1)
        shown = narrowed(silu(gate) * wide, 32 - self.shown_bits)
        y = saturated(y + self.narrow.product(shown))
        return narrowed(y, PRE_BITS - self.bits)

    def _read(self, y: Whole, norm: int) -> Whole:
        normed = by_root_mean_square(y, PRE_BITS, SMALL_EPSILON)
        return narrowed(normed * self.gains[norm].astype(np.int64), self._down)

    @property
    def _down(self) -> int:
        return self.gain_bits + PRE_BITS - self.read_bits

    def write(self, program: Program, x: str) -> str:
        """Add the calls."""
        name, size = self.name, self.gains.shape[1]
        program.need(size)
        program.gate_numbers(len(self.wide.weights))
        y = program.buffer(f"{name}_sum", size, "int32_t")
        read = program.buffer(f"{name}_read", size)
        shown = program.buffer(f"{name}_shown", self.narrow.inputs)
        if self.lift is None:
            program.calls.append(f"memset({y}, 0, sizeof {y});")
            program.call("add", y, x, size, PRE_BITS - self.x_bits)
        else:
            inner = write_affine(program, f"{name}_lift", self.lift, f"{name}, W_0")
            program.layers.append(f"static const integer_affine {name}_lift = {inner};")
            program.call("lifted", y, f"&{name}_lift", x, size)
        gains = [
            program.table(f"{name}_gain_{place}", each, f"gain of a norm of {name}")
            for place, each in enumerate(self.gains)
        ]
        program.call("root_mean_square_norm", read, gains[0], self._down, y, size)
        z = read
        for layer in self.layers:
            z = layer.write(program, z)
        program.call("add", y, z, size, PRE_BITS - self.layers[-1].bits)
        program.call("root_mean_square_norm", read, gains[1], self._down, y, size)
        for part, each in (("wide", self.wide), ("narrow", self.narrow)):
            inner = write_map(program, f"{name}_{part}", each, f"{name}, {part}")
            program.layers.append(f"static const integer_map {name}_{part} = {inner};")
        maps = (f"&{name}_wide", f"&{name}_narrow")
        program.call("gated_network", *maps, self.shown_bits, shown, y, read)
        out = program.buffer(f"{name}_y", size)
        program.call("narrow", out, y, size, PRE_BITS - self.bits)
        return out


@dataclass(frozen=True)
class IntegerZoneout(IntegerLayer):
    """A layer of which a share of each unit stays as it was: `source/zoneout.c`.

    Attributes:
        layer: the layer.
        share: in units of 2^-30.
    """

    layer: IntegerLayer
    share: int

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return self.layer.start()

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = share h before + (1 - share) h."""
        leaves = self.layer.start()
        before = {name: state[name] for name in leaves}
        self.layer.step(state, x)
        for name in leaves:
            state[name] = state[name] + times(self.share, before[name] - state[name])
        h = next(iter(leaves))
        return state[h] if leaves[h].dtype == np.int16 else narrowed(state[h], 15)

    def write(self, program: Program, x: str) -> str:
        """Add the calls."""
        place = len(program.calls)
        y = self.layer.write(program, x)
        leaves = self.layer.start()
        for name, leaf in leaves.items():
            wide = leaf.dtype == np.int32
            kept = program.buffer(f"{name}_before", len(leaf), "int32_t" if wide else "int16_t")
            size = f"{len(leaf)} * sizeof *{kept}"
            program.calls.insert(place, f"memcpy({kept}, state->{name}, {size});")
            function = "zoneout" if wide else "zoneout_of_signal"
            program.call(function, f"state->{name}", kept, len(leaf), self.share)
        h = next(iter(leaves))
        if leaves[h].dtype == np.int32:
            program.call("narrow", y, f"state->{h}", len(leaves[h]), 15)
        return y


def _with_past(past: Whole, x: Whole) -> tuple[Whole, Whole]:
    """Return the inputs (B, kept + 1, F), the present one last, and the past (B, N) after it."""
    lanes, features = x.shape
    rows = np.concatenate([past.reshape(lanes, -1, features), x[:, None]], axis=1)
    return rows, rows[:, 1:].reshape(lanes, -1)
