"""Gradients by lag of a task's own loss, on windows as training reads them."""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.inspect.gradients import GradientByLag, gradient_by_lag
from throughtime.model import NoisyState, SequenceModel
from throughtime.state import State
from throughtime.tasks.task import Task

LANES = 8
LONGEST = 512
"""Lanes and steps of a window that are looked at, so that a look costs little beside training."""


def gradients_of_window(
    task: Task,
    model: SequenceModel,
    window: tuple[Tensor, Tensor, Tensor, Tensor],
    state: State | None,
) -> GradientByLag | None:
    """Measure how far back the loss of a window's last targets reaches, without dropout or noise.

    Args:
        task: gives the loss.
        model: what is trained; left as it is.
        window: inputs (B, T, ...), targets (B, T, ...), lengths (B,), resets (B, T).
        state: before the window; the initial one when None.

    Returns:
        Norms by lag over some of the lanes, from the last step on that has a target; None where no
        step has.
    """
    inputs, targets, lengths, resets = window
    # Where a series ends the last steps have no target, and the gradient of nothing is zero.
    lengths = _up_to_target(targets, lengths)
    lanes = torch.nonzero(lengths > 0)[:LANES, 0]
    if not len(lanes):
        return None
    inputs, targets, lengths, resets = (
        each[lanes.to(each.device)] for each in (inputs, targets, lengths, resets)
    )
    if state is not None:
        state = states.take(state, lanes.to(inputs.device))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            x = model._encode(inputs)
            before = state.layers if isinstance(state, NoisyState) else state
            start = max(0, int(lengths.max()) - LONGEST)
            if start:
                _, before = model.layers(
                    x[:, :start], before, lengths=lengths.clamp(max=start), resets=resets[:, :start]
                )
        rows = torch.arange(len(lanes), device=inputs.device)
        last = lengths.to(inputs.device) - 1
        # A lane that ends before the steps looked at has none of them, and no loss.
        seen = (lengths - start).clamp(min=0)

        def loss(y: Tensor) -> Tensor:
            outputs = model.head(y[rows, (last - start).clamp(min=0)][:, None])
            total, _ = task.loss(outputs, inputs[rows, last][:, None], targets[rows, last][:, None])
            return total

        return gradient_by_lag(
            model.layers, x[:, start:], loss, state=before, lengths=seen, resets=resets[:, start:]
        )
    finally:
        model.train(training)


def _up_to_target(targets: Tensor, lengths: Tensor) -> Tensor:
    """Return how many steps each lane has up to and with its last target, (B,)."""
    missing = targets.isnan() if targets.is_floating_point() else targets < 0
    there = ~missing.flatten(2).all(2) if targets.dim() > 2 else ~missing
    count = torch.arange(1, targets.shape[1] + 1, device=targets.device)
    there &= count <= lengths.to(targets.device)[:, None]
    return torch.where(there, count, 0).amax(1)
