"""How many lanes a model steps at once so that no lane's numbers depend on the others.

A product of matrices adds up in an order that follows from how many rows there are and, at the edge
of a block, from which row it is; never from the numbers. So with always as many rows, each row gets
the same bits in whatever company, once it is known that no place among them is a special one. That
is found out here, for a model, on the machine and with the threads that it runs on. Some products
of fewer than ten columns have special places; models that have such are stepped one lane at a time.
"""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.kernels import threads_for
from throughtime.model import SequenceModel
from throughtime.state import State

LANES = 32
"""Lanes of a call where every place is like the others: 32 take little longer than one."""

_STEPS = 3
"""After which the lanes have states of their own."""


@torch.inference_mode()
def lanes_together(model: SequenceModel) -> int:
    """Return how many lanes a call of `model.step` is to have: always as many, 32 or one.

    Args:
        model: in evaluation mode, on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.config

    def draw() -> Tensor:
        if config.symbols is not None:
            return torch.randint(config.symbols, (LANES,), generator=generator)
        return torch.randn(LANES, config.features or 0, generator=generator)

    with threads_for(model.parameter_count()):
        state = model.initial_state(LANES)
        for _ in range(_STEPS):
            _, state = model.step(draw(), state)
        x = draw()
        return LANES if _is_moved(model, x, state) else 1


def _is_moved(model: SequenceModel, x: Tensor, state: State) -> bool:
    """Tell whether lanes that are all moved by one place get the same bits in their new places."""
    before = torch.arange(LANES).roll(1)
    output, after = model.step(x, state)
    moved_output, moved = model.step(x[before], states.take(state, before))
    pairs = zip(states.leaves(after), states.leaves(moved), strict=True)
    return torch.equal(output[before], moved_output) and all(
        torch.equal(leaf[before], other) for leaf, other in pairs
    )
