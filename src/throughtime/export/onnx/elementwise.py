"""What torch computes element by element, said in ONNX's operators.

Where ONNX has no operator that keeps the digits torch keeps, such as for log(1 + x), it is put
together of those that do.
"""

from collections.abc import Mapping
from typing import Any

import torch

from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.recording import Call, Constant, Value
from throughtime.export.onnx.values import Maker, Named, Pair, Values, dtype_of, kind, no_operator


def _on_each(operator: str) -> Maker:
    return lambda w, c: w.graph.add(operator, w.broadcast(c.arguments[0], dtype_of(c)))


def _of_two(operator: str) -> Maker:
    return lambda w, c: _joined_by(w, c, operator)


def _joined_by(w: Values, c: Call, operator: str) -> str:
    return w.graph.add(operator, *(w.broadcast(part, dtype_of(c)) for part in c.arguments[:2]))


def _compared(operator: str, *, negated: bool = False) -> Maker:
    def make(w: Values, c: Call) -> Named:
        dtype = torch.result_type(*(_example(part) for part in c.arguments[:2]))
        found = w.graph.add(operator, *(w.broadcast(part, dtype) for part in c.arguments[:2]))
        return w.graph.add("Not", found) if negated else found

    return make


def _example(part: Any) -> Any:
    """Return something that has the type of an argument."""
    if isinstance(part, Value):
        return torch.empty([1] * len(part.shape), dtype=part.dtype)
    return part.tensor if isinstance(part, Constant) else part


def _added(sign: str) -> Maker:
    def make(w: Values, c: Call) -> Named:
        dtype, scale = dtype_of(c), c.options.get("alpha", 1)
        if scale != 1:
            raise no_operator(f"{c.name} with alpha")
        a, b = (w.pair(part, dtype) for part in c.arguments[:2])
        if not isinstance(a, Pair) and not isinstance(b, Pair):
            return w.graph.add(sign, a, b)
        zero = w.graph.constant(0, kind(dtype.to_real()))
        first, second = (each if isinstance(each, Pair) else Pair(each, zero) for each in (a, b))
        return Pair(*(w.graph.add(sign, *parts) for parts in zip(first, second, strict=True)))

    return make


def _multiplied(w: Values, c: Call) -> Named:
    a, b = (w.pair(part, dtype_of(c)) for part in c.arguments[:2])
    if isinstance(a, Pair) and isinstance(b, Pair):
        parts = [[w.graph.add("Mul", x, y) for y in b] for x in a]
        return Pair(
            w.graph.add("Sub", parts[0][0], parts[1][1]),
            w.graph.add("Add", parts[0][1], parts[1][0]),
        )
    if isinstance(b, Pair):
        a, b = b, a
    assert isinstance(b, str)
    if isinstance(a, Pair):
        return Pair(*(w.graph.add("Mul", part, b) for part in a))
    return w.graph.add("Mul", a, b)


def _subtracted_from(w: Values, c: Call) -> Named:
    """Write b - a."""
    a, b = (w.broadcast(part, dtype_of(c)) for part in c.arguments[:2])
    return w.graph.add("Sub", b, a)


def _divided(w: Values, c: Call) -> Named:
    if c.options.get("rounding_mode") is not None:
        raise no_operator(f"{c.name} with rounding")
    return _joined_by(w, c, "Div")


def _power(w: Values, c: Call) -> Named:
    base, exponent = c.arguments[:2]
    x = w.broadcast(base, dtype_of(c))
    if exponent == 2:
        return w.graph.add("Mul", x, x)
    return w.graph.add("Pow", x, w.broadcast(exponent, dtype_of(c)))


def _inverse_root(w: Values, c: Call) -> Named:
    return w.graph.add("Reciprocal", w.graph.add("Sqrt", w.real(c.arguments[0], dtype_of(c))))


def _exponential_less_one(w: Values, c: Call) -> Named:
    # exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which has no difference of near numbers.
    dtype = kind(dtype_of(c))
    x = w.real(c.arguments[0], dtype_of(c))
    half = w.graph.add("Tanh", w.graph.add("Mul", x, w.graph.constant(0.5, dtype)))
    more = w.graph.add("Add", w.graph.add("Exp", x), w.graph.constant(1, dtype))
    # Beyond, where exp(x) is infinite, tanh is one, and below, where tanh is -1, exp(x) is nothing.
    return w.graph.add("Mul", half, more)


