"""Laws 1, 2, 5 and 7: step is the specification, chunking, lanes, causality."""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.errors import NotStreamableError, StateError
from throughtime.state import State
from throughtime.testing.runs import Runner, axes_of

SPECIFICATION = "forward must compute what step computes, step by step"
CARRY = "forward must go on from the state it is given, and return the state after its last step"
CUT = "a state must be carried with its graph; detach is the caller's choice"
MIXED = "compute each lane from itself alone; no sum, mean or flag over axis 0"


def check_step(run: Runner, lanes: int, steps: int) -> None:
    """Laws 1 and 2: the whole equals the fold of steps, and equals its chunks.

    What only fails from a carried state counts as chunking; what fails from the initial state, or
    in a gradient that reaches back to the given state, counts as step.
    """
    x, state = run.sequences(lanes, steps), run.reached(lanes)
    torch.manual_seed(0)
    whole = run.measure(1, "forward", x, None, through_end=False)
    torch.manual_seed(0)
    fold = run.measure(1, "fold", x, None, through_end=False)
    when = "of forward, held against the fold of step,"
    broken = "a graph is cut on the way: no detach, no .data, no rewriting of gradients"
    run.same(1, whole, fold, when, SPECIFICATION, gradient_mend=f"{SPECIFICATION}; {broken}")

    for begin in (run.initial(lanes), state):
        whole = run.measure(2, "forward", x, begin, through_end=False)
        for cuts in _cuts(steps):
            chunks = run.measure(2, "forward", x, begin, cuts=cuts, through_end=False)
            run.same(2, chunks, whole, _when_cut(cuts), CARRY, gradients=False)

    fold = run.measure(1, "fold", x, state, through_end=False)
    when = "of forward from a given state, held against the fold of step,"
    run.same(1, whole, fold, when, SPECIFICATION, gradient_mend=f"{SPECIFICATION}; {broken}")

    fold = run.measure(1, "fold", x, state)
    for cuts in _cuts(steps):
        chunks = run.measure(2, "forward", x, state, cuts=cuts)
        run.same(2, chunks, fold, _when_cut(cuts), CARRY, gradient_mend=CUT)
    run.same(1, run.measure(1, "forward", x, state), fold, when, SPECIFICATION)


def check_cuts(run: Runner, x: Tensor, state: State, lengths: Tensor, resets: Tensor) -> None:
    """Law 2 once more, where lanes end and restart between the cuts."""
    whole = run.measure(2, "forward", x, state, lengths, resets)
    for cuts in _cuts(x.shape[1]):
        chunks = run.measure(2, "forward", x, state, lengths, resets, cuts=cuts)
        when = f"with lengths and resets, {_when_cut(cuts)}"
        run.same(2, chunks, whole, when, CARRY, gradient_mend=CUT)


def check_not_streamable(run: Runner, lanes: int, steps: int) -> None:
    """A layer that needs the future says so instead of computing something else."""
    x, state = run.sequences(lanes, steps), run.initial(lanes)
    mend = "it needs the future, so that only whole sequences make sense"
    try:
        run.layer.step(x[:, 0], state)
    except NotStreamableError:
        refused = True
    else:
        refused = False
    run.ledger.require(
        1, refused, f"step of a layer with streamable=False must raise NotStreamableError; {mend}"
    )
    if not any(leaf.is_floating_point() for leaf in states.leaves(state)):
        return
    carried = states.tree_map(lambda t: t + 1 if t.is_floating_point() else t, state)
    try:
        run.layer(x, carried)
    except StateError:
        refused = True
    else:
        refused = False
    run.ledger.require(
        2, refused, f"forward with streamable=False must refuse a carried state (StateError); {mend}"
    )


def check_lanes(
    run: Runner,
    x: Tensor,
    state: State,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> None:
    """Law 5: permuted, alone, and beside garbage, a lane's results stay its own."""
    lanes = x.shape[0]
    whole = run.measure(5, "forward", x, state, lengths, resets)
    given = "" if lengths is None else " with lengths and resets"
    order = torch.randperm(lanes, generator=run.generator).to(x.device)
    if lanes > 1 and torch.equal(order, torch.arange(lanes, device=x.device)):
        order = order.flip(0)
    for index, how in [
        (order, "of permuted lanes"),
        *((torch.tensor([lane], device=x.device), f"of lane {lane} alone") for lane in range(lanes)),
    ]:
        part = run.measure(5, "forward", *_lanes_of(index, x, state, lengths, resets))
        run.ledger.close(
            5,
            f"the output {how}{given} {run.mode}",
            part.y,
            whole.y[index],
            run.tolerance.values,
            MIXED,
            axes=("lane", "step"),
        )
        subject = f"the final state {how}{given} {run.mode}"
        wanted = states.take(whole.end, index)
        run.same_state(5, part.end, wanted, subject, MIXED, run.tolerance.values)
        for name, gradient in part.gradients.items():
            if axes_of(name):
                run.ledger.close(
                    5,
                    f"the gradient of {name} {how}{given} {run.mode}",
                    gradient,
                    whole.gradients[name][index],
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


def check_causality(run: Runner, lanes: int, steps: int) -> None:
    """Law 7: later inputs change no output, by perturbation and by gradient."""
    x, state = run.sequences(lanes, steps).requires_grad_(), run.reached(lanes)
    y, _ = run.forward(7, x, state)
    mend = "an output must depend on its own and earlier steps only; look for flips, shifts, "
    mend += "normalisation over time and paddings of a convolution"
    for t in range(steps - 1):
        with torch.no_grad():
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
            y, after = run.forward(5, more, beside, ends, flags)
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
