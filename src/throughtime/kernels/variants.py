"""The native kernels of variants of the classic cells, as a backend."""

from typing import TypeGuard

import torch
from torch import Tensor

from throughtime.kernels import native
from throughtime.kernels.recurrence import Variant, VariantRecurrence, is_variant
from throughtime.kernels.variant_operators import Noise
from throughtime.kernels.wish import wish
from throughtime.state import State


def reason_against(
    layer: VariantRecurrence, x: Tensor | None = None, state: State = ()
) -> str | None:
    """Return why the native kernels can't run a variant on an input, None if they can."""
    weight = layer.weight_hh
    against = native.reason_against_numbers((weight,) if x is None else (weight, x, *state))
    if against is not None:
        return against
    if torch.is_autocast_enabled("cpu"):
        return "no autocast in the native kernels of variants"
    reason = native.missing()
    return None if reason is None else f"no native kernels: {reason}"


def serves(layer: object, x: Tensor, state: State) -> TypeGuard[VariantRecurrence]:
    """Return whether the native kernels are to run a layer on an input."""
    return (
        is_variant(layer) and wish() in (None, "native") and reason_against(layer, x, state) is None
    )


def run_variant(
    variant: Variant,
    state: State,
    restart: State | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    noise: Noise | None = None,
) -> tuple[Tensor, State]:
    """Run a variant over sequences.

    Args:
        variant: of B lanes and T steps.
        state: h (B, P), and what the cell has beside it, (B, H) each.
        restart: what a reset goes to; with resets.
        lengths: (B,) int64 or None.
        resets: (B, T) bool or None.
        noise: what is random in this call.

    Returns:
        y (B, T, P), zero where a step is not there, and the state after the last step that is.
    """
    cell, enter, *weights = variant
    h, c = _packed(state)
    again = (None, None) if restart is None or resets is None else _packed(restart)
    noise = noise or Noise()
    keep = torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (enter, h, c, *again, *weights)
    )
    y, h, c, *_ = torch.ops.throughtime.variant(
        enter, h, c, *weights, *again, lengths, resets, *noise, cell, keep
    )
    cells = c.chunk(len(state) - 1, dim=1) if len(state) > 1 else ()
    return y, type(state)(h, *cells)


def _packed(state: State) -> tuple[Tensor, Tensor | None]:
    """Return h, and all that is kept beside it in one tensor."""
    h, *cells = state
    return h, (torch.cat(cells, dim=1) if len(cells) > 1 else cells[0]) if cells else None
