"""Classic cells in the compiled library: the same step, a few microseconds quicker.

The library is the one that torch's layers use (`kernels.library`); its step reads weights and
states where NumPy has them. Where it was not built, NumPy does it all.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np

from throughtime.kernels import library
from throughtime.runtime.classic import Classic
from throughtime.runtime.layer import Array, Layer, State


def compiled(layer: Layer) -> bool:
    """Return whether the library has a layer's step and can be loaded."""
    cell = getattr(layer, "cell", None)
    return cell in library.CELLS and library.why_missing() is None


class NativeCell(Layer):
    """A classic cell whose step is the library's.

    Args:
        layer: whose weights it has, and whose state.
    """

    backend = "native"

    def __init__(self, layer: Classic) -> None:
        self.layer = layer
        self.input_size, self.output_size = layer.input_size, layer.output_size
        self.leaves = layer.leaves
        weights = (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        # Kept, as the library reads them where they are.
        self._kept = [None if each is None else np.ascontiguousarray(each) for each in weights]
        cell = library.CELLS[layer.cell or ""]
        addresses = [None if each is None else each.ctypes.data for each in self._kept]
        view = library.Layer(cell, 0, layer.input_size, layer.output_size, *addresses)
        self._view, self._layer = view, ctypes.byref(view)
        self._step: Any = library.load().tt_step

    def initial(self, lanes: int) -> list[Array]:
        """Return the state before the first step."""
        return self.layer.initial(lanes)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        given = [np.ascontiguousarray(each) for each in (x, *state)]
        after = [np.empty_like(each) for each in given[1:]]
        sources = [_address(each) for each in given] + [None] * (3 - len(given))
        targets = [_address(each) for each in after] + [None] * (2 - len(after))
        self._step(self._layer, len(x), *sources, *targets)
        return after[0], after

    def parts(self) -> Iterator[Layer]:
        """Yield this layer."""
        yield self


def _address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found
