"""Laws 1, 2, 5 and 7: step is the specification, chunking, lanes, causality."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.errors import LawBrokenError, ThroughtimeError
from throughtime.state import State
from throughtime.testing.cases import some_times
from throughtime.testing.runs import Run, Runner, axes_of, widened
from throughtime.testing.specification import cut, fold, oracle, ways, whole

SPECIFICATION = "forward must compute what step computes, step by step"
FAST = f"{SPECIFICATION}, whether or not gradients are wanted"
UNBROKEN = f"{SPECIFICATION}, with its graph: no detach, no .data, no rewriting of gradients"
CARRY = "forward must go on from the state it is given, and return the state after its last step"
CUT = "a state must be carried with its graph; detach is the caller's choice"
_MANY, _FEW = 131, 19
MIXED = "compute each lane from itself alone; no sum, mean or flag over axis 0"


def check_step(run: Runner, lanes: int, steps: int) -> None:
    """Laws 1 and 2: the whole equals the fold of steps, and equals its chunks.

    What only fails from a carried state counts as chunking; what fails from the initial state, or
    in a gradient that reaches back to the given state, counts as step.
    """
    x, state = run.sequences(lanes, steps), run.reached(lanes)
    torch.manual_seed(0)
    got = run.measure(1, whole, x, None, gradients_of="outputs")
    torch.manual_seed(0)
    wanted = run.measure(1, fold, x, None, gradients_of="outputs")
    when = "of forward, held against the fold of step,"
    run.same(1, got, wanted, when, SPECIFICATION, gradient_mend=UNBROKEN)

    for begin in (run.initial(lanes), state):
        wanted = run.measure(2, whole, x, begin, gradients_of="nothing")
        for cuts in _cuts(steps):
            got = run.measure(2, cut(cuts), x, begin, gradients_of="nothing")
            run.same(2, got, wanted, _when_cut(cuts), CARRY)

    got = run.measure(1, whole, x, state, gradients_of="outputs")
    wanted = run.measure(1, fold, x, state, gradients_of="outputs")
    when = "of forward from a given state, held against the fold of step,"
    run.same(1, got, wanted, when, SPECIFICATION, gradient_mend=UNBROKEN)

    wanted = run.measure(1, fold, x, state)
    for cuts in _cuts(steps):
        got = run.measure(2, cut(cuts), x, state)
        run.same(2, got, wanted, _when_cut(cuts), CARRY, gradient_mend=CUT)
    run.same(1, run.measure(1, whole, x, state), wanted, when, SPECIFICATION)
    for name, way in ways(run):
        got = run.measure(1, way, x, state, gradients_of="nothing")
        run.same(
            1, got, wanted, f"of {name} under no_grad, held against step with gradients,", FAST
        )


def check_long(run: Runner, lengths: Tensor, resets: Tensor) -> None:
    """Laws 1, 3 and 4 over more steps than kernels take in one block."""
    if run.layer.streamable:
        _check_long(run, 1, resets.shape, None, None)
    try:
        _check_long(run, 4, resets.shape, lengths, resets)
    except LawBrokenError:
        # What lengths alone break is a matter of holding.
        _check_long(run, 3, resets.shape, lengths, None)
        raise


def _check_long(
    run: Runner, law: int, sizes: torch.Size, lengths: Tensor | None, resets: Tensor | None
) -> None:
    """Hold `forward` against the specification.

    A layer may be chaotic and let rounding grow over so many steps; what a change of the input by
    rounding does to the specification is therefore allowed.
    """
    x, state = run.sequences(*sizes), run.reached(sizes[0])
    right = partial(run.measure, law, oracle(run), state=state, lengths=lengths, resets=resets)
    wanted, got = right(x), run.measure(law, whole, x, state, lengths, resets)
    nearby = x * (1 + 4 * torch.finfo(x.dtype).eps)
    limit = widened(run.tolerance, got, wanted, partial(right, nearby))
    when = f"of forward over {sizes[1]} steps, held against the specification,"
    mend = f"{SPECIFICATION}, however many steps there are: look at the seams of blocks"
    run.same(law, got, wanted, when, mend, tolerance=limit)


def check_cuts(run: Runner, x: Tensor, state: State, lengths: Tensor, resets: Tensor) -> None:
    """Law 2 once more, where lanes end and restart between the cuts."""
    wanted = run.measure(2, whole, x, state, lengths, resets)
    for cuts in [(at,) for at in some_times(x.shape[1])]:
        got = run.measure(2, cut(cuts), x, state, lengths, resets)
        when = f"with lengths and resets, {_when_cut(cuts)}"
        run.same(2, got, wanted, when, CARRY, gradient_mend=CUT)


def check_not_streamable(run: Runner, lanes: int, steps: int) -> None:
    """A layer that needs the future says so instead of computing something else."""
    x, state = run.sequences(lanes, steps), run.initial(lanes)
    mend = "it needs the future, so that only whole sequences make sense"
    finding = f"of a layer with streamable=False must raise NotStreamableError; {mend}"
    run.ledger.require(1, _refuses(lambda: run.layer.step(x[:, 0], state)), f"step {finding}")
    if any(leaf.is_floating_point() and leaf.numel() for leaf in states.leaves(state)):
        carried = states.tree_map(lambda t: t + 1 if t.is_floating_point() else t, state)
        finding = f"of a layer with streamable=False must refuse a carried state; {mend}"
        run.ledger.require(2, _refuses(lambda: run.layer(x, carried)), f"forward {finding}")


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except ThroughtimeError:
        return True
    return False


def check_lanes(
    run: Runner,
    x: Tensor,
    state: State,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> None:
    """Law 5: permuted, alone, and beside garbage, a lane's results stay its own."""
    lanes = x.shape[0]
    among = run.measure(5, whole, x, state, lengths, resets)
    given = "" if lengths is None else " with lengths and resets"
    order = torch.randperm(lanes, generator=run.generator).to(x.device)
    if lanes > 1 and torch.equal(order, torch.arange(lanes, device=x.device)):
        order = order.flip(0)
    for index, how in [
        (order, "of permuted lanes"),
        *(
            (torch.tensor([lane], device=x.device), f"of lane {lane} alone")
            for lane in range(lanes)
        ),
    ]:
        part = run.measure(5, whole, *_lanes_of(index, x, state, lengths, resets))
        run.ledger.close(
            5,
            f"the output {how}{given} {run.mode}",
            part.y,
            among.y[index],
            run.tolerance.values,
            MIXED,
            axes=("lane", "step"),
        )
        subject = f"the final state {how}{given} {run.mode}"
        wanted = states.take(among.end, index)
        run.same_state(5, part.end, wanted, subject, MIXED, run.tolerance.values)
        for name, gradient in part.gradients.items():
            if axes_of(name):
                run.ledger.close(
                    5,
                    f"the gradient of {name} {how}{given} {run.mode}",
                    gradient,
                    among.gradients[name][index],
                    run.tolerance.gradients,
                    MIXED,
                    axes=axes_of(name),
                    gradient=True,
                )
    _beside_garbage(run, x, state, lengths, resets)


