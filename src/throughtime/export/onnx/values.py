"""Values of a recording in a graph: how an operator gets at what it reads.

Complex numbers are pairs of real ones: ONNX has no arithmetic of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.recording import Call, Constant, Value


class Pair(NamedTuple):
    """A complex value: names of its real and of its imaginary part."""

    real: str
    imaginary: str


Named = str | Pair
Maker = Callable[["Values", Call], Named | list[Named]]
"""Writes one call, and returns the names of its outputs."""


class Values:
    """The values of a recording, in a graph.

    Args:
        graph: where nodes go.
        names: of the values that are there already, by their numbers; those written are added.
        rows: the number of rows, as int64 (1,).
    """

    def __init__(self, graph: Graph, names: dict[int, Named], rows: str) -> None:
        self.graph = graph
        self.names = names
        self._rows = rows

    def of(self, part: Any) -> Named:
        """Return the name of a value or constant, as it is."""
        if isinstance(part, Value):
            return self.names[part.number]
        if not isinstance(part, Constant):
            raise no_operator(f"a function of {type(part).__name__}")
        one = self._constant(part.tensor)
        if not part.rows:
            return one
        if isinstance(one, Pair):
            return Pair(*(self._for_each_row(name, part.tensor) for name in one))
        return self._for_each_row(one, part.tensor)

    def real(self, part: Any, dtype: torch.dtype | None = None) -> str:
        """Return the name of a real value, constant or number, converted where that is asked."""
        if isinstance(part, bool | int | float):
            return self.graph.constant(part, kind(dtype or torch.float32))
        found = self.of(part)
        if isinstance(found, Pair):
            raise no_operator("a function of complex numbers")
        own = part.dtype if isinstance(part, Value) else part.tensor.dtype
        return found if dtype in (None, own) else self.graph.cast(found, kind(dtype))

    def broadcast(self, part: Any, dtype: torch.dtype | None = None) -> str:
        """Return the same for an operator that works element by element."""
        # One row serves for each of them.
        if isinstance(part, Constant) and part.rows and len(part.tensor) == 1:
            part = Constant(part.tensor, False)
        return self.real(part, dtype)

    def pair(self, part: Any, dtype: torch.dtype) -> Pair | str:
        """Return a complex value as a pair, or a real one as it is."""
        found = None if isinstance(part, bool | int | float) else self.of(part)
        return found if isinstance(found, Pair) else self.broadcast(part, dtype.to_real())

    def _constant(self, tensor: Tensor) -> Named:
        if tensor.is_complex():
            return Pair(*(self.graph.constant(each.numpy()) for each in (tensor.real, tensor.imag)))
        return self.graph.constant(tensor.numpy())

    def _for_each_row(self, name: str, tensor: Tensor) -> str:
        times = self.graph.whole([1] * (tensor.dim() - 1))
        return self.graph.add("Tile", name, self.graph.add("Concat", self._rows, times, axis=0))


def kind(dtype: torch.dtype) -> str:
    """Return the name of a dtype as NumPy has it."""
    return str(dtype).removeprefix("torch.")


def no_operator(what: str) -> OptionError:
    """Return the error that something can't be said in ONNX."""
    return OptionError(
        f"expected a layer of operations that are known for ONNX, got {what}; write its update "
        "with others, such as sums, products, tanh and where"
    )


def dtype_of(call: Call) -> torch.dtype:
    """Return the dtype of the first output."""
    output = call.outputs[0]
    assert output is not None
    return output.dtype


def sizes_of(call: Call, place: int = 0) -> list[int]:
    """Return the shape of an output with -1 for the rows."""
    output = call.outputs[place]
    assert output is not None
    if output.shape.count(None) > 1:
        raise no_operator(f"{call.name} with the lanes on two axes")
    return [-1 if size is None else size for size in output.shape]


def axis_of(call: Call, place: int, default: int = 0) -> int:
    """Return an axis that is given as an argument, counted from the first of the first one."""
    axis = call.arguments[place] if len(call.arguments) > place else default
    axis = call.options.get("dim", axis)
    return int(axis) % max(len(call.arguments[0].shape), 1)
