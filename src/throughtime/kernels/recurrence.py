"""What a kernel needs to know of a layer; the layers themselves live in other rooms.

Which of these a layer is, is asked at every call, so it is told by one method of its class, None
where that is not to be used, and not by `isinstance`, which looks for all of them.
"""

from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

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


def has_fused(layer: object) -> TypeGuard[FusedRecurrence]:
    """Return whether torch has a fused kernel of a layer's maths."""
    return getattr(type(layer), "fused", None) is not None


class Variant(NamedTuple):
    """A cell with what it is varied by, and the input's share of its gates for all steps.

    Attributes:
        cell: one of `library.VARIANTS`.
        enter: (B, T, G*H), with everything that is added to it.
        weight: (G*H, P), of the state h; P is H without a projection.
        bias: (G*H,), added to the state's share.
        gain: (G*H,): the state's share is normalised over the units of each gate, times this.
        cell_gain: (H,): what is read of c is normalised, times this.
        cell_bias: (H,), added to it.
        peepholes: (3, H): what the gates i, f and o see of c.
        project: (P, H), from what the gates let out to h.
    """

    cell: str
    enter: Tensor
    weight: Tensor
    bias: Tensor | None = None
    gain: Tensor | None = None
    cell_gain: Tensor | None = None
    cell_bias: Tensor | None = None
    peepholes: Tensor | None = None
    project: Tensor | None = None


@runtime_checkable
class VariantRecurrence(Recurrence, Protocol):
    """A layer that is a variant of a classic cell."""

    @property
    def weight_hh(self) -> Tensor:
        """What h is multiplied by, (G*H, P)."""

    def variant(self, x: Tensor) -> Variant:
        """What the layer computes of x (B, T, F)."""


def is_variant(layer: object) -> TypeGuard[VariantRecurrence]:
    """Return whether a layer is a variant of a classic cell."""
    return getattr(type(layer), "variant", None) is not None
