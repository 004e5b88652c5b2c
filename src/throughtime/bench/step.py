"""Part `step`: one step of one lane, as a program that answers what arrives would call it."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.bench import onnx_peer
from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.measure import (
    Effort,
    Unavailable,
    Way,
    agree,
    drawn,
    interleave,
    percentile_99,
)
from throughtime.bench.pairs import FLOAT32, PEERS, pair
from throughtime.recurrent import Recurrent

FEATURES, UNITS = 8, 32
BLOCK = 100
"""Steps before it is another way's turn: in use, too, many steps follow one another."""
AGREE_FOR = 50
"""Steps over which all ways must give the same."""
STEP, STEPPER, RUNTIME = "layer.step", "stepper.step", "onnxruntime"
STEP_AT_MOST, STEPPER_AT_MOST, STEPPER_OVER_RUNTIME = 20.0, 8.0, 3.0
"""Microseconds, microseconds, times faster."""

Stepping = Callable[[Any], Any]
"""x (1, F) to y (1, H); the state is inside."""


def cases(*, quick: bool) -> list[Case]:
    """Return the step of each layer; it is quick."""
    return [_case(name) for name in ("gru", "lstm")]


def _case(name: str) -> Case:
    whole, cell = f"{PEERS[name]} T=1", f"{PEERS[name]}Cell"
    stepper = Bar("ours", "at most", STEPPER_AT_MOST)
    planned: tuple[tuple[str, str, tuple[Bar, ...]], ...] = (
        (STEP, whole, (Bar("ours", "at most", STEP_AT_MOST),)),
        (STEP, cell, ()),
        (STEPPER, whole, (stepper,)),
        (STEPPER, RUNTIME, (Bar("ratio", "at least", STEPPER_OVER_RUNTIME),)),
    )
    plan = tuple(
        Figure(
            part="step",
            layer=name,
            case=way,
            peer=peer,
            unit="us",
            asked=asked,
            size=(1, FEATURES, UNITS),
        )
        for way, peer, asked in planned
    )
    return Case(plan, partial(_measure, whole=whole, cell=cell), 6.0)


def _measure(plan: Plan, effort: Effort, *, whole: str, cell: str) -> list[Figure]:
    name = plan[0].layer
    layer, module = pair(name, FEATURES, UNITS)
    steppings: dict[str, Stepping] = {
        STEP: _own_step(layer),
        STEPPER: layer.stepper(1).step,
        whole: _whole(module),
        cell: _cell(module),
    }
    without_runtime = ""
    try:
        steppings[RUNTIME] = onnx_peer.stepper(name, module)
    except Unavailable as error:
        without_runtime = str(error)
    takes_arrays = (STEPPER, RUNTIME)
    rows = list(torch.split(drawn(BLOCK, FEATURES, seed=1), 1))
    arrays = [row.numpy() for row in rows]
    with torch.no_grad():
        outputs = {
            way: _outputs(stepping, arrays if way in takes_arrays else rows)
            for way, stepping in steppings.items()
        }
        times = interleave(
            {
                way: Way(_in_turn(stepping, arrays if way in takes_arrays else rows))
                for way, stepping in steppings.items()
            },
            effort._replace(rounds=(effort.steps // BLOCK,) * 2),
            block=BLOCK,
        )
    taken = {way: 1e6 * statistics.median(seconds) for way, seconds in times.items()}
    slow = {way: 1e6 * percentile_99(seconds) for way, seconds in times.items()}
    found = []
    for figure in plan:
        ours, peer = figure.case, figure.peer
        if peer not in steppings:
            there = figure.measured(taken[ours], None, more={"p99": slow[ours]})
            found.append(there.without(without_runtime))
            continue
        apart = agree({"output": outputs[ours]}, {"output": outputs[peer]}, FLOAT32)
        more = {"p99": slow[ours], "p99_of_peer": slow[peer]}
        found.append(figure.measured(taken[ours], taken[peer], difference=apart, more=more))
    return found


def _own_step(layer: Recurrent) -> Stepping:
    state = layer.initial_state(1)

    def step(x: Tensor) -> Tensor:
        nonlocal state
        y, state = layer.step(x, state)
        return y

    return step


def _whole(module: nn.RNNBase) -> Stepping:
    state: Any = None

    def step(x: Tensor) -> Tensor:
        nonlocal state
        y, state = module(x[:, None], state)
        out: Tensor = y[:, 0]
        return out

    return step


def _cell(module: nn.RNNBase) -> Stepping:
    gated = isinstance(module, nn.LSTM)
    cell: Any = (nn.LSTMCell if gated else nn.GRUCell)(module.input_size, module.hidden_size)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in module.state_dict().items()}
    )
    state: Any = None

    def step(x: Tensor) -> Tensor:
        nonlocal state
        state = cell(x, state)
        out: Tensor = state[0] if gated else state
        return out

    return step


def _outputs(stepping: Stepping, rows: Sequence[Any]) -> Tensor:
    """Return the outputs (steps, H) of the first steps; a buffer may be used again, so copies."""
    return torch.cat([torch.as_tensor(stepping(row)).clone() for row in rows[:AGREE_FOR]])


def _in_turn(stepping: Stepping, rows: Sequence[Any]) -> Callable[[], object]:
    """Return a call that steps on the next row, over and over."""
    place = 0

    def call() -> object:
        nonlocal place
        place = (place + 1) % len(rows)
        return stepping(rows[place])

    return call