def _log1p(w: Values, c: Call) -> Named:
    one = w.graph.constant(1, kind(dtype_of(c)))
    return _log_of_one_more(w.graph, w.real(c.arguments[0], dtype_of(c)), one)


def _softplus(w: Values, c: Call) -> Named:
    if len(c.arguments) > 1 and c.arguments[1] != 1:
        raise no_operator(f"{c.name} with beta")
    return _log_of_one_more_exponential(
        w.graph, w.real(c.arguments[0], dtype_of(c)), w.graph.constant(1, kind(dtype_of(c)))
    )


def _log_sigmoid(w: Values, c: Call) -> Named:
    x = w.graph.add("Neg", w.real(c.arguments[0]))
    return w.graph.add(
        "Neg", _log_of_one_more_exponential(w.graph, x, w.graph.constant(1, kind(dtype_of(c))))
    )


def _silu(w: Values, c: Call) -> Named:
    x = w.real(c.arguments[0])
    return w.graph.add("Mul", x, w.graph.add("Sigmoid", x))


def _bounded(w: Values, c: Call) -> Named:
    low, high = [*c.arguments[1:3], None, None][:2]
    bounds = (c.options.get("min", low), c.options.get("max", high))
    named = ["" if bound is None else w.real(bound, dtype_of(c)) for bound in bounds]
    return w.graph.add("Clip", w.real(c.arguments[0], dtype_of(c)), *named)


def _chosen(w: Values, c: Call) -> Named:
    condition, a, b = c.arguments[:3]
    return w.graph.add(
        "Where", w.broadcast(condition), w.broadcast(a, dtype_of(c)), w.broadcast(b, dtype_of(c))
    )


def _filled(w: Values, c: Call) -> Named:
    x, mask, number = c.arguments[:3]
    return w.graph.add(
        "Where", w.broadcast(mask), w.broadcast(number, dtype_of(c)), w.broadcast(x, dtype_of(c))
    )


def _between(w: Values, c: Call) -> Named:
    """Write a + share (b - a)."""
    a, b, share = (w.broadcast(part, dtype_of(c)) for part in c.arguments[:3])
    return w.graph.add("Add", a, w.graph.add("Mul", share, w.graph.add("Sub", b, a)))


def _log_of_one_more(graph: Graph, x: str, one: str) -> str:
    """Return log(1 + x) to the last digits, for small x too (Kahan's way)."""
    more = graph.add("Add", x, one)
    slope = graph.add("Div", graph.add("Log", more), graph.add("Sub", more, one))
    return graph.add("Where", graph.add("Equal", more, one), x, graph.add("Mul", x, slope))


def _log_of_one_more_exponential(graph: Graph, x: str, one: str) -> str:
    """Return log(1 + exp(x)) to the last digits, for any x."""
    small = graph.add("Exp", graph.add("Neg", graph.add("Abs", x)))
    return graph.add("Add", graph.add("Relu", x), _log_of_one_more(graph, small, one))


ELEMENTWISE: Mapping[str, Maker] = {
    **{name: _on_each(name.capitalize()) for name in ("abs", "cos", "exp", "log", "neg", "relu")},
    **{name: _on_each(name.capitalize()) for name in ("sigmoid", "sin", "sqrt", "tanh")},
    **{"logical_not": _on_each("Not"), "bitwise_not": _on_each("Not")},
    **{"logical_and": _of_two("And"), "bitwise_and": _of_two("And")},
    **{"logical_or": _of_two("Or"), "bitwise_or": _of_two("Or")},
    **{"maximum": _of_two("Max"), "minimum": _of_two("Min")},
    **{"eq": _compared("Equal"), "ne": _compared("Equal", negated=True)},
    **{"gt": _compared("Greater"), "ge": _compared("GreaterOrEqual")},
    **{"lt": _compared("Less"), "le": _compared("LessOrEqual")},
    **{"add": _added("Add"), "sub": _added("Sub"), "rsub": _subtracted_from},
    **{"mul": _multiplied, "div": _divided, "pow": _power, "rsqrt": _inverse_root},
    **{"expm1": _exponential_less_one, "log1p": _log1p, "softplus": _softplus},
    **{"log_sigmoid_forward": _log_sigmoid, "silu": _silu, "clamp": _bounded, "lerp": _between},
    **{"where": _chosen, "masked_fill": _filled},
}
"""How to say torch's operators, by their names without what tells variants apart."""
