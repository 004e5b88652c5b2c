"""The states of many sessions of one model in one block of memory, and their steps.

A session has a slot, the same row of every array. A step takes any slots and gives each what it
would get alone, bit for bit: the native kernels compute every lane in one order, and where they
don't serve a model the reference steps as many lanes as always (see `together`). Which session has
which slot is in `directory`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree

from throughtime import state as states
from throughtime.errors import OptionError, ThroughtimeError
from throughtime.kernels import native, threads_for
from throughtime.kernels.stepper import LinearMap, NativeStepper
from throughtime.kernels.wish import wish
from throughtime.layers import Stack
from throughtime.layers.noise import Noise, advance, restart
from throughtime.model import SequenceModel
from throughtime.recurrent import Recurrent
from throughtime.stream.together import lanes_together

STATE = "state."
"""What the names of a state's arrays begin with, before the leaf's own name."""

TOGETHER = 512
"""Sessions stepped at once, so that what lies between two layers stays in the cache."""


class Slab:
    """States of a model in slots, stepped by its own `step`.

    The native one, where `slab_for` finds that it serves, is a faster way to do the same.

    Args:
        model: in evaluation mode, on the CPU. Its weights are taken to stay as they are.
        slots: how many there are.
        beside: what else a session remembers: by name, what it is at the beginning (...).

    Attributes:
        leaves: every array (slots, ...) by name, those of the state as `state.NAME`.

    Raises:
        OptionError: slots is below 1, or the model is not in float32 on the CPU.
        ThroughtimeError: there is not enough memory.
    """

    def __init__(
        self, model: SequenceModel, slots: int, beside: Mapping[str, np.ndarray] | None = None
    ) -> None:
        if slots < 1:
            raise OptionError(f"expected slots of 1 or more for sessions, got {slots}")
        against = native.reason_against_numbers([model.head.weight])
        if against is not None:
            raise OptionError(f"expected a model in float32 on the CPU for sessions: {against}")
        with torch.no_grad():
            initial = model.initial_state(1)
        self.model = model
        self.slots = slots
        self._structure = pytree.tree_structure(initial)
        names = [STATE + name for name in states.names(initial)]
        firsts = [leaf[0].numpy().copy() for leaf in states.leaves(initial)]
        self._count = len(names)
        self._first = dict(zip(names, firsts, strict=True)) | dict(beside or {})
        self.leaves: dict[str, np.ndarray] = {}
        try:
            held = self._arrays()
            for place, (name, first) in enumerate(self._first.items()):
                shape = (slots, *first.shape)
                self.leaves[name] = (
                    held[place] if place < len(held) else np.empty(shape, first.dtype)
                )
        except (MemoryError, ValueError, RuntimeError) as error:  # The last one is torch's.
            raise ThroughtimeError(
                f"expected free memory for {slots:,} slots, got less; use fewer"
            ) from error

    def begin(self, slots: np.ndarray) -> None:
        """Put slots (n,) int64 where a session begins."""
        for name, first in self._first.items():
            self.leaves[name][slots] = first

    def copy(self, source: int, target: int) -> None:
        """Let a slot be as another one is."""
        for leaf in self.leaves.values():
            leaf[target] = leaf[source]

    def step(
        self, slots: np.ndarray, inputs: np.ndarray, resets: np.ndarray | None = None
    ) -> np.ndarray:
        """Step some slots.

        Args:
            slots: (n,) int64, none twice.
            inputs: (n, F) float32, or (n,) int64 symbols of the vocabulary.
            resets: (n,) bool: rows whose state restarts before the step.

        Returns:
            Outputs (n, O).
        """
        if 0 < len(slots) <= TOGETHER:
            return self._step(slots, inputs, resets)
        outputs = np.empty((len(slots), self.model.config.outputs), dtype=np.float32)
        for begin in range(0, len(slots), TOGETHER):
            part = slice(begin, begin + TOGETHER)
            some = None if resets is None else resets[part]
            outputs[part] = self._step(slots[part], inputs[part], some)
        return outputs

    def _arrays(self) -> list[np.ndarray]:
        """Return arrays of the first leaves that are there already."""
        return []

    @cached_property
    def _lanes(self) -> int:
        """How many lanes each call of the model's `step` has, however many sessions there are."""
        return lanes_together(self.model)

    @torch.inference_mode()
    def _step(self, slots: np.ndarray, inputs: np.ndarray, resets: np.ndarray | None) -> np.ndarray:
        outputs = np.empty((len(slots), self.model.config.outputs), dtype=np.float32)
        with threads_for(self.model.parameter_count()):
            for begin in range(0, len(slots), self._lanes):
                part = slice(begin, begin + self._lanes)
                some = None if resets is None else resets[part]
                outputs[part] = self._step_lanes(slots[part], inputs[part], some)
        return outputs

    def _step_lanes(
        self, slots: np.ndarray, inputs: np.ndarray, resets: np.ndarray | None
    ) -> np.ndarray:
        """Step at most so many slots; the first one is there again in the lanes that are left."""
        count = len(slots)
        places = torch.arange(self._lanes)
        places[count:] = 0
        lanes = torch.from_numpy(slots)[places]
        leaves = [torch.from_numpy(leaf) for leaf in list(self.leaves.values())[: self._count]]
        state = pytree.tree_unflatten([leaf[lanes] for leaf in leaves], self._structure)
        reset = None if resets is None else torch.from_numpy(resets)[places]
        output, after = self.model.step(torch.from_numpy(inputs)[places], state, reset=reset)
        for leaf, new in zip(leaves, states.leaves(after), strict=True):
            leaf[lanes[:count]] = new[:count]
        found: np.ndarray = output[:count].numpy()
        return found


