"""Ways of running that must agree: recorded, chunked, stepped, reference, restored from disk.

The measure is `offline`, one forward over everything. What a model must not depend on is in
`invariance`, long runs are in `drift`.
"""

import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from throughtime import kernels
from throughtime import state as states
from throughtime.check.batch import Batch
from throughtime.check.comparison import Comparison, examine
from throughtime.check.report import Item
from throughtime.errors import BundleError
from throughtime.model import SequenceModel
from throughtime.run import Run, digest
from throughtime.state import State

_REFERENCE_STEPS = 64
_CUTTINGS = 3


def offline(model: SequenceModel, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
    """Run one forward over a batch: outputs (B, T, O), which mean nothing beyond the lengths."""
    outputs, end = model(batch.inputs, state, lengths=batch.lengths, resets=batch.resets)
    return outputs, end


def check_offline(model: SequenceModel, batch: Batch) -> Item:
    """Demand finite outputs, the same when asked again after other data."""

    def fill(comparison: Comparison) -> str:
        outputs, end = offline(model, batch)
        # Against zero of themselves: NaN and infinity alone lie infinitely far apart.
        finite = torch.where(outputs.isfinite(), 0.0, torch.nan)
        comparison.outputs(finite, torch.zeros_like(outputs), batch.lengths)
        offline(model, batch.take(torch.arange(len(batch.lengths)).flip(0)))
        again, end_again = offline(model, batch)
        asked = " of the same forward, asked again,"
        comparison.outputs(again, outputs, batch.lengths, what=f"outputs{asked}")
        comparison.state(end_again, end, batch.lengths, how=asked)
        return f"{batch}, one forward"

    return examine("offline", fill)


def check_recorded(run: Run) -> Item:
    """Compare with the outputs and end states that were recorded at training."""

    def fill(comparison: Comparison) -> str:
        parity = run.parity
        lengths = parity["lengths"]
        outputs, end = run.model(parity["inputs"], lengths=lengths)
        how = " from the inputs recorded at training"
        comparison.outputs(outputs, parity["outputs"], lengths, what=f"outputs{how}")
        for name, leaf in zip(states.names(end), states.leaves(end), strict=True):
            comparison.leaf(name, leaf, parity[f"state.{name}"], lengths, how=how)
        if not comparison.passed:
            comparison.finding += (
                ": the weights are not those that were trained, or are run by other maths"
            )
        return f"outputs and end states of {int(lengths.sum())} steps"

    return examine("recorded outputs", fill)


def check_route(run: Run) -> Item:
    """Compare what task and model make of raw data with what they made of it at training."""

    def fill(comparison: Comparison) -> str:
        sample = _under(run.parity, "data.")
        wanted = _under(run.parity, "answer.")
        if not sample or not wanted:
            raise BundleError("expected data.* and answer.* in parity.safetensors, got none")
        got = run.task.answer(run.model, sample)
        if got.keys() != wanted.keys():
            raise BundleError(f"expected to compare {', '.join(got)}, got {', '.join(wanted)}")
        rows = len(next(iter(wanted.values())))
        for name, answer in got.items():
            got_part, wanted_part = _in_one_unit(answer, wanted[name])
            comparison.outputs(
                got_part[None],
                wanted_part[None],
                torch.tensor([rows]),
                what=f"{name} of the data recorded at training",
            )
        described = digest(run.config.task, run.task.vocabulary_json())
        if not torch.equal(described, run.parity["description"]):
            cause = "the scaler, the format, the options or the vocabulary was altered"
            if comparison.passed:
                comparison.fail(f"{cause}, though not where the recorded data show it")
            else:
                comparison.finding += f": {cause}"
        return f"{' and '.join(got)} of {rows} raw steps recorded at training"

    return examine(run.task.route, fill)


def check_chunked(model: SequenceModel, batch: Batch) -> Item:
    """Cut time at random places, chunks of one step among them, and carry the state."""

    def fill(comparison: Comparison) -> str:
        wanted, end = offline(model, batch)
        steps = batch.inputs.shape[1]
        generator = torch.Generator().manual_seed(0)
        count = 0
        for _ in range(_CUTTINGS):
            inner = torch.randint(1, max(steps, 2), (4,), generator=generator).tolist()
            edges = sorted({0, 1, *inner, *(cut + 1 for cut in inner), steps})
            edges = [edge for edge in edges if edge <= steps]
            state: State | None = None
            for start, stop in pairwise(edges):
                part = batch.cut(start, stop)
                outputs, state = offline(model, part, state)
                what = f"outputs of chunk {start} to {stop} with the state carried"
                comparison.outputs(
                    outputs, wanted[:, start:stop], part.lengths, start=start, what=what
                )
                count += 1
            comparison.state(state, end, batch.lengths, how=" after chunks")
        return f"{count} chunks of 1 step and more, state carried"

    return examine("chunked", fill)


def check_stepped(model: SequenceModel, batch: Batch) -> Item:
    """Run step by step, each lane as long as it is."""

    def fill(comparison: Comparison) -> str:
        wanted, end = offline(model, batch)
        state = model.initial_state(len(batch.lengths))
        steps = batch.inputs.shape[1]
        for t in range(steps):
            outputs, after = model.step(batch.inputs[:, t], state, reset=batch.resets[:, t])
            there = t < batch.lengths
            state = states.where(there, after, state)
            comparison.outputs(
                outputs[:, None], wanted[:, t : t + 1], there.long(), start=t, what="step outputs"
            )
        comparison.state(state, end, batch.lengths, how=" after steps")
        return f"{steps} calls of step, state carried"

    return examine("stepped", fill)


def check_reference(model: SequenceModel, batch: Batch) -> Item:
    """Run on the reference backend, the maths step by step in plain tensor operations."""

    def fill(comparison: Comparison) -> str:
        piece = batch.cut(0, _REFERENCE_STEPS)
        wanted, end = offline(model, piece)
        with kernels.use("reference"):
            outputs, state = offline(model, piece)
        how = " on the reference backend"
        comparison.outputs(outputs, wanted, piece.lengths, what=f"outputs{how}")
        comparison.state(state, end, piece.lengths, how=how)
        return f"{piece.inputs.shape[1]} steps, against {model.layers.backend.split(':')[0]}"

    return examine("reference backend", fill)


def check_restored(run: Run, loaded: Run | None, batch: Batch) -> Item:
    """Save the state halfway, load run and state anew, go on: equal to going on, bit for bit.

    Args:
        run: the run.
        loaded: the same run, loaded anew; None where that fails.
        batch: what to run over.
    """

    def fill(comparison: Comparison) -> str:
        if loaded is None:
            raise BundleError(f"expected to load {run.path} anew, could not (see files)")
        half = batch.inputs.shape[1] // 2
        rest = batch.cut(half, batch.inputs.shape[1])
        _, state = _run_aligned(run.model, batch.cut(0, half), None)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.safetensors"
            states.save(state, file, fingerprint=run.fingerprint)
            restored = states.load(
                file, like=loaded.model.initial_state(1), fingerprint=loaded.fingerprint
            )
        how = " read back from its file"
        comparison.state(restored, state, batch.lengths.clamp(max=half), how=how)
        restored = states.tree_map(torch.clone, restored)
        wanted, end = _run_aligned(run.model, rest, state)
        outputs, end_restored = _run_aligned(loaded.model, rest, restored)
        how = " of the restored run"
        comparison.outputs(outputs, wanted, rest.lengths, start=half, what=f"outputs{how}")
        comparison.state(end_restored, end, batch.lengths, how=how)
        return f"run and state loaded anew at step {half}"

    return examine("restored from disk", fill, tolerance=0.0)


def _run_aligned(model: SequenceModel, batch: Batch, state: State | None) -> tuple[Tensor, State]:
    """Run with the weights copied to fresh memory.

    Loaded weights lie where their file left them, and matrix products may round otherwise by where
    in memory their operands begin; equal bits can be asked for only from equal places.
    """
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    how = {"lengths": batch.lengths, "resets": batch.resets}
    outputs, end = functional_call(model, weights, (batch.inputs, state), how)
    return outputs, end


def _under(parity: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in parity.items()
        if name.startswith(prefix)
    }


def _in_one_unit(got: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale both by what was recorded, so that the unit of the data plays no part."""
    if not recorded.is_floating_point():
        return got, recorded
    known = recorded[recorded.isfinite()].double()
    if not known.numel():
        return got, recorded
    center, spread = known.mean(), float(known.std(correction=0)) or 1.0
    return (got - center) / spread, (recorded - center) / spread
