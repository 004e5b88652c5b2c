"""Ways to run a layer over a sequence: by `forward`, and by what `forward` must be equal to.

The fold is the specification (law 1), written out on `step` and nothing else. A layer that can't be
streamed has no step; for it, each segment of each lane is read alone.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.state import State
from throughtime.testing.runs import Runner, Way


def whole(
    run: Runner,
    law: int,
    x: Tensor,
    state: State | None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Call `forward` once."""
    return run.forward(law, x, state, lengths, resets)


def cut(at: Sequence[int]) -> Way:
    """Return the way that calls `forward` from cut to cut, with the state carried over."""

    def chunks(
        run: Runner,
        law: int,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        parts = []
        for start, stop in pairwise([0, *at, x.shape[1]]):
            within = None if lengths is None else (lengths - start).clamp(0, stop - start)
            flags = None if resets is None else resets[:, start:stop]
            part, state = run.forward(law, x[:, start:stop], state, within, flags)
            parts.append(part)
        return torch.cat(parts, dim=1), state

    return chunks


def fold(
    run: Runner,
    law: int,
    x: Tensor,
    state: State | None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Call `step` over time; each lane is held from its length on."""
    lanes, steps = x.shape[:2]
    if state is None:
        state = run.layer.initial_state(lanes, device=run.device)
    if lengths is not None:
        present = torch.arange(steps, device=x.device) < lengths[:, None]
        x = torch.where(present[:, :, None], x, torch.zeros_like(x))
    outputs = [x.new_zeros(lanes, 0, run.layer.output_size)]
    for t in range(steps):
        alive = None if lengths is None else lengths > t
        reset = None if resets is None else resets[:, t]
        if reset is not None and alive is not None:
            reset = reset & alive
        y, after = run.step(law, x[:, t], state, reset)
        if alive is not None:
            after = states.tree_map(
                lambda new, old, alive=alive: _choose(alive, new, old), after, state
            )
            y = _choose(alive, y, torch.zeros_like(y))
        state = after
        outputs.append(y[:, None])
    return torch.cat(outputs, dim=1), state


def segments(
    run: Runner,
    law: int,
    x: Tensor,
    state: State | None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Call `forward` on each segment of each lane alone; a segment ends at a reset or length."""
    if state is None:
        state = run.layer.initial_state(x.shape[0], device=run.device)
    outputs, ends = [], []
    for lane in range(x.shape[0]):
        own = states.take(state, torch.tensor([lane], device=x.device))
        stop = x.shape[1] if lengths is None else int(lengths[lane])
        begins = [] if resets is None else resets[lane, :stop].nonzero().flatten().tolist()
        parts, end = [x.new_zeros(1, 0, run.layer.output_size)], own
        for start, until in pairwise(sorted({0, *begins, stop})):
            if start in begins:
                own = run.layer.restart(own)
            y, end = run.forward(law, x[lane : lane + 1, start:until], own)
            parts.append(y)
        parts.append(x.new_zeros(1, x.shape[1] - stop, run.layer.output_size))
        outputs.append(torch.cat(parts, dim=1))
        ends.append(end)
    return torch.cat(outputs), states.cat(ends)


def oracle(run: Runner) -> Way:
    """Return the way that says what is right for a layer."""
    return fold if run.layer.streamable else segments


def ways(run: Runner) -> tuple[tuple[str, Way], ...]:
    """Return both: what is right, by the name of what it calls, and `forward`."""
    return ("step" if run.layer.streamable else "forward alone", oracle(run)), ("forward", whole)


def _choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (chosen.dim() - 1)), chosen, other)
