"""Law 6: the tree, shapes and dtypes of a state; inputs untouched; nothing kept in the module."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from throughtime import state as states
from throughtime.state import State
from throughtime.testing.runs import Runner

KEEP = "a module holds no state; return what must be kept as part of the state"


def check_initial_state(run: Runner, lanes: int) -> None:
    """Lanes are axis 0 of every leaf, two calls agree, and so do the two modes."""
    ledger = run.ledger
    for count in (lanes, lanes + 1):
        state = run.initial(count)
        for name, leaf in zip(states.names(state), states.leaves(state), strict=True):
            got = tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
            ledger.require(
                6,
                isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == count,
                f"leaf {name} of initial_state({count}) is {got}, expected a tensor "
                f"({count}, ...); lanes are axis 0 of every leaf",
            )
    first, second = run.initial(lanes), run.initial(lanes)
    run.same_kind(second, first, "a second call of initial_state")
    for name, a, b in zip(
        states.names(first), states.leaves(first), states.leaves(second), strict=True
    ):
        if a.is_floating_point():
            mend = "draw no random initial state; randomness is a seed in the state"
            ledger.close(6, f"leaf {name} of a second initial_state", b, a, 0.0, mend)
    _check_dtypes(run, first)
    training = run.layer.training
    run.layer.train(not training)
    other = run.initial(lanes)
    run.layer.train(training)
    run.same_kind(other, first, f"initial_state {'in eval' if training else 'in training'} mode")


def _check_dtypes(run: Runner, state: State) -> None:
    """A state is as fine as the parameters (law 6), and never coarser than float32 (law 8)."""
    parameters = {p.dtype for p in run.layer.parameters() if p.is_floating_point()}
    for name, leaf in zip(states.names(state), states.leaves(state), strict=True):
        finer = {torch.promote_types(leaf.dtype, dtype) for dtype in parameters}
        run.ledger.require(
            6 if torch.promote_types(leaf.dtype, torch.float32) == leaf.dtype else 8,
            not leaf.is_floating_point() or finer <= {leaf.dtype},
            f"leaf {name} of initial_state is {leaf.dtype} beside parameters in "
            f"{', '.join(map(str, parameters))}; make it in the parameters' own dtype, float32 at "
            "least",
        )


def check_calls(run: Runner, lanes: int, steps: int, lengths: Tensor, resets: Tensor) -> None:
    """Calls leave their inputs and each other's results alone."""
    x, state = run.sequences(lanes, steps), run.reached(lanes)
    other_x, other_state = run.sequences(lanes, steps), run.reached(lanes, steps=2)
    with torch.no_grad():
        with untouched(run, "forward", x=x, state=state):
            y, end = run.forward(6, x, state)
        kept = [y.clone(), *(leaf.clone() for leaf in states.leaves(end))]
        run.forward(6, other_x, other_state)
        for before, now in zip(kept, [y, *states.leaves(end)], strict=True):
            subject = f"a result of forward {run.mode} after another call"
            mend = "a later call overwrites an earlier result; return new tensors"
            run.ledger.close(6, subject, now, before, 0.0, mend)
        _agree(run, "forward", run.forward(6, x, state), (y, end))
        _from_no_state(run, x)
        if run.layer.streamable:
            with untouched(run, "step", x=x, state=state):
                once = run.step(6, x[:, 0], state)
            run.step(6, other_x[:, 0], other_state)
            _agree(run, "step", run.step(6, x[:, 0], state), once)
            with untouched(run, "step with reset", x=x, state=state, reset=resets[:, 0]):
                run.step(4, x[:, 0], state, resets[:, 0])
        with untouched(run, "forward with lengths", x=x, state=state, lengths=lengths):
            run.forward(3, x, state, lengths)
        with untouched(run, "forward with resets", x=x, state=state, resets=resets):
            run.forward(4, x, state, None, resets)
        everything = torch.ones_like(resets)
        given = {"x": x, "state": state, "lengths": lengths, "resets": everything}
        with untouched(run, "forward with lengths and resets", **given):
            run.forward(4, x, state, lengths, everything)


