"""Which part of a step needs the state, and which can be computed for all steps at once.

A step is recorded as one list of operations. Those that read the input alone come before the loop
over time, and those that the next state does not wait for come after it, where what they need of
each step is little enough to be kept.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from throughtime.export.onnx.recording import Call, Constant, Recording, Value

_MOST_KEPT = 4
"""Numbers that may be kept of each step for what comes after the loop, for each of x, y and the
state together."""


class Parts(NamedTuple):
    """A step in three parts.

    Attributes:
        before: of the input alone.
        loop: from the state before to the state after.
        after: of what is kept of each step.
        entering: values that the loop reads of `before`, or the input itself.
        kept: values of the loop that are needed after it.
    """

    before: tuple[Call, ...]
    loop: tuple[Call, ...]
    after: tuple[Call, ...]
    entering: tuple[Value, ...]
    kept: tuple[Value, ...]


def parted(step: Recording) -> Parts:
    """Part a recording of x and the leaves of a state to y and the leaves after.

    Example:
        >>> import torch
        >>> from throughtime.export.onnx.recording import record
        >>> def step(x, h):
        ...     after = h + x.tanh()
        ...     return [after.exp(), after]
        >>> made = record(step, lambda rows: [torch.ones(rows, 2), torch.ones(rows, 2)])
        >>> [[call.name for call in part] for part in parted(made)[:3]]
        [['aten.tanh.default'], ['aten.add.Tensor'], ['aten.exp.default']]
    """
    calls = _needed(step.calls, step.outputs)
    state = {value.number for value in step.inputs[1:]}
    reached = set(state)
    before, rest = [], []
    for call in calls:
        if reached.isdisjoint(_numbers(call.arguments, call.options)):
            before.append(call)
        else:
            rest.append(call)
            reached |= _made(call)
    loop = _needed(rest, step.outputs[1:])
    in_loop = {number for call in loop for number in _made(call)} | state
    after = [call for call in rest if _made(call).isdisjoint(in_loop)]
    kept = _crossing(after, step.outputs[:1], in_loop)
    sizes = [step.outputs[0], *step.inputs]
    if _size(kept) > _MOST_KEPT * sum(_size([value]) for value in sizes):
        loop, after, kept = rest, [], _crossing([], step.outputs[:1], reached)
    made_before = {number for call in before for number in _made(call)}
    made_before.add(step.inputs[0].number)
    entering = _crossing(loop, step.outputs[1:], made_before)
    return Parts(tuple(before), tuple(loop), tuple(after), entering, kept)


def _needed(calls: Iterable[Call], outputs: Iterable[Value | Constant]) -> list[Call]:
    """Return those calls that the outputs follow from."""
    wanted = {output.number for output in outputs if isinstance(output, Value)}
    found = []
    for call in reversed(list(calls)):
        if not wanted.isdisjoint(_made(call)):
            found.append(call)
            wanted.update(_numbers(call.arguments, call.options))
    return found[::-1]


def _crossing(
    calls: Iterable[Call], outputs: Iterable[Value | Constant], made: set[int]
) -> tuple[Value, ...]:
    """Return the values among some that calls read, or that are outputs."""
    found: dict[int, Value] = {}
    for call in calls:
        found.update({value.number: value for value in _values(call.arguments, call.options)})
    found.update({output.number: output for output in outputs if isinstance(output, Value)})
    return tuple(value for number, value in found.items() if number in made)


def _size(values: Iterable[Value | Constant]) -> int:
    """Return how many numbers values have for each row."""
    shapes = [value.shape for value in values if isinstance(value, Value)]
    return sum(math.prod(size for size in shape if size is not None) for shape in shapes)


def _made(call: Call) -> set[int]:
    return {output.number for output in call.outputs if output is not None}


def _numbers(*trees: Any) -> set[int]:
    return {value.number for value in _values(*trees)}


def _values(*trees: Any) -> Iterator[Value]:
    for tree in trees:
        if isinstance(tree, Value):
            yield tree
        elif isinstance(tree, dict):
            yield from _values(*tree.values())
        elif isinstance(tree, list) or type(tree) is tuple:
            yield from _values(*tree)
