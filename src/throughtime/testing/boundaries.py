"""Laws 3 and 4: where a lane ends, and where it starts afresh."""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.state import State
from throughtime.testing.cases import some_times
from throughtime.testing.runs import Run, Runner
from throughtime.testing.specification import oracle, whole

MASK = "mask the input before anything is computed from it"
HOLD = "from its length on a lane's state stays as it is and its output is zero"
AFRESH = "a reset replaces the whole state before the step by restart(state), as torch.where does"
BEYOND = "drop resets where t >= lengths before using them"
TO_INITIAL = "a reset goes to initial_state, which may be learned, not to zeros"


def check_padding(run: Runner, x: Tensor, state: State, lengths: Tensor) -> None:
    """Law 3: what stands in the padding does not matter, and nothing comes out of it."""
    padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
    clean = run.measure(3, whole, x.masked_fill(padding[:, :, None], 0), state, lengths)
    for fill, name in ((None, "numbers"), (1e30, "1e30"), (torch.nan, "NaN")):
        filled = x if fill is None else x.masked_fill(padding[:, :, None], fill)
        got = run.measure(3, whole, filled, state, lengths)
        when = f"of forward with {name} in the padding instead of zeros,"
        run.same(3, got, clean, when, MASK)
        run.ledger.close(
            3,
            f"the gradient of the padding, filled with {name}, {run.mode}",
            got.gradients["x"][padding],
            torch.zeros_like(got.gradients["x"][padding]),
            0.0,
            MASK,
            gradient=True,
        )
    run.ledger.close(
        3,
        f"the output in the padding {run.mode}",
        clean.y.masked_fill(~padding[:, :, None], 0),
        torch.zeros_like(clean.y),
        0.0,
        HOLD,
        axes=("lane", "step"),
    )
    empty = (lengths == 0).nonzero().flatten()
    subject = f"the final state of lanes of length 0 {run.mode}"
    run.same_state(3, states.take(clean.end, empty), states.take(state, empty), subject, HOLD, 0.0)


def check_common_length(run: Runner, x: Tensor, state: State) -> None:
    """Law 3: lanes that all end at n give what a sequence of n steps gives."""
    for length in some_times(x.shape[1]):
        lengths = torch.full(x.shape[:1], length, device=x.device)
        got = run.measure(3, whole, x, state, lengths)
        if length:
            wanted = run.measure(3, whole, x[:, :length], state)
        else:
            wanted = run.measure(3, oracle(run), x, state, lengths)
        pad = x.shape[1] - wanted.y.shape[1]
        longer = [
            torch.nn.functional.pad(t, (0, 0, 0, pad)) for t in (wanted.y, wanted.gradients["x"])
        ]
        wanted = Run(longer[0], wanted.end, {**wanted.gradients, "x": longer[1]})
        run.same(3, got, wanted, f"of forward with length {length} in each lane,", HOLD)


def check_hold(run: Runner, x: Tensor, state: State, lengths: Tensor) -> None:
    """Law 3: with a length for each lane, forward equals the specification."""
    wanted = run.measure(3, oracle(run), x, state, lengths)
    when = "of forward with lengths, held against the specification,"
    got = run.measure(3, whole, x, state, lengths)
    run.same(3, got, wanted, when, HOLD, gradient_mend=f"{HOLD}; {MASK}")
    got = run.measure(3, whole, x, state, lengths, gradients_of="nothing")
    run.same(3, got, wanted, f"under no_grad {when}", HOLD)


def check_restart(run: Runner, lanes: int) -> None:
    """Law 4: a restart forgets the past, and is `initial_state` in values and in gradients."""
    layer, ledger = run.layer, run.ledger
    before = run.reached(lanes, steps=1)
    with ledger.attempt(4, "restart"):
        first, again = layer.restart(before), layer.restart(before)
    fresh = layer.initial_state(lanes, device=run.device)
    run.same_kind(first, fresh, "restart")
    mend = "derive the next seed from the old one, without drawing"
    run.same_state(4, again, first, f"a second restart {run.mode}", mend, 0.0)
    if layer.streamable:
        later = before
        with torch.no_grad():
            for _ in range(2):
                _, later = run.step(4, run.draw(lanes, layer.input_size), later)
        subject = f"the restart of a state two steps later {run.mode}"
        mend = "what follows a reset must not depend on what came before it"
        run.same_state(4, layer.restart(later), first, subject, mend, 0.0)
    names = states.names(fresh)
    for name, got, wanted in zip(names, states.leaves(first), states.leaves(fresh), strict=True):
        if not wanted.is_floating_point():
            continue
        subject = f"leaf {name} of the restart {run.mode}"
        ledger.close(4, subject, got, wanted, run.tolerance.values, TO_INITIAL, axes=("lane",))
        targets = run.targets(run.draw(1), None)
        grads = [
            run.gradients(4, (leaf * leaf + leaf).sum(), targets, keep=True)
            for leaf in (got, wanted)
        ]
        for parameter in targets:
            ledger.close(
                4,
                f"the gradient of {parameter} through leaf {name} of the restart {run.mode}",
                grads[0][parameter],
                grads[1][parameter],
                run.tolerance.gradients,
                TO_INITIAL,
                gradient=True,
            )


