"""A model in whole numbers, from its input to its outputs: the twin of `network` in the C.

It is made once, from a run and a stream; the C is written from it, and the twin runs on it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from throughtime.export.c.classic import array
from throughtime.export.c.int8.calibration import Stream
from throughtime.export.c.int8.layer import IntegerLayer, Lanes, signal_bits, write_affine
from throughtime.export.c.int8.maps import IntegerAffine, affine
from throughtime.export.c.int8.numbers import Whole, put_out, quantise
from throughtime.export.c.int8.rounder import Signal
from throughtime.export.c.int8.rounding import round_layers
from throughtime.export.c.program import Program
from throughtime.run import Run

_LARGEST_FACTOR = 255


@dataclass(frozen=True)
class Embedding:
    """Vectors of symbols: `source/embed.c`.

    Attributes:
        vectors: (V, E) int8.
        factors: (V,) uint8, of each symbol.
        bits: their products are in units of 2^-bits.
    """

    vectors: npt.NDArray[np.int8]
    factors: npt.NDArray[np.uint8]
    bits: int

    def of(self, symbols: Whole) -> Whole:
        """Return the vectors (B, E) of symbols (B,)."""
        vectors: Whole = self.vectors[symbols].astype(np.int64)
        return vectors * self.factors[symbols].astype(np.int64)[:, None]


@dataclass(frozen=True)
class IntegerNetwork:
    """A model in whole numbers.

    Attributes:
        input_bits: the first layer reads its input in units of 2^-input_bits.
        embedding: where the input is symbols.
        layers: from the input up.
        head: from the uppermost layer's output to the outputs.
        calibration: what its formats are made for.
    """

    input_bits: int
    embedding: Embedding | None
    layers: tuple[IntegerLayer, ...]
    head: IntegerAffine
    calibration: str

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        found: dict[str, np.ndarray] = {}
        for layer in self.layers:
            found |= layer.start()
        return found

    def step(self, state: Lanes, inputs: np.ndarray) -> npt.NDArray[np.float32]:
        """Make a step of some lanes.

        Args:
            state: of each leaf (B, N); what it is afterwards is put there.
            inputs: (B, F) float32, or symbols (B,).

        Returns:
            The outputs (B, O).
        """
        if self.embedding is not None:
            x = self.embedding.of(inputs)
        else:
            x = quantise(inputs, 2.0**self.input_bits)
        for layer in self.layers:
            x = layer.step(state, x)
        return put_out(self.head.sum(x))

    def write(self) -> tuple[Program, str]:
        """Return the program in C, and how it gets at what the head reads."""
        program = Program(numbers="int8")
        x = "features"
        if self.embedding is not None:
            program.features = "const int16_t *features"
            vectors = self.embedding.vectors.ravel()
            program.table("embedding", vectors, "a vector for each symbol")
            program.table("embedding_factors", self.embedding.factors, "what it is multiplied by")
        else:
            x = program.buffer("numbers", self.layers[0].inputs)
            program.call("quantise", x, "features", self.layers[0].inputs, 2.0**self.input_bits)
        for layer in self.layers:
            x = layer.write(program, x)
        inner = write_affine(program, "head", self.head, "the head")
        program.layers.append(f"static const integer_affine head = {inner};")
        return program, x


@torch.no_grad()
def make_network(run: Run, stream: Stream) -> IntegerNetwork:
    """Round the model of a run.

    Raises:
        OptionError: it has a layer that there is not in whole numbers.
    """
    model = run.model
    embedding = None
    if model.embedding is not None:
        embedding = _embedding(array(model.embedding.weight))
        values, bits = model.embedding(stream.inputs), embedding.bits
    else:
        values = stream.inputs.float()
        bits = signal_bits(float(values.abs().max()))
    layers, y = round_layers(model.layers, Signal(values, bits))
    head = affine(array(model.head.weight), array(model.head.bias), y.bits)
    return IntegerNetwork(bits, embedding, layers, head, stream.source)


def _embedding(weight: npt.NDArray[np.float32]) -> Embedding:
    exact = weight.astype(np.float64)
    scales = np.abs(exact).max(1) / 127
    bits = math.floor(math.log2(_LARGEST_FACTOR / max(float(scales.max()), 1e-9)))
    factors = np.clip(np.ceil(scales * 2.0**bits), 1, _LARGEST_FACTOR)
    vectors = np.rint(exact / (factors / 2.0**bits)[:, None]).clip(-127, 127)
    return Embedding(vectors.astype(np.int8), factors.astype(np.uint8), bits)
