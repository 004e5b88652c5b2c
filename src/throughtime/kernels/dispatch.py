"""The choice of a backend: the fastest that is correct for a call, unless one is asked for."""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.kernels import linear, native, variants
from throughtime.kernels.fused import between_cuts, can_autocast, cuts
from throughtime.kernels.recurrence import Recurrence, VariantRecurrence, has_fused, is_variant
from throughtime.kernels.reference import fold
from throughtime.kernels.stepper import NativeStepper, Stepper
from throughtime.kernels.wish import wish
from throughtime.state import State


def run(
    layer: Recurrence, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, State]:
    """Run a recurrence on the chosen backend. Arguments and result as in `reference.fold`."""
    wanted = wish()
    if wanted in (None, "native"):
        if native.reason_against(layer, x, state) is None:
            return native.run(layer, x, state, lengths, resets)
        if layer.cell is None and linear.is_linear(layer):
            return linear.run_linear(layer, x, state, lengths, resets)
        if layer.cell is None and variants.serves(layer, x, state):
            restart = None if resets is None else layer.restart(state)
            return variants.run_variant(layer.variant(x), state, restart, lengths, resets)
    if _reason_against_fused(wanted, layer, lengths, resets, x) is None:
        return between_cuts(layer, x, state, lengths, resets)  # type: ignore[arg-type]
    return fold(layer, x, state, lengths, resets)


def step(layer: Recurrence, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Run one step: the native kernel where no gradient is wanted, `update` otherwise.

    What is traced is always `update`, so that an exported step runs anywhere.
    """
    if (
        layer.cell is None
        or torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or type(x) is not Tensor
        or wish() not in (None, "native")
        or native.reason_against(layer, x, state) is not None
    ):
        y, after = layer.update(x, state)
        return y, states.keep_types(after, state)
    return native.step(layer, x, state)


def stepper_for(layer: Recurrence, lanes: int) -> Stepper:
    """Make a stepper for some lanes of a layer, on the chosen backend."""
    if wish() in (None, "native") and native.reason_against(layer) is None:
        return NativeStepper(layer, lanes)
    return Stepper(layer, lanes)


def explain(layer: Recurrence) -> str:
    """Say which backend would run a plain call of the layer now, and why."""
    wanted = wish()
    if wanted == "reference":
        return "reference: asked for"
    if wanted == "torch":
        against: str | None = "asked for"
    elif layer.cell is None and linear.is_linear(layer):
        against = linear.reason_against(layer.initial_state(1))  # type: ignore[attr-defined]
    elif layer.cell is None and is_variant(layer):
        return explain_variant(layer)
    else:
        against = native.reason_against(layer)
    if against is None:
        return f"native: kernels for {native.describe()}"
    place: str = layer.weight_hh.device.type if hasattr(layer, "weight_hh") else "cpu"
    if has_fused(layer) and can_autocast(layer, place):
        return f"torch: fused kernel, cut where a lane ends or restarts; {against}"
    return f"reference: {against}"


def explain_variant(layer: VariantRecurrence) -> str:
    """Say which backend would run a layer with what it is varied by now, and why."""
    wanted = wish()
    if wanted not in (None, "native"):
        return "reference: " + (
            "asked for" if wanted == "reference" else "torch has no kernel of it"
        )
    against = variants.reason_against(layer)
    return f"reference: {against}" if against else f"native: kernels for {native.describe()}"


def _reason_against_fused(
    wanted: str | None, layer: Recurrence, lengths: Tensor | None, resets: Tensor | None, x: Tensor
) -> str | None:
    if torch.compiler.is_compiling():
        return "a traced graph must not depend on where the cuts are"
    if not has_fused(layer):
        return f"torch has no fused kernel for {type(layer).__name__}"
    if wanted == "reference":
        return "asked for"
    if not can_autocast(layer, x.device.type):
        return "torch has no LSTM in these numbers for this processor"
    if wanted == "torch" or (lengths is None and resets is None):
        return None
    # Below two steps a cut, the gathers cost more than the fused kernel saves.
    if 2 * len(cuts(lengths, resets, x.shape[1])) > x.shape[1] + 4:
        return "too many cuts"
    return None
