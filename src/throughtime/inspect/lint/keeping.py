"""Putting a model back as it was: weights, buffers, gradients, modes, attributes, random numbers.

Whatever a module has in its `vars` is noted before anything is run, tensors with a copy of their
values and containers with a copy of their contents, and is put back from that. The objects stay the
same ones, so that an optimiser still holds the parameters it was given.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Undo = Callable[[], None]

_STRUCTURE = ("_modules", "_parameters", "_buffers")
_DEEPEST = 6


class Kept:
    """A model as it is now, to be put back.

    Args:
        model: any module.
    """

    def __init__(self, model: nn.Module) -> None:
        self._weights = [_of_weight(each) for each in model.parameters()]
        self._hooks = [
            _of_contents(value)
            for module in model.modules()
            for name, value in vars(module).items()
            if _is_of_hooks(name)
        ]
        self._rest = [_of_module(each) for each in model.modules()]
        own = [value for module in model.modules() for value in vars(module).values()]
        self._generators = [each for each in own if isinstance(each, torch.Generator)]

    def put_back(self) -> None:
        """Put everything back."""
        # First what the modules have, since a parameter may have been replaced by another one.
        self.put_back_state()
        for undo in (*self._weights, *self._hooks):
            undo()

    def put_back_state(self) -> None:
        """Put back what a run without gradients changes: not weights, and not hooks."""
        for undo in self._rest:
            undo()

    def seed(self, seed: int) -> None:
        """Seed every generator there is, global ones and those in attributes."""
        seed_all(seed)
        for generator in self._generators:
            generator.manual_seed(seed)


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Put the states of the random number generators back at the end of the block."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def seed_all(seed: int) -> None:
    """Seed every global generator."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def kept_optimiser(optimiser: torch.optim.Optimizer) -> Undo:
    """Return what puts an optimiser's moments and options back."""
    state = {each: _values_of(values) for each, values in optimiser.state.items()}
    groups = [
        {name: _values_of(value) for name, value in group.items() if name != "params"}
        for group in optimiser.param_groups
    ]

    def undo() -> None:
        optimiser.state.clear()
        optimiser.state.update(state)
        for group, before in zip(optimiser.param_groups, groups, strict=False):
            group.update(before)

    return undo


def kept_closure(function: Any) -> Undo:
    """Return what puts back the states that a function carries in its surroundings.

    What else is there, such as a list of losses, is the user's own.
    """
    cells = [cell for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]
    cells = [cell for cell in cells if _may_be_state(cell.cell_contents)]
    before = [(cell, cell.cell_contents, _of_value(cell.cell_contents, 2)) for cell in cells]

    def undo() -> None:
        for cell, content, values in before:
            cell.cell_contents = content
            values()

    return undo


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _may_be_state(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_may_be_state, value.values()))
    return value is None or isinstance(value, Tensor | tuple)


def _values_of(tree: Any) -> Any:
    """Return a copy in which tensors are copies too."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, dict):
        return {name: _values_of(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_values_of(value) for value in tree]
    return tree


def _of_weight(weight: nn.Parameter) -> Undo:
    values, gradient, wanted = weight.detach().clone(), weight.grad, weight.requires_grad
    undo_gradient = None if gradient is None else _of_value(gradient, _DEEPEST)

    def undo() -> None:
        _copy_back(weight, values)
        weight.requires_grad_(wanted)
        weight.grad = gradient
        if undo_gradient is not None:
            undo_gradient()

    return undo


def _of_module(module: nn.Module) -> Undo:
    own = vars(module)
    before = dict(own)
    parts = [
        # Weights are put back apart from this; which ones there are belongs here.
        _of_contents(value) if name in ("_parameters", "_modules") else _of_value(value, _DEEPEST)
        for name, value in before.items()
        if not _is_of_hooks(name)
    ]

    def undo() -> None:
        for name in own.keys() - before.keys():
            del own[name]
        own.update(before)
        for part in parts:
            part()

    return undo


def _is_of_hooks(name: str) -> bool:
    return "_hooks" in name


def _of_contents(container: Any) -> Undo:
    """Return what puts back which objects are in a container, not what is in these."""
    if not isinstance(container, dict):
        return _nothing
    items = dict(container)

    def undo() -> None:
        if not _same_contents(container, items):
            container.clear()
            container.update(items)

    return undo


def _of_value(value: Any, depth: int) -> Undo:
    """Return what puts a value back: tensors, generators, and containers of them."""
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, torch.Generator):
        drawn = value.get_state()
        return lambda: _set_generator(value, drawn)
    if isinstance(value, np.random.Generator):
        bits, begun = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", begun)
    if depth and isinstance(value, dict | list | deque | tuple | set):
        return _of_container(value, depth)
    return _nothing


def _of_tensor(tensor: Tensor) -> Undo:
    if is_lazy(tensor) or tensor.is_meta:
        return _nothing
    values = tensor.detach().clone()
    return lambda: _copy_back(tensor, values)


def is_lazy(tensor: Tensor) -> bool:
    """Return whether a tensor has no numbers yet, as those of lazy modules."""
    return isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer)


def _of_container(container: Any, depth: int) -> Undo:
    inner = list(container.values()) if isinstance(container, dict) else list(container)
    parts = [part for each in inner if (part := _of_value(each, depth - 1)) is not _nothing]
    before = container.copy() if hasattr(container, "copy") else None

    def undo() -> None:
        # Only where it changed: a container of one's own may not like to be refilled.
        if before is not None and not _same_contents(container, before):
            container.clear()
            fill = container.extend if isinstance(container, list | deque) else container.update
            fill(before)
        for part in parts:
            part()

    return undo


def _same_contents(container: Any, before: Any) -> bool:
    if len(container) != len(before):
        return False
    if isinstance(container, dict):
        pairs = zip(container.items(), before.items(), strict=True)
        return all(key is old or key == old for (key, _), (old, _) in pairs) and all(
            new is old for new, old in zip(container.values(), before.values(), strict=True)
        )
    if isinstance(container, set):
        return bool(container == before)
    return all(new is old for new, old in zip(container, before, strict=True))


def _copy_back(tensor: Tensor, values: Tensor) -> None:
    now = tensor.detach()
    if now.shape != values.shape or now.dtype != values.dtype:
        tensor.data = values.clone()
    elif values.is_sparse or not _same_bits(now, values):
        now.copy_(values)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if torch.equal(a, b):
        return True
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def _set_generator(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _nothing() -> None:
    return None