class NativeSlab(Slab):
    """States of classic cells in the memory of native steppers, which step them in place."""

    def __init__(
        self, model: SequenceModel, slots: int, beside: Mapping[str, np.ndarray] | None = None
    ) -> None:
        super().__init__(model, slots, beside)
        # After the states of the cells come those of dropout, a seed and a step each.
        own = sum(len(states.leaves(stepper.memory)) for stepper in self._steppers)
        rest = list(self.leaves.values())[own : self._count]
        self._noises = list(zip(rest[::2], rest[1::2], strict=True))

    def _arrays(self) -> list[np.ndarray]:
        self._steppers = [NativeStepper(layer, self.slots) for layer in _cells(self.model)]
        self._head = LinearMap(self.model.head)
        embedding = self.model.embedding
        self._embedding = None if embedding is None else embedding.weight.detach().numpy()
        return [
            leaf.numpy() for stepper in self._steppers for leaf in states.leaves(stepper.memory)
        ]

    def _step(self, slots: np.ndarray, inputs: np.ndarray, resets: np.ndarray | None) -> np.ndarray:
        x = inputs if self._embedding is None else self._embedding[inputs]
        for stepper in self._steppers:
            x = stepper.step(x, lanes=slots, resets=resets)
        for seed, step in self._noises:
            _count_step(seed, step, slots, resets)
        return self._head.apply(x)


def slab_for(
    model: SequenceModel, slots: int, beside: Mapping[str, np.ndarray] | None = None
) -> Slab:
    """Make the fastest slab that serves a model; arguments as those of `Slab`."""
    serves = wish() in (None, "native") and _are_native(model)
    return (NativeSlab if serves else Slab)(model, slots, beside)


def _count_step(
    seed: np.ndarray, step: np.ndarray, slots: np.ndarray, resets: np.ndarray | None
) -> None:
    """Move on what the masks of a dropout follow from; in evaluation nothing is dropped."""
    noise = Noise(torch.from_numpy(seed[slots]), torch.from_numpy(step[slots]))
    if resets is not None:
        noise = states.where(torch.from_numpy(resets), restart(noise), noise)
    noise = advance(noise)
    seed[slots], step[slots] = noise.seed.numpy(), noise.step.numpy()


def _cells(model: SequenceModel) -> list[Recurrent]:
    layers: Recurrent = model.layers
    return layers._each() if type(layers) is Stack else [layers]


def _are_native(model: SequenceModel) -> bool:
    """Tell whether a model is an embedding, compiled cells on top of each other and a head."""
    layers: Any = model.layers
    if type(layers) is Stack and (layers.residual or len(layers.norms)):
        return False
    weights = [model.head.weight]
    if model.embedding is not None:
        weights.append(model.embedding.weight)
    return native.reason_against_numbers(weights) is None and all(
        native.reason_against(layer) is None for layer in _cells(model)
    )
