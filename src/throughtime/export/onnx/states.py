"""The state of a model as ONNX has it: tensors with names, and no seeds of noise.

Noise drops units in training alone, so a graph has no use for its seeds.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import Tensor

from throughtime import state as states
from throughtime.layers.noise import Noise, initial_noise
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Leaf(NamedTuple):
    """One tensor of a state.

    Attributes:
        name: as `states.names` has it.
        place: its layer and kind, as the graph has them.
        shape: of a lane.
        dtype: of torch.
        initial: (1, ...), before the first step.
    """

    name: str
    place: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    initial: Tensor

    @property
    def past(self) -> str:
        """The input that it is."""
        return f"past_{self.place}"

    @property
    def present(self) -> str:
        """The output that it is."""
        return f"present_{self.place}"

    @property
    def kind(self) -> str:
        """Its dtype as NumPy names it."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def numbers(self) -> np.ndarray:
        """The numbers before the first step, (1, ...)."""
        return self.initial.numpy()


class Layout:
    """Which tensors the state of a layer is made of.

    Args:
        layer: whose state it is.

    Attributes:
        leaves: those that a graph has.
    """

    def __init__(self, layer: Recurrent) -> None:
        state = states.detach(layer.initial_state(1))
        parts, self._tree = pytree.tree_flatten(state, is_leaf=_is_noise)
        self._is_noise = [_is_noise(part) for part in parts]
        names = iter(states.names(state))
        self.leaves: list[Leaf] = []
        for part in parts:
            if _is_noise(part):
                del part
                next(names), next(names)
            else:
                name = next(names)
                shape = tuple(part.shape[1:])
                self.leaves.append(Leaf(name, _place(name), shape, part.dtype, part))

    def build(self, tensors: Sequence[Tensor], lanes: int) -> State:
        """Return the state of so many lanes that has these leaves (B, ...)."""
        given = iter(tensors)
        parts = [
            initial_noise(lanes, None, fresh=False) if noise else next(given)
            for noise in self._is_noise
        ]
        return pytree.tree_unflatten(parts, self._tree)

    def take(self, state: State) -> list[Tensor]:
        """Return the leaves of a state that a graph has."""
        parts = pytree.tree_flatten(state, is_leaf=_is_noise)[0]
        return [part for part in parts if not _is_noise(part)]

    def example(self, lanes: int) -> list[Tensor]:
        """Return leaves of numbers for so many lanes."""
        return [leaf.initial.repeat(lanes, *[1] * len(leaf.shape)) for leaf in self.leaves]


def _is_noise(part: object) -> bool:
    return isinstance(part, Noise)


def _place(name: str) -> str:
    """Return layer and kind of a leaf: `0_h` of `h` and of `0.layer.h`, `1_state` of `1`."""
    words = [word for word in name.split(".") if word not in ("layer", "layers")]
    if not re.fullmatch(r"\d+", words[0]):
        words.insert(0, "0")
    if re.fullmatch(r"\d+", words[-1]):
        words.append("state")
    return "_".join(words)
