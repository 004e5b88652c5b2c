"""Writing an ONNX graph node by node: names, constants, graphs within graphs, the finished model.

Nothing here knows a layer or torch's operators.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from throughtime.errors import OptionError

OPSET, IR_VERSION = 18, 9
"""Versions of ONNX of the year 2023, which every runtime in use reads."""

_MOST_BYTES = 2**31 - 2**24
_TYPES = {
    "float32": 1,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float64": 11,
}
"""ONNX's numbers of the types that occur."""

Array = NDArray[Any]


class Graph:
    """A graph that is being written; names of values are what its methods take and give.

    Args:
        outer: the graph that this one is the body of a node in; it may use the values of that.
    """

    def __init__(self, outer: "Graph | None" = None) -> None:
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._root: Graph = self if outer is None else outer._root
        self._constants: dict[tuple[Any, ...], str] = {}
        self._initializers: list[Any] = []
        self._names: dict[str, int] = {}
        self._bytes = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str | None]) -> str:
        """Add an input; sizes that vary have a name or are None."""
        self.inputs.append(_described(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[int | str | None]) -> None:
        """Make a value an output."""
        self.outputs.append(_described(name, dtype, shape))

    def name(self, about: str) -> str:
        """Return a name that no other value of the model has."""
        count = self._root._names.get(about, 0)
        self._root._names[about] = count + 1
        return f"{about}_{count}"

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node of one output and return that; "" stands for an input that is left out."""
        (output,) = self.add_several(kind, inputs, [name or self.name(kind.lower())], **attributes)
        return output

    def add_several(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Add a node whose outputs have these names."""
        node = _onnx().helper.make_node(kind, list(inputs), list(outputs), **attributes)
        self.nodes.append(node)
        return outputs

    def rename(self, value: str, name: str) -> str:
        """Give a value a name of its own."""
        return self.add("Identity", value, name=name)

    def constant(self, numbers: Any, dtype: str | None = None, *, about: str = "constant") -> str:
        """Return a constant; equal ones are one.

        Args:
            numbers: an array, or what NumPy makes one of.
            dtype: as NumPy names it; that of the array when None.
            about: how its name begins.
        """
        array = np.asarray(numbers) if dtype is None else np.asarray(numbers, dtype)
        root = self._root
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in root._constants:
            root._bytes += array.nbytes
            if root._bytes > _MOST_BYTES:
                raise OptionError(
                    "expected weights of less than 2 GB for ONNX, which has room for no more in a "
                    "file, got more; train a smaller model"
                )
            name = root._constants[key] = self.name(about)
            root._initializers.append(_onnx().numpy_helper.from_array(_dense(array), name))
        return root._constants[key]

    def whole(self, numbers: Sequence[int]) -> str:
        """Return a constant of int64, as shapes and axes are."""
        return self.constant(list(numbers), "int64")

    def cast(self, value: str, dtype: str) -> str:
        """Convert a value."""
        return self.add("Cast", value, to=_TYPES[dtype])

    def body(self, name: str) -> Any:
        """Return the graph as the body of a node."""
        return _onnx().helper.make_graph(self.nodes, name, self.inputs, self.outputs)

    def model(self, name: str, about: str, metadata: Mapping[str, str]) -> Any:
        """Return the finished model, checked.

        Args:
            name: of the graph.
            about: a sentence on what it computes.
            metadata: what is written into the file beside it.
        """
        onnx = _onnx()
        used = set().union(*map(_read, self.nodes))
        constants = [each for each in self._initializers if each.name in used]
        graph = onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, constants, about
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="throughtime",
        )
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def cut(model: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Return the part of a model that lies between some of its values.

    Args:
        model: the model.
        inputs: descriptions of values that become inputs, beside those of the model's own that
            are needed.
        outputs: descriptions of values that become outputs.
    """
    onnx = _onnx()
    given = {each.name for each in inputs}
    needed = {each.name for each in outputs} - given
    nodes = []
    for node in reversed(model.graph.node):
        if needed.isdisjoint(node.output):
            continue
        nodes.append(node)
        needed -= set(node.output)
        needed |= _read(node) - given
    own = [each for each in model.graph.input if each.name in needed]
    constants = [each for each in model.graph.initializer if each.name in needed]
    graph = onnx.helper.make_graph(
        nodes[::-1], model.graph.name, [*inputs, *own], list(outputs), constants
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )


def describe(name: str, dtype: str, shape: Sequence[int | str | None]) -> Any:
    """Return the description of a value, as `cut` takes it."""
    return _described(name, dtype, shape)


def _read(node: Any) -> set[str]:
    """Return the values that a node reads, those in its bodies included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inner = {each.name for each in attribute.g.input}
            for part in attribute.g.node:
                names |= _read(part) - inner
                inner |= set(part.output)
            names |= {each.name for each in attribute.g.output} - inner
    return names


def _described(name: str, dtype: str, shape: Sequence[int | str | None]) -> Any:
    return _onnx().helper.make_tensor_value_info(name, _TYPES[dtype], list(shape))


def _dense(array: Array) -> Array:
    # Not `ascontiguousarray`, which gives a number an axis.
    return np.array(array, order="C")


def _onnx() -> Any:
    try:
        onnx = import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            import_module(f"onnx.{part}")
    except ImportError:
        raise OptionError(
            "expected onnx to be installed for an export to ONNX, got none; "
            "pip install 'throughtime[onnx]'"
        ) from None
    return onnx
