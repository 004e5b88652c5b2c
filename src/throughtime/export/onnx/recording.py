"""What a function of rows computes, as a list of tensor operations.

The function is run twice, over two rows and over three, and every operation that torch is asked for
is written down. What is the same both times is a constant; what grows with the rows is a multiple
of their number, and whatever else there may be is an error. So a recording holds for any number of
rows, and what does not depend on the inputs is computed here, by torch, once and for all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from throughtime import kernels
from throughtime.errors import OptionError

_ROWS = (2, 3)

_WHOLE = {
    functional.linear: "linear",
    functional.layer_norm: "layer_norm",
    functional.rms_norm: "rms_norm",
    torch.matmul: "matmul",
    Tensor.matmul: "matmul",
    Tensor.__matmul__: "matmul",
    Tensor.__rmatmul__: "rmatmul",
    torch.einsum: "einsum",
}
"""Functions that are written down as they are called; of all others, what torch makes of them."""

_UNCHANGED = ("aten.alias", "aten.detach", "aten.lift_fresh", "aten._assert_tensor_metadata")


class Value(NamedTuple):
    """A tensor that depends on the inputs.

    Attributes:
        number: which one.
        shape: without the rows, where they are on axis 0; None at an axis that grows with them.
        dtype: of torch.
    """

    number: int
    shape: tuple[int | None, ...]
    dtype: torch.dtype


class Rows(NamedTuple):
    """A size that is a multiple of the number of rows."""

    times: int


class Constant(NamedTuple):
    """A tensor that does not depend on the inputs.

    Attributes:
        tensor: its numbers; of each row, where it has a row for each.
        rows: whether it is repeated for each row, along axis 0.
    """

    tensor: Tensor
    rows: bool


class Call(NamedTuple):
    """One operation.

    Attributes:
        name: of torch's operator, such as `aten.add.Tensor`, or of one of those in `_WHOLE`.
        arguments: in order; values, constants, rows, numbers, and lists of these.
        options: by name.
        outputs: what comes of it; None where that is no tensor.
    """

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[Value | None, ...]


@dataclass(frozen=True)
class Recording:
    """What a function computes.

    Attributes:
        inputs: its arguments.
        calls: in order.
        outputs: its results.
    """

    inputs: tuple[Value, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Value | Constant, ...]


def record(
    function: Callable[..., Sequence[Tensor]], examples: Callable[[int], Sequence[Tensor]]
) -> Recording:
    """Record a function of tensors whose axis 0 is rows, each of which it treats alike.

    Args:
        function: gives a sequence of tensors (N, ...) for tensors (N, ...).
        examples: gives arguments of N rows.

    Raises:
        OptionError: the function does something that can't be recorded.
    """
    runs = [_run(function, examples(rows)) for rows in _ROWS]
    return _Merger(*runs).merge()


class _RawCall(NamedTuple):
    """One operation on tensors of one number of rows."""

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[Any, ...]


class _Raw(NamedTuple):
    """A recording of one number of rows: tensors stand for values and constants alike.

    Attributes:
        inputs: the arguments.
        calls: in order.
        outputs: the results.
        numbers: of each tensor that depends on the inputs, by its identity.
        kept: what must stay alive, so that no other tensor gets an identity that is written down.
    """

    inputs: list[Tensor]
    calls: list[_RawCall]
    outputs: list[Tensor]
    numbers: dict[int, int]
    kept: list[Any]


def _run(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> _Raw:
    # Copies, so that no two inputs are one tensor, and none is a parameter.
    own = [each.detach().clone() for each in inputs]
    raw = _Raw(own, [], [], {id(each): place for place, each in enumerate(own)}, list(own))
    operators = _Operators(raw)
    # What is recorded is plain maths and no kernel; and nothing of what autograd would add.
    with torch.no_grad(), kernels.use("reference"), operators, _Functions(raw, operators):
        raw.outputs.extend(function(*own))
    return raw


class _Functions(TorchFunctionMode):
    """Writes down the functions in `_WHOLE`."""

    def __init__(self, raw: _Raw, operators: "_Operators") -> None:
        super().__init__()
        self._raw = raw
        self._operators = operators

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = _WHOLE.get(func)
        options = kwargs or {}
        if name is None:
            return func(*args, **options)
        with self._operators.silent():
            result = func(*args, **options)
        _write(self._raw, name, args, options, result)
        return result


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down everything else, as the operators that torch makes of it."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._raw = raw
        self._silent = False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Write nothing down for a while."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        if self._silent:
            return result
        name = str(func)
        if _depends(self._raw, (args, options)) and (
            func._schema.is_mutable or "_local_scalar_dense" in name
        ):
            raise OptionError(
                f"expected a layer whose step is plain maths for ONNX, got one that calls {name}, "
                "which changes a tensor in place or branches on its numbers"
            )
        if name.startswith(_UNCHANGED):
            if isinstance(result, Tensor) and id(args[0]) in self._raw.numbers:
                self._raw.numbers[id(result)] = self._raw.numbers[id(args[0])]
                self._raw.kept.append(result)
            return result
        _write(self._raw, name, args, options, result)
        return result


def _write(raw: _Raw, name: str, args: Any, options: dict[str, Any], result: Any) -> None:
    if not _depends(raw, (args, options)):
        return
    outputs = tuple(result) if isinstance(result, list | tuple) else (result,)
    for output in outputs:
        if isinstance(output, Tensor):
            raw.numbers[id(output)] = len(raw.kept)
            raw.kept.append(output)
    raw.kept.append(args)
    raw.calls.append(_RawCall(name, tuple(args), options, outputs))


def _depends(raw: _Raw, tree: Any) -> bool:
    """Tell whether any tensor in nested arguments depends on the inputs."""
    if isinstance(tree, Tensor):
        return id(tree) in raw.numbers
    if isinstance(tree, dict):
        return any(_depends(raw, each) for each in tree.values())
    if isinstance(tree, list | tuple):
        return any(_depends(raw, each) for each in tree)
    return False


class _Merger:
    """Makes one recording, of any number of rows, of two."""

    def __init__(self, *raws: _Raw) -> None:
        self._raws = raws

    def merge(self) -> Recording:
        """Return what both have in common, which must be everything."""
        first, second = self._raws
        names = [[call.name for call in raw.calls] for raw in self._raws]
        if names[0] != names[1]:
            raise _uneven("other operations")
        return Recording(
            tuple(map(self._value, first.inputs, second.inputs)),
            tuple(map(self._call, first.calls, second.calls)),
            tuple(map(self._tensor, first.outputs, second.outputs)),
        )

    def _call(self, a: _RawCall, b: _RawCall) -> Call:
        outputs = tuple(
            self._value(*pair) if isinstance(pair[0], Tensor) else None
            for pair in zip(a.outputs, b.outputs, strict=True)
        )
        options = {name: self._argument(part, b.options[name]) for name, part in a.options.items()}
        return Call(a.name, tuple(map(self._argument, a.arguments, b.arguments)), options, outputs)

    def _argument(self, a: Any, b: Any) -> Any:
        if isinstance(a, Tensor):
            return self._tensor(a, b)
        if isinstance(a, list | tuple):
            if len(a) != len(b):
                raise _uneven("lists of other lengths")
            return [self._argument(*pair) for pair in zip(a, b, strict=True)]
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int) and a * _ROWS[1] == b * _ROWS[0]:
            return Rows(a // _ROWS[0])
        raise _uneven(f"{a} and {b}")

    def _tensor(self, a: Tensor, b: Tensor) -> Value | Constant:
        if id(a) in self._raws[0].numbers:
            return self._value(a, b)
        if id(b) in self._raws[1].numbers:
            raise _uneven("a constant and none")
        if a.shape == b.shape:
            return Constant(a.detach(), False)
        each = a.shape[0] // _ROWS[0]
        one = a[:each].detach()
        if not (each and _repeats(a, one, _ROWS[0]) and _repeats(b, one, _ROWS[1])):
            raise _uneven("a constant for each row")
        return Constant(one, True)

    def _value(self, a: Tensor, b: Tensor) -> Value:
        shape = tuple(
            size if size == other else None for size, other in zip(a.shape, b.shape, strict=True)
        )
        number = self._raws[0].numbers[id(a)]
        if self._raws[1].numbers.get(id(b)) != number:
            raise _uneven("other arguments")
        return Value(number, shape, a.dtype)


def _repeats(whole: Tensor, one: Tensor, times: int) -> bool:
    return whole.shape == (times * one.shape[0], *one.shape[1:]) and torch.equal(
        whole, one.repeat(times, *[1] * (one.dim() - 1))
    )


def _uneven(what: str) -> OptionError:
    return OptionError(
        f"expected a layer that treats all lanes alike for ONNX, got {what} for "
        f"{_ROWS[0]} lanes and {_ROWS[1]}"
    )
