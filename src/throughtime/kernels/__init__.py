"""How a recurrence runs fast: the readable reference, the fused kernels, and the choice between.

Nothing here computes what a layer computes; that is in `layers`. A kernel is only ever a faster way
to do what `reference.fold` does, and the laws hold it to that. The names below load their modules
when they are first used: `library`, which knows no torch, is loaded where there is none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from throughtime.kernels.dispatch import explain, explain_variant, run, step, stepper_for
    from throughtime.kernels.gated import FEW_FEATURES, Affine, Gated, rows
    from throughtime.kernels.linear import as_complex, as_pairs, linear_recurrence
    from throughtime.kernels.linear_operators import presence
    from throughtime.kernels.recurrence import (
        FusedRecurrence,
        Recurrence,
        Variant,
        VariantRecurrence,
    )
    from throughtime.kernels.stepper import Stepper
    from throughtime.kernels.threads import threads_for
    from throughtime.kernels.variant_operators import Noise
    from throughtime.kernels.variants import run_variant, serves
    from throughtime.kernels.wish import BACKENDS, use

_HOMES = {
    "BACKENDS": "wish",
    "FEW_FEATURES": "gated",
    "Affine": "gated",
    "FusedRecurrence": "recurrence",
    "Gated": "gated",
    "Noise": "variant_operators",
    "Recurrence": "recurrence",
    "Stepper": "stepper",
    "Variant": "recurrence",
    "VariantRecurrence": "recurrence",
    "as_complex": "linear",
    "as_pairs": "linear",
    "explain": "dispatch",
    "explain_variant": "dispatch",
    "linear_recurrence": "linear",
    "presence": "linear_operators",
    "rows": "gated",
    "run": "dispatch",
    "run_variant": "variants",
    "serves": "variants",
    "step": "dispatch",
    "stepper_for": "dispatch",
    "threads_for": "threads",
    "use": "wish",
}

__all__ = [
    "BACKENDS",
    "FEW_FEATURES",
    "Affine",
    "FusedRecurrence",
    "Gated",
    "Noise",
    "Recurrence",
    "Stepper",
    "Variant",
    "VariantRecurrence",
    "as_complex",
    "as_pairs",
    "explain",
    "explain_variant",
    "linear_recurrence",
    "presence",
    "rows",
    "run",
    "run_variant",
    "serves",
    "step",
    "stepper_for",
    "threads_for",
    "use",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        # Kept, as a step asks for some of these each time, and a compiler that traces it does too.
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
