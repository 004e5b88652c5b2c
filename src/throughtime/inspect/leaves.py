"""The leaves of a state that derivatives are taken by."""

from torch import Tensor

from throughtime import state as states
from throughtime.state import State


def is_float(leaf: Tensor) -> bool:
    """Return whether a leaf has derivatives: seeds and counters have none."""
    return leaf.is_floating_point() or leaf.is_complex()


def float_leaves(state: State) -> dict[str, Tensor]:
    """Return the leaves that have derivatives, by name, in the order of the tree."""
    pairs = zip(states.names(state), states.leaves(state), strict=True)
    return {name: leaf for name, leaf in pairs if is_float(leaf)}
