"""The stretch of data that a report shows, and what each layer held at each of its steps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.inspect.leaves import float_leaves, is_float
from throughtime.inspect.replay import taps
from throughtime.inspect.watch import Call, watched
from throughtime.layers.regularised import Regularised
from throughtime.model import NoisyState, SequenceModel
from throughtime.state import State

GATES = ("i", "f", "o", "r", "z", "a")
"""Of what `replay` returns, what lets something pass."""


class NotMeasured(NamedTuple):
    """Why a section of a report is missing.

    Attributes:
        why: one line.
    """

    why: str


class Units(NamedTuple):
    """What a layer held after each step of the stretch.

    Attributes:
        layer: its number from the input up and its kind, such as "1 GRU".
        what: the name of the leaf of the state, or "output" where the state is not one number a
            unit.
        values: (T, U).
        offset: where the units begin in the numbers of the layers' whole state, counted from the
            end; None for outputs.
    """

    layer: str
    what: str
    values: Tensor
    offset: int | None


class LayerGates(NamedTuple):
    """The gates of a layer at each step of the stretch.

    Attributes:
        layer: as in `Units`.
        values: (T, H) in [0, 1] by the gate's name; none where the layer has no such gates.
        why: why there are none.
    """

    layer: str
    values: dict[str, Tensor]
    why: str


class Reading(NamedTuple):
    """A model's run over a stretch, its state carried on from the beginning of the sequence.

    Attributes:
        outputs: (T + 1, O), from the step before the stretch on.
        units: of each layer, from the input up.
        gates: of each layer, from the input up.
    """

    outputs: Tensor
    units: tuple[Units, ...]
    gates: tuple[LayerGates, ...]


@torch.no_grad()
def read_stretch(
    model: SequenceModel, inputs: Tensor, start: int, *, resets: Tensor | None = None
) -> Reading:
    """Run a model from the beginning of a sequence, and note what happens from `start` on.

    Args:
        model: in evaluation mode.
        inputs: (L, F) or (L,) int64; what follows step `start` is the stretch.
        start: 1 or more.
        resets: (L,) bool or None.
    """
    before, state = _run(model, inputs, resets, 0, start, None)
    with watched(model.layers) as calls:
        outputs, _ = _run(model, inputs, resets, start, len(inputs), state)
    layers = [(_label(number, call), call) for number, call in enumerate(_first(calls), 1)]
    after = 0
    units: list[Units] = []
    gates: list[LayerGates] = []
    for label, call in reversed(layers):
        after += sum(leaf[0].numel() for leaf in float_leaves(call.state).values())
        seen = taps(call) if _is_a_number_a_unit(call.state) else {}
        units.append(_units(label, call, seen, after))
        gates.append(_gates(label, seen))
    return Reading(
        torch.cat([before[0, -1:], outputs[0]]), tuple(reversed(units)), tuple(reversed(gates))
    )


@torch.no_grad()
def states_at(
    model: SequenceModel, inputs: Tensor, places: Sequence[int], *, resets: Tensor | None = None
) -> State:
    """Return the layers' states before some steps of one sequence, a lane for each.

    Args:
        model: in evaluation mode.
        inputs: (L, F) or (L,) int64.
        places: steps, in rising order.
        resets: (L,) bool or None.
    """
    state = model.initial_state(1)
    at, found = 0, []
    for place in places:
        if place > at:
            _, state = _run(model, inputs, resets, at, place, state)
            at = place
        found.append(state.layers if isinstance(state, NoisyState) else state)
    return states.cat(found)


def _run(
    model: SequenceModel,
    inputs: Tensor,
    resets: Tensor | None,
    first: int,
    last: int,
    state: State | None,
) -> tuple[Tensor, State]:
    fresh = None if resets is None else resets[None, first:last]
    result: tuple[Tensor, State] = model(inputs[None, first:last], state, resets=fresh)
    return result


def _first(calls: dict[str, list[Call]]) -> list[Call]:
    return [of_layer[0] for of_layer in calls.values()]


def _label(number: int, call: Call) -> str:
    layer = call.layer.layer if isinstance(call.layer, Regularised) else call.layer
    return f"{number} {type(layer).__name__}"


def _is_a_number_a_unit(state: State) -> bool:
    """Return whether all of a state are vectors: not a matrix, not a window of past inputs."""
    return all(leaf.dim() == 2 for leaf in states.leaves(state) if is_float(leaf))


def _units(label: str, call: Call, seen: dict[str, Tensor], after: int) -> Units:
    leaves = [name for name, _ in _named(call.state)]
    held = [name for name in leaves if name in seen]
    if not held:
        return Units(label, "output", call.y[0].float(), None)
    # Of an LSTM it is the cell that remembers.
    name = next((each for each in held if each.split(".")[-1] == "c"), held[0])
    before = sum(size for _, size in _named(call.state)[: leaves.index(name)])
    return Units(label, name, seen[name][0].float(), after - before)


def _named(state: State) -> list[tuple[str, int]]:
    """Return the leaves of a state as `taps` names them, and how many numbers each has."""
    return [(name or "state", leaf[0].numel()) for name, leaf in float_leaves(state).items()]


def _gates(label: str, seen: dict[str, Tensor]) -> LayerGates:
    named = {name: seen[name][0] for name in GATES if name in seen}
    if any(values.is_complex() for values in named.values()):
        return LayerGates(label, {}, "its coefficients are complex: they turn, and shut nothing")
    # The same letter may stand for something else, as z does in an sLSTM.
    found = {
        name: values.float()
        for name, values in named.items()
        if not bool((values < 0).any() or (values > 1).any())
    }
    return LayerGates(label, found, "" if found else "it has no gates that take values from 0 to 1")