def check_lanes_of_step(run: Runner, lanes: int) -> None:
    """Law 5 for `step`."""
    x, state = run.draw(lanes, run.layer.input_size), run.reached(lanes)
    with torch.no_grad():
        y, after = run.step(5, x, state)
        for lane in range(lanes):
            index = torch.tensor([lane], device=x.device)
            alone, end = run.step(5, x[index], states.take(state, index))
            subject, limit = f"of step with lane {lane} alone {run.mode}", run.tolerance.values
            run.ledger.close(5, f"the output {subject}", alone, y[index], limit, MIXED)
            wanted = states.take(after, index)
            run.same_state(5, end, wanted, f"the state {subject}", MIXED, limit)


def check_many_lanes(run: Runner) -> None:
    """Law 5 for more lanes than kernels take in one block, each with what it gives among few."""
    x, state = run.sequences(_MANY, 2), run.reached(_MANY, steps=1)
    among = run.measure(5, whole, x, state, gradients_of="nothing")
    for first in range(0, _MANY, _FEW):
        index = torch.arange(first, min(first + _FEW, _MANY), device=x.device)
        own = states.take(state, index)
        alone = run.measure(5, whole, x[index], own, gradients_of="nothing")
        wanted = Run(among.y[index], states.take(among.end, index), {})
        when = f"of lanes {first} to {int(index[-1])} without the others of {_MANY}"
        run.same(5, alone, wanted, when, MIXED)


