"""What a training step does: called some times on unrelated batches, with its optimiser watched."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.carrying import Carried
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.keeping import Undo, kept_closure, kept_optimiser, seed_all
from throughtime.inspect.lint.probing import Probe

STEPS = 4
"""How often the training step is called."""
GROWS = 100.0
"""A gradient that grows so much, from step to step or back through the window, explodes."""
LARGE = 10.0
"""Below this norm there is nothing to clip."""
FOR_A_TERM = 10.0
"""Norm for each of B * T terms that not even a summed loss explains."""


class Norms(NamedTuple):
    """Norms of a gradient over all weights.

    Attributes:
        left: as backward left it.
        found: as the optimiser found it.
        untouched: of the weights whose gradient is as backward left it.
    """

    left: float
    found: float
    untouched: float


class Trained:
    """What was seen in a few training steps.

    Attributes:
        carried: states and graphs that went from one step into the next.
        error: what the training step raised, or None.
        steps: how many were done.
        norms: of the gradient, at each step of an optimiser.
    """

    def __init__(self, carried: Carried) -> None:
        self.carried = carried
        self.error: Exception | None = None
        self.steps = 0
        self.norms: list[Norms] = []


def train(probe: Probe, train_step: Callable[[Any], Any], places: Sequence[str]) -> Trained:
    """Call a training step on unrelated batches, and put everything back.

    Args:
        probe: the model and its batch.
        train_step: called with each batch.
        places: attributes that keep a state from one call to the next.
    """
    seen = Trained(Carried(places))
    with ExitStack() as undo:
        undo.callback(probe.kept.put_back)
        undo.callback(kept_closure(train_step))
        probe.kept.put_back_state()
        probe.model.train()
        undo.enter_context(_norms_noted(probe.model, seen.norms))
        undo.enter_context(seen.carried.watching(probe.model))
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        seed_all(0)
        for number in range(STEPS):
            try:
                with torch.enable_grad():
                    train_step(probe.another_batch(number))
            except Exception as error:
                # Freed here: it holds frames with the tensors of the graph.
                seen.error = error.with_traceback(None)
                break
            seen.steps += 1
            seen.carried.next_step()
    return seen


@contextmanager
def _norms_noted(model: nn.Module, norms: list[Norms]) -> Iterator[None]:
    """Note the norms of the gradient at each step of an optimiser of the model's weights."""
    own = {id(weight): weight for weight in model.parameters()}
    left: dict[int, float] = {}
    optimisers: dict[int, Undo] = {}

    def note_backward(weight: Tensor) -> None:
        left[id(weight)] = _square(weight.grad)

    def note_step(optimiser: torch.optim.Optimizer, given: Any, named: Any) -> None:
        weights = [each for group in optimiser.param_groups for each in group["params"]]
        weights = [each for each in weights if id(each) in own and each.grad is not None]
        if not weights:
            return
        if id(optimiser) not in optimisers:
            optimisers[id(optimiser)] = kept_optimiser(optimiser)
        found = [_square(each.grad) for each in weights]
        raw = [left.get(id(each), square) for each, square in zip(weights, found, strict=True)]
        same = [now for now, was in zip(found, raw, strict=True) if not _is_clipped(was, now)]
        norms.append(Norms(*(math.sqrt(sum(each)) for each in (raw, found, same))))
        left.clear()

    handles: list[Any] = [
        weight.register_post_accumulate_grad_hook(note_backward)  # type: ignore[no-untyped-call]
        for weight in own.values()
        if weight.requires_grad and weight.is_leaf
    ]
    handles.append(register_optimizer_step_pre_hook(note_step))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for undo in optimisers.values():
            undo()


def find_unclipped(seen: Trained, probe: Probe, growth: float) -> list[Finding]:
    """Find gradients that explode and reach the optimiser as they are.

    Args:
        seen: the training steps.
        probe: the model and its batch.
        growth: how much larger a gradient gets on its way back through the window.
    """
    whole = [norms.untouched for norms in seen.norms]
    finite = [norm for norm in whole if math.isfinite(norm)]
    most = max(finite, default=0.0)
    calmest = min((norms.left for norms in seen.norms if norms.left > 0), default=math.inf)
    terms = probe.samples * (probe.steps or 1)
    cause = ""
    if len(finite) < len(whole):
        how = f"the gradient's norm is not finite at a step of the optimiser, {most:.3g} at another"
    elif most > LARGE and most >= GROWS * calmest:
        how = f"the gradient's norm is {calmest:.3g} at one step and {most:.3g} at another"
    elif most > LARGE and growth >= GROWS:
        how = (
            f"the gradient's norm is {most:.3g} and grows {growth:.2g} times on the way back "
            f"through {probe.steps} steps"
        )
    elif most > FOR_A_TERM * terms:
        how = f"the gradient's norm is {most:.3g} for a loss of {terms} terms"
        cause = "scale targets that are far from 1, and "
    else:
        return []
    return [
        Finding(
            names.NO_CLIPPING,
            most,
            f"{how}, and nothing had clipped it",
            f"{cause}between backward and step write "
            "`torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)`",
        )
    ]


def _is_clipped(was: float, now: float) -> bool:
    """Return whether the squared norm of a gradient is less than it was."""
    return math.isfinite(now) and now < 0.998 * was


def _square(gradient: Tensor | None) -> float:
    """Return the squared norm of a gradient, in float64."""
    if gradient is None:
        return 0.0
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(values.detach().abs().double().square().sum())
