"""Seeing what goes into and out of every module of a model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class Passed(NamedTuple):
    """What went into a module, and what came out of it."""

    name: str
    inputs: list[Tensor]
    output: Tensor


@contextmanager
def hooked(model: nn.Module, hook: Any) -> Iterator[None]:
    """Call `hook(name, module, given, named, result)` after every call of a module in a model.

    What the hook returns takes the place of the result, where it is not None.
    """
    handles = []

    def noting(name: str) -> Any:
        def note(module: nn.Module, given: Any, named: Any, result: Any) -> Any:
            return hook(name, module, given, named, result)

        return note

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(noting(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(tree: Any, depth: int = 5) -> list[Tensor]:
    """Return the tensors of what a module takes or gives, in order."""
    if isinstance(tree, Tensor):
        # A nested one, as encoders make of masked input, has no sizes to go by.
        return [] if tree.is_nested else [tree]
    if isinstance(tree, PackedSequence):
        return [tree.data]
    if not depth:
        return []
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    elif hasattr(tree, "__dataclass_fields__"):
        tree = list(vars(tree).values())
    if isinstance(tree, list | tuple):
        return [found for part in tree for found in tensors_in(part, depth - 1)]
    return []


def where_it_begins(
    before: list[Passed], after: list[Passed], same: Callable[[Tensor, Tensor], bool]
) -> str:
    """Return the first module that turns the same into another; empty where unclear."""
    for first, then in zip(before, after, strict=False):
        pure = all(map(same, first.inputs, then.inputs))
        if first.inputs and pure and not same(first.output, then.output):
            return first.name
    return ""