def check_module(run: Runner, lanes: int, steps: int) -> None:
    """Calls leave the module alone, even where that does not show in their results.

    What a first call sets up may stay; what changes with the input of a later one is a state.
    """
    layer, state = run.layer, run.reached(lanes)
    with torch.no_grad():
        before = _held(layer, everything=False)
        run.forward(6, run.sequences(lanes, steps), state)
        _unchanged(run, before, _held(layer, everything=False), "forward")
        before = _held(layer)
        run.forward(6, run.sequences(lanes, steps), run.reached(lanes, steps=2))
        _unchanged(run, before, _held(layer), "forward or step")


@contextmanager
def untouched(run: Runner, doing: str, **inputs: Any) -> Iterator[None]:
    """Hold the inputs of a call against what they were before it."""
    leaves = [
        (name if isinstance(value, Tensor) else f"leaf {leaf_name} of {name}", leaf)
        for name, value in inputs.items()
        for leaf_name, leaf in zip(states.names(value), states.leaves(value), strict=True)
    ]
    before = [(leaf.clone(), leaf._version) for _, leaf in leaves]
    yield
    for (name, leaf), (content, version) in zip(leaves, before, strict=True):
        run.ledger.require(
            6,
            torch.equal(leaf, content) and leaf._version == version,
            f"{doing} {run.mode} writes into {name} in place; inputs are never mutated: make a new "
            "tensor, as masked_fill does and masked_fill_ does not",
        )


def _from_no_state(run: Runner, x: Tensor) -> None:
    """Without a state, two calls from one position of the random generator agree too."""
    torch.manual_seed(0)
    first = run.forward(6, x, None)
    run.forward(6, x + 1, None)
    torch.manual_seed(0)
    _agree(run, "forward without a state", run.forward(6, x, None), first)


def _agree(
    run: Runner, doing: str, got: tuple[Tensor, State], wanted: tuple[Tensor, State]
) -> None:
    mend = f"two calls must give the same answer; {KEEP}, and draw random numbers from its seed"
    subject, limit = f"of {doing} {run.mode}, called again,", run.tolerance.values
    run.ledger.close(6, f"the output {subject}", got[0], wanted[0], limit, mend, axes=("lane",))
    run.same_state(6, got[1], wanted[1], f"the state {subject}", mend, limit)


def _unchanged(run: Runner, before: dict[str, Any], after: dict[str, Any], doing: str) -> None:
    changed = [
        name for name in after if name not in before or not _equal(before[name], after[name])
    ]
    changed += [name for name in before if name not in after]
    run.ledger.require(
        6,
        not changed,
        f"a call of {doing} {run.mode} changes {', '.join(map(repr, changed[:3]))} of the module; "
        f"{KEEP}",
    )


def _held(layer: nn.Module, *, everything: bool = True) -> dict[str, Any]:
    """Return copies of a module's parameters and buffers, and of its other plain attributes."""
    found: dict[str, Any] = {}
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        found[name] = tensor.detach().clone()
    for prefix, module in layer.named_modules() if everything else ():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found[f"{prefix}.{name}".lstrip(".")] = _copied(value)
    return found


def _copied(value: Any) -> Any:
    """Copy tensors and numbers out of containers; what else is in there does not matter."""
    match value:
        case torch.Generator():
            return value.get_state()
        case _:
            leaves = pytree.tree_leaves(value)
    return [
        leaf.detach().clone() if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
        if isinstance(leaf, Tensor | int | float | str)
    ]


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        same = before.shape == after.shape and before.dtype == after.dtype
        return same and bool(((before == after) | ((before != before) & (after != after))).all())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_equal, before, after))
    return type(before) is type(after) and bool(before == after)
