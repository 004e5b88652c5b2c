"""What a kernel needs to know of a layer; the layers themselves live in other rooms."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from throughtime.state import State


@runtime_checkable
class Recurrence(Protocol):
    """What a kernel needs to know of a layer."""

    output_size: int

    @property
    def cell(self) -> str | None:
        """Which of the compiled cells (`library.CELLS`) computes the same; None for none."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, F) to y (B, D)."""

    def restart(self, state: State) -> State:
        """The state that a reset goes to."""


@runtime_checkable
class FusedRecurrence(Recurrence, Protocol):
    """A layer for which torch has a fused kernel of the same maths."""

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps at once, without lengths and resets: x (B, T, F) to y (B, T, D)."""