def check_causality(run: Runner, lanes: int, steps: int) -> None:
    """Law 7: later inputs change no output, by perturbation and by gradient."""
    x, state = run.sequences(lanes, steps).requires_grad_(), run.reached(lanes)
    y, _ = run.forward(7, x, state)
    mend = "an output must depend on its own and earlier steps only; look for flips, shifts, "
    mend += "normalisation over time and paddings of a convolution"
    for t in range(steps - 1):
        later = torch.cat([x[:, : t + 1], run.sequences(lanes, steps - t - 1)], dim=1)
        changed, _ = run.forward(7, later, state)
        run.ledger.close(
            7,
            f"the output up to step {t}, with other inputs after it, {run.mode}",
            changed[:, : t + 1],
            y[:, : t + 1],
            run.tolerance.values,
            mend,
            axes=("lane", "step"),
        )
        total = run.weighted(y[:, t : t + 1], first_step=t)
        gradient = run.gradients(7, total, {"x": x}, keep=True)["x"][:, t + 1 :]
        run.ledger.close(
            7,
            f"the gradient of the output of step {t} with respect to later inputs {run.mode}",
            gradient,
            torch.zeros_like(gradient),
            run.tolerance.gradients,
            mend,
            axes=("lane", f"step {t + 1} +"),
            gradient=True,
        )


def _beside_garbage(
    run: Runner, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> None:
    """Results, and gradients of the inputs, do not notice lanes of NaN and of huge numbers."""
    lanes, steps = x.shape[:2]
    wanted, end = run.forward(5, x, state, lengths, resets)
    first = torch.zeros(1, dtype=torch.int64, device=x.device)
    for fill, name in ((1e30, "1e30"), (torch.nan, "NaN")):
        for front in (True, False):
            index = torch.cat([first, torch.arange(lanes, device=x.device)])
            own = slice(1, None)
            if not front:
                index, own = torch.cat([index[1:], first]), slice(0, lanes)
            garbage = torch.ones(lanes + 1, dtype=torch.bool, device=x.device)
            garbage[own] = False
            more, beside, ends, flags = _lanes_of(index, x, state, lengths, resets)
            more = more.masked_fill(garbage[:, None, None], fill).requires_grad_()
            if run.layer.streamable:
                beside = states.tree_map(
                    lambda t, garbage=garbage, fill=fill: _filled(t, garbage, fill), beside
                )
            if ends is not None:
                ends = ends.masked_fill(garbage, steps)
            if flags is not None:
                flags = flags & ~garbage[:, None]
            y, after = run.forward_garbage(5, more, beside, ends, flags)
            subject = f"with a lane of {name} beside it {run.mode}"
            limit = run.tolerance.values
            run.ledger.close(
                5, f"the output {subject}", y[own], wanted, limit, MIXED, axes=("lane", "step")
            )
            after = states.tree_map(lambda leaf, own=own: leaf[own], after)
            run.same_state(5, after, end, f"the final state {subject}", MIXED, limit)


def _lanes_of(
    index: Tensor, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State, Tensor | None, Tensor | None]:
    return (
        x[index],
        states.take(state, index),
        None if lengths is None else lengths[index],
        None if resets is None else resets[index],
    )


def _filled(leaf: Tensor, lanes: Tensor, fill: float) -> Tensor:
    if not leaf.is_floating_point():
        return leaf
    return leaf.masked_fill(lanes.reshape(-1, *[1] * (leaf.dim() - 1)), fill)


def _cuts(steps: int) -> list[tuple[int, ...]]:
    """Return every single cut, the empty chunks at both ends included, and one of many."""
    return [*((cut,) for cut in range(steps + 1)), (1, 1, steps // 2, steps - 1)]


def _when_cut(cuts: tuple[int, ...]) -> str:
    return f"of forward, cut at {' and '.join(map(str, cuts))} with the state carried over,"
