"""Mistakes that competent people make in recurrent layers, and the law that each breaks.

A check that names the wrong law sends its reader to the wrong place, so the number counts. Several
numbers stand only where the definitions of the laws leave no choice: a `forward` that sees the
future is no causal layer (7) and is not the fold of its step either (1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import faults_in_corners as corners
import faults_in_forward as forward
import faults_in_update as update
import faults_over_time as over_time

from throughtime.recurrent import Recurrent


@dataclass(frozen=True)
class Fault:
    """A layer with one mistake.

    Attributes:
        name: of the mistake.
        law: number of the law that it breaks, or the numbers where several are broken at once.
        make: builds the layer.
        why: it breaks that law, and what a check must do to notice.
    """

    name: str
    law: int | tuple[int, ...]
    make: Callable[[], Recurrent]
    why: str

    @property
    def laws(self) -> tuple[int, ...]:
        return (self.law,) if isinstance(self.law, int) else self.law


STATEFUL = (1, 2, 6)
"""Something outlives a call: it repeats itself no more, nor are fold and chunks its equal."""

CUT = (1, 2)
"""The call as a whole is not the fold, and a cut makes other calls of it."""

FUTURE = (1, 2, 7)
"""No step sees what comes later, so neither the fold nor a chunk can agree."""

LANES = (4, 5)
"""Another lane's past comes in, and stays in after this lane's reset."""

MUTATED = (3, 6)
"""The input state is written to, so that it can't be held where a step is not there."""

