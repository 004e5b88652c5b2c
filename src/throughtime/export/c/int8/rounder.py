"""What rounding a model is: layers from the input up, each given what goes into it.

A layer is given its input on the stream of the calibration, and hands on its output, so that the
layers above see the numbers that a run would.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from throughtime.errors import OptionError
from throughtime.export.c.int8.layer import IntegerLayer
from throughtime.recurrent import Recurrent


@dataclass
class Signal:
    """What goes from one layer to the next on the stream of the calibration.

    Attributes:
        values: (B, T, N).
        bits: whole numbers of it are in units of 2^-bits.
    """

    values: Tensor
    bits: int


class Rounder:
    """Rounds layers.

    Args:
        adders: what rounds each kind of layer.
        supported: their names.

    Attributes:
        layers: what has been made.
    """

    def __init__(self, adders: "Mapping[type[Recurrent], Adder]", supported: str) -> None:
        self.layers: list[IntegerLayer] = []
        self._adders = adders
        self._supported = supported
        self._count = 0

    def add(self, layer: Recurrent, x: Signal) -> Signal:
        """Round a layer; return its output.

        Raises:
            OptionError: there is no such layer in whole numbers.
        """
        adder = self._adders.get(type(layer))
        if adder is None:
            raise OptionError(
                f"expected layers among {self._supported} for int8, got {type(layer).__name__}; "
                "train one of those, or run this one by `throughtime stream`"
            )
        return adder(self, layer, x)

    def inside(self, layer: Recurrent, x: Signal) -> tuple[tuple[IntegerLayer, ...], Signal]:
        """Round a layer that is a part of another; return what was made, and its output."""
        outer, self.layers = self.layers, []
        y = self.add(layer, x)
        made, self.layers = tuple(self.layers), outer
        return made, y

    def name(self, kind: str) -> str:
        """Return a name for the next layer, such as `gru_0`."""
        self._count += 1
        return f"{kind}_{self._count - 1}"

    def made(self, layer: IntegerLayer, outputs: Tensor) -> Signal:
        """Keep a layer that has been made; return its output."""
        self.layers.append(layer)
        return Signal(outputs, layer.bits)


Adder = Callable[[Rounder, Any, Signal], Signal]


def check_options(layer: Recurrent) -> None:
    """Refuse options that there are no whole numbers for.

    Raises:
        OptionError: the layer has one.
    """
    if getattr(layer, "negative_eigenvalues", False):
        raise OptionError(
            f"expected {type(layer).__name__} without negative_eigenvalues for int8, got it with; "
            "export it in float32"
        )
