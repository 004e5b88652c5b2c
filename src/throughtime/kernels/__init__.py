"""How a recurrence runs fast: the readable reference, the fused kernels, and the choice between.

Nothing here computes what a layer computes; that is in `layers`. A kernel is only ever a faster way
to do what `reference.fold` does, and the laws hold it to that.
"""

from throughtime.kernels.dispatch import explain, explain_variant, run, step, stepper_for
from throughtime.kernels.gated import FEW_FEATURES, Affine, Gated, rows
from throughtime.kernels.linear import as_complex, as_pairs, linear_recurrence
from throughtime.kernels.linear_operators import presence
from throughtime.kernels.recurrence import FusedRecurrence, Recurrence, Variant, VariantRecurrence
from throughtime.kernels.stepper import Stepper
from throughtime.kernels.threads import threads_for
from throughtime.kernels.variant_operators import Noise
from throughtime.kernels.variants import run_variant, serves
from throughtime.kernels.wish import BACKENDS, use

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
