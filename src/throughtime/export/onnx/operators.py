"""What is recorded of torch, said in ONNX's operators: shapes, sums and products."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from throughtime.export.onnx.elementwise import ELEMENTWISE
from throughtime.export.onnx.recording import Call
from throughtime.export.onnx.values import (
    Maker,
    Named,
    Pair,
    Values,
    axis_of,
    dtype_of,
    no_operator,
    sizes_of,
)

_END = 2**63 - 1


class Writer(Values):
    """Writes recorded calls into a graph; takes what `Values` takes."""

    def write(self, calls: Iterable[Call]) -> None:
        """Add the nodes of calls.

        Raises:
            OptionError: there is no way to say one of them.
        """
        for call in calls:
            _, _, base = call.name.partition("aten.")
            make = _MAKERS.get(base.split(".")[0] or call.name)
            if make is None:
                raise no_operator(call.name)
            found = make(self, call)
            made = found if isinstance(found, list) else [found]
            made += [made[0]] * (len(call.outputs) - len(made))
            for output, name in zip(call.outputs, made, strict=True):
                if output is not None:
                    self.names[output.number] = name


def _same(w: Values, c: Call) -> Named:
    return w.of(c.arguments[0])


def _converted(w: Values, c: Call) -> Named:
    return w.real(c.arguments[0], dtype_of(c))


def _reshaped(w: Values, c: Call) -> Named:
    return _of_parts(
        w, c.arguments[0], lambda x: w.graph.add("Reshape", x, w.graph.whole(sizes_of(c)))
    )


def _of_parts(w: Values, part: Any, make: Callable[[str], str]) -> Named:
    """Do the same to a real value, or to both parts of a complex one."""
    found = w.of(part)
    return Pair(*map(make, found)) if isinstance(found, Pair) else make(found)


def _expanded(w: Values, c: Call) -> Named:
    # The rows are there already, which ONNX calls to be expanded to one.
    sizes = w.graph.whole([1 if size == -1 else size for size in sizes_of(c)])
    return w.graph.add("Expand", w.real(c.arguments[0]), sizes)


def _permuted(w: Values, c: Call) -> Named:
    dims = len(c.arguments[0].shape)
    order = [axis % dims for axis in c.arguments[1]]
    return w.graph.add("Transpose", w.real(c.arguments[0]), perm=order)


def _transposed(w: Values, c: Call) -> Named:
    dims = len(c.arguments[0].shape)
    order = list(range(dims))
    a, b = (axis % dims for axis in c.arguments[1:3]) if len(c.arguments) > 1 else (0, dims - 1)
    order[a], order[b] = order[b], order[a]
    return w.graph.add("Transpose", w.real(c.arguments[0]), perm=order)


def _sliced(w: Values, c: Call) -> Named:
    x, axis = c.arguments[0], axis_of(c, 1)
    start, end, step = [*c.arguments[2:], None, None, None][:3]
    start, end, step = start or 0, _END if end is None else end, step or 1
    if (start, step) == (0, 1) and end == _END:
        return w.of(x)
    if x.shape[axis] is None:
        raise no_operator("a part of the lanes")
    limits = [w.graph.whole([number]) for number in (start, end, axis, step)]
    return _of_parts(w, x, lambda name: w.graph.add("Slice", name, *limits))


def _selected(w: Values, c: Call) -> Named:
    axis = axis_of(c, 1)
    if c.arguments[0].shape[axis] is None:
        raise no_operator("a part of the lanes")
    index = w.graph.constant(c.arguments[2], "int64")
    return w.graph.add("Gather", w.real(c.arguments[0]), index, axis=axis)


def _split(w: Values, c: Call) -> list[Named]:
    axis = axis_of(c, 2)
    sizes = [sizes_of(c, place)[axis] for place in range(len(c.outputs))]
    names = [w.graph.name("split") for _ in sizes]
    x = w.real(c.arguments[0])
    return list(w.graph.add_several("Split", [x, w.graph.whole(sizes)], names, axis=axis))


def _unbound(w: Values, c: Call) -> list[Named]:
    axis = axis_of(c, 1)
    names = [w.graph.name("split") for _ in c.outputs]
    x = w.real(c.arguments[0])
    parts = w.graph.add_several("Split", [x], names, axis=axis, num_outputs=len(names))
    return [w.graph.add("Squeeze", part, w.graph.whole([axis])) for part in parts]


def _joined(w: Values, c: Call) -> Named:
    parts = c.arguments[0]
    axis = c.arguments[1] if len(c.arguments) > 1 else c.options.get("dim", 0)
    axis %= len(sizes_of(c))
    return w.graph.add("Concat", *(w.real(part, dtype_of(c)) for part in parts), axis=axis)


def _stacked(w: Values, c: Call) -> Named:
    axis = c.arguments[1] if len(c.arguments) > 1 else c.options.get("dim", 0)
    axis %= len(sizes_of(c))
    where = w.graph.whole([axis])
    parts = [w.graph.add("Unsqueeze", w.real(part, dtype_of(c)), where) for part in c.arguments[0]]
    return w.graph.add("Concat", *parts, axis=axis)


def _reduced(operator: str) -> Maker:
    def make(w: Values, c: Call) -> Named:
        x = c.arguments[0]
        axes = c.arguments[1] if len(c.arguments) > 1 else c.options.get("dim")
        axes = [axes] if isinstance(axes, int) else axes
        axes = [axis % len(x.shape) for axis in axes or range(len(x.shape))]
        if any(x.shape[axis] is None for axis in axes):
            raise no_operator(f"{c.name} over the lanes")
        kept = c.arguments[2] if len(c.arguments) > 2 else c.options.get("keepdim", False)
        named = w.real(x, dtype_of(c))
        return w.graph.add(operator, named, w.graph.whole(axes), keepdims=int(kept))

    return make


def _softmax(w: Values, c: Call) -> Named:
    return w.graph.add("Softmax", w.real(c.arguments[0], dtype_of(c)), axis=axis_of(c, 1))


def _as_complex(w: Values, c: Call) -> Named:
    x = w.real(c.arguments[0])
    axis = len(c.arguments[0].shape) - 1
    parts = (w.graph.constant(place, "int64") for place in range(2))
    return Pair(*(w.graph.add("Gather", x, part, axis=axis) for part in parts))


def _as_pairs(w: Values, c: Call) -> Named:
    found = w.of(c.arguments[0])
    assert isinstance(found, Pair)
    last = w.graph.whole([-1])
    return w.graph.add("Concat", *(w.graph.add("Unsqueeze", x, last) for x in found), axis=-1)


def _complex(w: Values, c: Call) -> Named:
    return Pair(*(w.broadcast(part) for part in c.arguments[:2]))


def _part(place: int) -> Maker:
    def make(w: Values, c: Call) -> Named:
        found = w.of(c.arguments[0])
        assert isinstance(found, Pair)
        return found[place]

    return make


def _product(w: Values, c: Call) -> Named:
    return w.graph.add("MatMul", *(w.real(part) for part in c.arguments[:2]))


def _reversed_product(w: Values, c: Call) -> Named:
    return w.graph.add("MatMul", *(w.real(part) for part in c.arguments[1::-1]))


def _added_product(w: Values, c: Call) -> Named:
    more, a, b = (w.real(part) for part in c.arguments[:3])
    return w.graph.add("Gemm", a, b, more)


def _affine(w: Values, c: Call) -> Named:
    x, weight, *rest = c.arguments
    bias = rest[0] if rest else c.options.get("bias")
    if len(x.shape) == 2:
        named = [w.real(part) for part in (x, weight, bias) if part is not None]
        return w.graph.add("Gemm", *named, transB=1)
    turned = w.graph.add("Transpose", w.real(weight), perm=[1, 0])
    product = w.graph.add("MatMul", w.real(x), turned)
    return product if bias is None else w.graph.add("Add", product, w.real(bias))


def _einsum(w: Values, c: Call) -> Named:
    equation, *parts = c.arguments
    parts = parts[0] if isinstance(parts[0], list) else parts
    return w.graph.add("Einsum", *(w.real(part) for part in parts), equation=equation)


def _norm(c: Call, names: tuple[str, ...]) -> list[Any]:
    given = dict(zip(names, c.arguments[1:], strict=False)) | c.options
    return [given.get(name) for name in names]


def _layer_norm(w: Values, c: Call) -> Named:
    shape, weight, bias, least = _norm(c, ("normalized_shape", "weight", "bias", "eps"))
    gain = w.graph.constant(torch.ones(shape, dtype=dtype_of(c)).numpy())
    named = [w.real(c.arguments[0]), gain if weight is None else w.real(weight)]
    if bias is not None:
        named.append(w.real(bias))
    least = 1e-5 if least is None else least
    return w.graph.add("LayerNormalization", *named, axis=-len(shape), epsilon=least)


def _rms_norm(w: Values, c: Call) -> Named:
    shape, weight, least = _norm(c, ("normalized_shape", "weight", "eps"))
    least = torch.finfo(dtype_of(c)).eps if least is None else least
    x, axes = w.real(c.arguments[0]), w.graph.whole(range(-len(shape), 0))
    mean = w.graph.add("ReduceMean", w.graph.add("Mul", x, x), axes, keepdims=1)
    root = w.graph.add("Sqrt", w.graph.add("Add", mean, w.real(least, dtype_of(c))))
    normal = w.graph.add("Div", x, root)
    return normal if weight is None else w.graph.add("Mul", normal, w.real(weight))


def _sorted(w: Values, c: Call) -> list[Named]:
    axis = axis_of(c, 1, -1)
    if c.options.get("descending") or (len(c.arguments) > 2 and c.arguments[2]):
        raise no_operator(f"{c.name} from the largest down")
    count = w.graph.whole([sizes_of(c)[axis]])
    names = [w.graph.name("sorted"), w.graph.name("places")]
    x = w.real(c.arguments[0])
    return list(w.graph.add_several("TopK", [x, count], names, axis=axis, largest=0))


def _looked_up(w: Values, c: Call) -> Named:
    return w.graph.add("Gather", *(w.real(part) for part in c.arguments[:2]), axis=0)


_MAKERS: Mapping[str, Maker] = {
    **ELEMENTWISE,
    **{"clone": _same, "_to_copy": _converted, "view": _reshaped, "_unsafe_view": _reshaped},
    **{"unsqueeze": _reshaped, "squeeze": _reshaped, "expand": _expanded},
    **{"permute": _permuted, "transpose": _transposed, "t": _transposed},
    **{"slice": _sliced, "select": _selected, "split": _split, "split_with_sizes": _split},
    **{"unbind": _unbound, "cat": _joined, "stack": _stacked},
    **{"sum": _reduced("ReduceSum"), "mean": _reduced("ReduceMean"), "amax": _reduced("ReduceMax")},
    **{"view_as_complex": _as_complex, "view_as_real": _as_pairs, "complex": _complex},
    **{"real": _part(0), "imag": _part(1)},
    **{"mm": _product, "bmm": _product, "addmm": _added_product, "embedding": _looked_up},
    **{"matmul": _product, "rmatmul": _reversed_product, "linear": _affine, "einsum": _einsum},
    **{"layer_norm": _layer_norm, "rms_norm": _rms_norm, "_softmax": _softmax, "sort": _sorted},
}
"""How to say torch's operators, by their names without what tells variants apart."""
