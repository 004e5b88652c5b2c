"""From a window to a gradient: truncated or full BPTT, recomputation, clipping."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from throughtime import state as states
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.tasks.task import Task


class WindowLoss(NamedTuple):
    """The summed loss of a window, the number of its targets, and the state after it."""

    total: Tensor
    targets: Tensor
    state: State


def window_loss(
    task: Task,
    model: SequenceModel,
    window: tuple[Tensor, Tensor, Tensor, Tensor],
    state: State | None,
    *,
    chunks: int = 1,
) -> WindowLoss:
    """Run a model over a window and return its loss, with its graph.

    With `chunks` above 1 the window is run piece by piece, and backward recomputes each piece: the
    gradient is that of the whole window, exactly, and only the states between pieces are kept
    (Chen et al. 2016, https://arxiv.org/abs/1604.06174).

    Args:
        task: gives the loss.
        model: the model.
        window: inputs (B, T, ...), targets (B, T, ...), lengths (B,), resets (B, T).
        state: before step 0; the initial state when None.
        chunks: pieces to recompute; 1 keeps everything.
    """
    inputs, targets, lengths, resets = window
    if state is None:
        state = model.initial_state(inputs.shape[0], device=inputs.device)
    if chunks == 1:
        return _piece(task, model, inputs, targets, lengths, resets, state)
    size = -(-inputs.shape[1] // chunks)
    total, count = inputs.new_zeros((), dtype=torch.float32), lengths.new_zeros(())
    for start in range(0, inputs.shape[1], size):
        part = slice(start, start + size)
        there = (lengths - start).clamp(0, inputs[:, part].shape[1])
        piece: WindowLoss = checkpoint(
            _piece,
            task,
            model,
            inputs[:, part],
            targets[:, part],
            there,
            resets[:, part],
            state,
            use_reentrant=False,
        )
        total, count, state = total + piece.total, count + piece.targets.to(count), piece.state
    return WindowLoss(total, count, state)


def _piece(
    task: Task,
    model: SequenceModel,
    inputs: Tensor,
    targets: Tensor,
    lengths: Tensor,
    resets: Tensor,
    state: State,
) -> WindowLoss:
    outputs, after = model(inputs, state, lengths=lengths, resets=resets)
    total, count = task.loss(outputs, inputs, targets)
    return WindowLoss(total, count, after)


def clip(
    parameters: Iterable[tuple[str, nn.Parameter]], largest: float
) -> tuple[float, str | None]:
    """Scale the gradient down to a norm, unless it is not finite.

    Args:
        parameters: names and parameters.
        largest: the norm allowed.

    Returns:
        The norm before, and the first parameter whose gradient has no finite norm, if there is
        one; the gradients are then left as they are.
    """
    named = [(name, p, p.grad) for name, p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([gradient for _, _, gradient in named])
    if bool(torch.isfinite(norm)):
        nn.utils.clip_grads_with_norm_([p for _, p, _ in named], largest, norm)
        return float(norm), None
    # Where the sum alone is too large for a number, the largest part of it is to blame.
    norms = {name: float(gradient.norm()) for name, _, gradient in named}
    broken = [name for name, each in norms.items() if not math.isfinite(each)]
    return float(norm), broken[0] if broken else max(norms, key=norms.__getitem__)


def finite_lanes(state: State) -> Tensor:
    """Return which lanes of a state hold finite numbers only, (B,) bool."""
    leaves = states.leaves(state)
    finite = torch.ones(states.lanes(state), dtype=torch.bool, device=leaves[0].device)
    for leaf in leaves:
        finite &= torch.isfinite(leaf).flatten(1).all(dim=1) if leaf.dim() > 1 else leaf.isfinite()
    return finite