FAULTS = (
    # Law 1: only a comparison of forward with step shows these.
    Fault("hard_tanh", 1, forward.HardTanh, "forward saturates by hardtanh, step by tanh"),
    Fault(
        "gate_order", 1, forward.GatesInAnotherOrder, "step reads (z, r, n), the kernel (r, z, n)"
    ),
    Fault(
        "one_step_gradient", 1, forward.OneStepGradient, "values agree; no gradient through time"
    ),
    Fault("input_is_data", 1, forward.InputIsData, "values agree; no gradient to the input"),
    Fault(
        "constant_start", 1, forward.ConstantStart, "no gradient to the start when state is None"
    ),
    Fault(
        "bias_averaged", 1, forward.BiasGradientAveraged, "one parameter's gradient is T times low"
    ),
    Fault("scaled_in_eval", 1, lambda: forward.ScaledInEval().eval(), "only eval mode differs"),
    Fault("step_no_grad", 1, update.StepWithoutGradient, "step has no gradient at all"),
    Fault(
        "state_one_early",
        CUT,
        forward.StateBeforeTheLastStep,
        "outputs agree; only the end differs",
    ),
    Fault("given_detached", CUT, forward.GivenStateDetached, "no gradient to the state given"),
    Fault("final_detached", CUT, forward.FinalStateDetached, "no gradient through a cut"),
    Fault("one_step_squeezed", CUT, forward.OneStepSqueezed, "y loses its time axis at T = 1 only"),
    Fault("block_scan", CUT, over_time.BlockScan, "wrong from step 17 on, right before"),
    Fault("chunk_progress", CUT, over_time.ChunkProgress, "steps count from the start of the call"),
    Fault(
        "mask_per_call", CUT, over_time.MaskPerCall, "in training each chunk repeats the same mask"
    ),
    Fault(
        "scan_overflow", (1, 8), over_time.OverflowingScan, "not a number after some thirty steps"
    ),
    Fault(
        "blocks_of_lanes", (1, 5), forward.BlocksOfLanes, "lanes from the fifth on start elsewhere"
    ),
    Fault("fast_inference", 1, corners.FastInference, "only calls without gradients differ"),
    Fault("leaves_swapped", CUT, corners.LeavesSwapped, "outputs agree; (h, c) ends as (c, h)"),
    # Law 3: only batches with lengths show these.
    Fault("not_held", 3, forward.NotHeld, "the state runs on through the padding"),
    Fault("held_without_gradient", 3, forward.HeldWithoutGradient, "the hold cuts the graph"),
    Fault("outputs_in_padding", 3, forward.OutputsInPadding, "y is not zero in the padding"),
    Fault("masked_late", 3, forward.MaskedAfterProjection, "NaN in padding: NaN weight gradients"),
    Fault("masked_by_product", 3, forward.MaskedByMultiplication, "NaN in padding times 0 is NaN"),
    Fault("index_minus_one", 3, forward.IndexedFromTheEnd, "length 0 picks the last saved state"),
    Fault("cell_not_held", 3, forward.CellNotHeld, "one of two leaves is held"),
    Fault("trimmed", 3, forward.Trimmed, "y ends at the longest length, not at T"),
    Fault("empty_lane_stepped", 3, forward.EmptyLaneStepped, "length 0 is clamped to 1"),
    Fault(
        "state_left_sorted", (3, 5), forward.StateLeftSorted, "states come back in another order"
    ),
    Fault(
        "packed_from_zeros", (1, 2, 3), forward.PackedFromZeros, "with lengths, forgets the state"
    ),
    Fault("root_of_padding", 3, corners.RootOfPadding, "any padding: NaN weight gradients"),
    Fault("lengths_dropped", (3, 4), corners.LengthsDroppedBesideResets, "only beside resets"),
    Fault("mask_cached", (3, 6), corners.MaskCachedByShape, "the last call's lengths count"),
    # Law 4: only resets show these.
    Fault("reset_to_zeros", 4, forward.ResetToZeros, "the start is learned and not zero"),
    Fault("reset_ignored", 4, forward.ResetIgnored, "forward knows no resets"),
    Fault("reset_late", 4, forward.ResetOneStepLate, "comes before step t + 1"),
    Fault("reset_in_value_only", 4, forward.ResetInValueOnly, "gradients flow across the reset"),
    Fault("reset_to_constant", 4, forward.ResetToConstant, "a reset gives the start no gradient"),
    Fault(
        "reset_by_product", 4, forward.ResetByMultiplication, "NaN before the reset stays after it"
    ),
    Fault("reset_at_the_edge", 4, forward.ResetAtTheEdgeOnly, "only column 0 counts"),
    Fault(
        "restart_zeros", 4, update.RestartsFromZeros, "forward and step agree on the wrong start"
    ),
    Fault("restart_keeps_cell", 4, update.RestartKeepsTheCell, "one of two leaves restarts"),
    Fault("reset_in_padding", (3, 4), forward.ResetInPadding, "a reset beyond the length counts"),
    Fault("reset_at_length", (3, 4), forward.ResetAtTheLength, "one at t = length counts"),
    Fault("reset_for_all", LANES, forward.ResetForAllLanes, "one lane's reset restarts them all"),
    Fault("step_ignores_reset", (1, 4), update.StepIgnoresReset, "forward resets, step does not"),
    Fault("restart_leaks", 4, corners.RestartLeaksGradient, "only a gradient crosses the reset"),
    # Law 5: only another set of lanes shows these.
    Fault("batch_norm", LANES, update.BatchNormalised, "in training lanes share mean and variance"),
    Fault("mean_over_lanes", LANES, update.MeanOverLanes, "dim 0 where the last was meant"),
    Fault("softmax_over_lanes", LANES, update.SoftmaxOverLanes, "dim 0 where the last was meant"),
    Fault("gradient_norm", LANES, update.GradientNormalisedOverLanes, "only gradients mix lanes"),
    Fault("mask_by_place", 5, update.MaskByLaneNumber, "the dropout mask stays when lanes move"),
    Fault("single_lane", (5, 6), update.SingleLaneSqueezed, "y loses its lane axis at B = 1 only"),
    Fault("single_shortcut", 5, corners.SingleLaneShortcut, "B = 1 multiplies by the transpose"),
    Fault("start_per_place", LANES, corners.StartPerPlace, "a lane's start depends on its place"),
    # Law 6: what a state looks like, what a call leaves behind.
    Fault(
        "lanes_on_axis_one", STATEFUL, update.LanesOnAxisOne, "the state's axis 0 is not the lane"
    ),
    Fault(
        "layers_axis", STATEFUL, forward.LayersAxisLeftIn, "forward returns (1, B, H) for (B, H)"
    ),
    Fault("state_in_list", 6, forward.StateInList, "a tuple went in, a list comes out"),
    Fault("state_in_half", (1, 6), forward.StateInHalf, "the state comes back in bfloat16"),
    Fault("double_decay", (3, 6), update.DoubleDecay, "float64 constants turn the state float64"),
    Fault("counter_float", (3, 6), update.CounterBecomesFloat, "int64 goes in, float32 comes out"),
    Fault("counter_in_place", MUTATED, update.CounterInPlace, "adds to the caller's counter"),
    Fault("state_in_place", MUTATED, update.StateInPlace, "scales the caller's state"),
    Fault("input_in_place", 6, forward.InputMaskedInPlace, "zeros the caller's padding"),
    Fault("input_cleaned", 6, forward.InputCleanedInPlace, "the same, unseen by autograd"),
    Fault("attribute_state", STATEFUL, forward.StateKeptInAttribute, "goes on from the last call"),
    Fault("global_dropout", STATEFUL, update.GlobalDropout, "masks come from the global generator"),
    Fault("spectral_norm", STATEFUL, update.SpectrallyNormalised, "each call alters the weight"),
    Fault("buffer_mean", STATEFUL, update.StandardisedByBuffers, "each call alters a buffer"),
    Fault(
        "start_in_one_dtype", (6, 8), update.StartInOneDtype, "float32 states in a float64 layer"
    ),
    Fault("random_start", (1, 4, 6), corners.RandomStart, "no two calls start from the same state"),
    Fault("resets_in_place", 6, corners.ResetsMaskedInPlace, "writes into the caller's resets"),
    Fault("lengths_in_place", 6, corners.LengthsClampedInPlace, "writes into the caller's lengths"),
    Fault(
        "step_in_place", 6, corners.StepWritesStateInInference, "only where no gradient is asked"
    ),
    # Law 7: no layer that streams can see the future and still be the fold of its step.
    Fault("centred_convolution", FUTURE, over_time.CentredConvolution, "sees one step ahead"),
    Fault("mean_over_time", FUTURE, over_time.NormalisedOverTime, "sees the mean of all steps"),
    Fault("read_backwards", FUTURE, over_time.ReadBackwards, "scans from the right"),
    # Law 8: only float64, bfloat16, eval mode or an export shows these.
    Fault("eval_forward_no_grad", (1, 8), forward.NoGradientInEval, "no gradient in eval mode"),
    Fault("eval_update_no_grad", 8, update.UpdateWithoutGradientInEval, "none in step either"),
    Fault("clock_in_float", 8, update.ClockInFloat, "float32 can't count seconds since 1970"),
    Fault("moving_variance", 8, update.MovingVariance, "a difference of squares near 10 000"),
    Fault("root_of_zero", (1, 8), update.RootOfZero, "the start's gradient is not a number"),
    Fault(
        "softplus_by_hand", 8, corners.SoftplusByHand, "infinite in float32 at inputs of hundreds"
    ),
    Fault("lerp_autocast", 8, update.LerpRefusesAutocast, "does not run under autocast"),
    Fault(
        "half_linear_state", (6, 8), over_time.HalfPrecisionState, "bfloat16 state under autocast"
    ),
    Fault("branch_on_values", 8, update.BranchOnValues, "step can't be exported: it asks a tensor"),
    Fault("loop_over_lanes", 8, update.LoopOverLanes, "an exported step keeps its example's batch"),
    Fault("through_numpy", 8, update.ThroughNumPy, "step leaves torch half way"),
    Fault("unregistered", 8, update.StateClassNotRegistered, "an exported step can't be saved"),
)
