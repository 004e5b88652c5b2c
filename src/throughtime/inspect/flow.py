"""One step of a layer as a map of its state alone, and the derivative of that map."""

import copy

import torch
from torch import Tensor

from throughtime import kernels
from throughtime import state as states
from throughtime.inspect.leaves import float_leaves, is_float
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Flow:
    """The map from a state to the next one under one input, in float64 and in evaluation mode.

    Shape letters: N states side by side, S floating-point numbers of a state.

    Args:
        layer: any layer or stack.
    """

    def __init__(self, layer: Recurrent) -> None:
        self.layer = copy.deepcopy(layer).double().eval().requires_grad_(False)

    def flat(self, state: State) -> Tensor:
        """Return the numbers of a state, (N, S)."""
        return torch.cat([leaf.flatten(1).double() for leaf in float_leaves(state).values()], 1)

    def shaped(self, flat: Tensor, like: State) -> State:
        """Return numbers (N, S) as a state; what is no floating-point number is that of `like`."""
        leaves = float_leaves(like).values()
        pieces = torch.split(flat, [leaf[0].numel() for leaf in leaves], 1)
        shaped = zip(pieces, leaves, strict=True)
        parts = iter([piece.view(-1, *leaf.shape[1:]) for piece, leaf in shaped])
        return states.tree_map(lambda leaf: next(parts) if is_float(leaf) else leaf, like)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step by its readable maths: x (N, F)."""
        with kernels.use("reference"):
            return self.layer.step(x.double(), state)

    def jacobian(self, x: Tensor, flat: Tensor, like: State) -> tuple[Tensor, Tensor]:
        """Return the next states (N, S) and their derivatives by the states, (N, S, S)."""
        with torch.enable_grad():
            begun = flat.detach().requires_grad_()
            _, after = self.step(x, self.shaped(begun, like))
            moved = self.flat(after)
            rows = [
                torch.autograd.grad(column.sum(), begun, retain_graph=True, materialize_grads=True)
                for column in moved.unbind(1)
            ]
        return moved.detach(), torch.stack([row[0] for row in rows], 1)