def check_reset_of_step(run: Runner, lanes: int) -> None:
    """Law 4 for `step`: flagged lanes step from the restart, the others from their state."""
    x, state = run.draw(lanes, run.layer.input_size).requires_grad_(), run.reached(lanes)
    every = torch.ones(lanes, dtype=torch.bool, device=x.device)
    some = torch.arange(lanes, device=x.device) % 2 == 0
    plain, fresh = run.step(4, x, state), run.step(4, x, run.layer.restart(state))
    for reset, which in ((every, "every lane"), (~every, "no lane"), (some, "even lanes")):
        given = run.leafed(state)
        y, after = run.step(4, x, given, reset)
        for flagged in (True, False):
            index = (reset == flagged).nonzero().flatten()
            wanted, end = fresh if flagged else plain
            # A lane that changes because its neighbour is reset is a matter of lanes.
            law, mend = (4, AFRESH) if flagged else (5, "reset the flagged lanes only")
            subject = f"of step with a reset of {which} {run.mode}"
            limit = run.tolerance.values
            run.ledger.close(law, f"the output {subject}", y[index], wanted[index], limit, mend)
            run.same_state(
                law,
                states.take(after, index),
                states.take(end, index),
                f"the state {subject}",
                mend,
                limit,
            )
        total = run.weighted(y[:, None], after)
        for name, gradient in run.gradients(4, total, run.targets(x, given)).items():
            if name.startswith("state"):
                run.ledger.close(
                    4,
                    f"the gradient of {name} through a reset of {which} {run.mode}",
                    gradient[reset],
                    torch.zeros_like(gradient[reset]),
                    0.0,
                    AFRESH,
                    gradient=True,
                )


def check_common_reset(run: Runner, x: Tensor, state: State) -> None:
    """Law 4: after a reset of all lanes comes a fresh run, and nothing of what was before."""
    for at in some_times(x.shape[1] - 1):
        _reset_at(run, x, state, at)


def _reset_at(run: Runner, x: Tensor, state: State, at: int) -> None:
    ledger, limit = run.ledger, run.tolerance
    resets = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    resets[:, at] = True
    x, given = x.detach().clone().requires_grad_(), run.leafed(state)
    y, end = run.forward(4, x, given, None, resets)
    behind = state
    when = f"a reset at step {at} {run.mode}"
    if at:
        earlier, reached = run.forward(4, x[:, :at], given)
        behind = reached if run.layer.streamable else state
        subject = f"the output before {when}"
        mend = "a reset takes effect at its own step, not before"
        ledger.close(4, subject, y[:, :at], earlier, limit.values, mend, axes=("lane", "step"))
    fresh_x = x.detach()[:, at:].clone().requires_grad_()
    fresh_y, fresh_end = run.forward(4, fresh_x, run.layer.restart(states.detach(behind)))
    subject = f"the output after {when}, held against a fresh run,"
    ledger.close(4, subject, y[:, at:], fresh_y, limit.values, AFRESH, axes=("lane", "step"))
    if not run.layer.streamable:
        end = fresh_end = ()
    run.same_state(4, end, fresh_end, f"the final state after {when}", AFRESH, limit.values)

    total = run.weighted(y[:, at:], end, first_step=at)
    got = run.gradients(4, total, run.targets(x, given), keep=True)
    fresh = run.weighted(fresh_y, fresh_end, first_step=at)
    wanted = run.gradients(4, fresh, run.targets(fresh_x, None))
    before = {"x before it": got["x"][:, :at]}
    before |= {name: gradient for name, gradient in got.items() if name.startswith("state")}
    if at:
        first = run.gradients(4, run.weighted(y[:, :at]), {"x": x})["x"][:, at:]
        before["the steps after it, from outputs before it,"] = first
    for name, gradient in before.items():
        subject = f"the gradient of {name} through {when}"
        zero = torch.zeros_like(gradient)
        ledger.close(4, subject, gradient, zero, 0.0, AFRESH, gradient=True)
    got["x"] = got["x"][:, at:]
    for name, gradient in wanted.items():
        subject = f"the gradient of {name} after {when}, held against a fresh run,"
        mend = f"{AFRESH}; {TO_INITIAL}"
        ledger.close(4, subject, got[name], gradient, limit.gradients, mend, gradient=True)

    for fill in (1e30, torch.nan):
        past = torch.cat([torch.full_like(x[:, :at], fill), x[:, at:]], dim=1)
        if run.layer.streamable:
            state = states.tree_map(lambda leaf, fill=fill: _full(leaf, fill), state)
        other_y, other_end = run.forward_garbage(4, past, state, None, resets)
        subject = f"the output after {when}, with {fill:g} before it,"
        ledger.close(
            4, subject, other_y[:, at:], y[:, at:], limit.values, AFRESH, axes=("lane", "step")
        )
        if not run.layer.streamable:
            continue
        subject = f"the final state after {when}, with {fill:g} before it,"
        run.same_state(4, other_end, end, subject, AFRESH, limit.values)


def check_resets_beyond(run: Runner, x: Tensor, state: State, lengths: Tensor) -> None:
    """Law 4: a reset beyond its lane's length is ignored."""
    beyond = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
    got = run.measure(4, whole, x, state, lengths, beyond)
    wanted = run.measure(4, whole, x, state, lengths, torch.zeros_like(beyond))
    run.same(4, got, wanted, "of forward with resets beyond the lengths,", BEYOND)


def check_reset(
    run: Runner, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor
) -> None:
    """Law 4: with resets of each lane's own, forward equals the specification."""
    got = run.measure(4, whole, x, state, lengths, resets)
    wanted = run.measure(4, oracle(run), x, state, lengths, resets)
    given = "resets" if lengths is None else "lengths and resets"
    when = f"of forward with {given}, held against the specification,"
    run.same(4, got, wanted, when, AFRESH, gradient_mend=f"{AFRESH}; {TO_INITIAL}")
    got = run.measure(4, whole, x, state, lengths, resets, gradients_of="nothing")
    run.same(4, got, wanted, f"under no_grad {when}", AFRESH)


def _full(leaf: Tensor, fill: float) -> Tensor:
    return torch.full_like(leaf, fill) if leaf.is_floating_point() else leaf
