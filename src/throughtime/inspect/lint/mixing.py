"""Which samples and steps an output depends on: swapped axes, unbatched input, leaking samples.

One sample is changed, and whatever changes with it is looked at: the outputs of other samples, and
along which axis the input of a recurrent module changes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.hooks import Passed, hooked, tensors_in, where_it_begins
from throughtime.inspect.lint.observing import Seen, observe
from throughtime.inspect.lint.probing import SAME_SHAPE, Change, Probe, Refused
from throughtime.recurrent import Recurrent


class Leak:
    """What changes with one sample.

    Args:
        probe: the model and its batch, already run.

    Attributes:
        moved: which sample was changed.
        other: the largest change of the output of another sample.
        own: the largest change of its own output.
    """

    def __init__(self, probe: Probe) -> None:
        candidates = []
        for sample in dict.fromkeys((0, probe.samples - 1)):
            x = changed_sample(probe, sample)
            y = probe.outputs(x)
            rest = torch.arange(probe.samples) != sample
            candidates.append(
                (
                    probe.first_change(y, rest) if probe.samples > 1 else Change(0.0, 0, None),
                    probe.first_change(y, ~rest),
                    sample,
                    x,
                )
            )
        self.other, self.own, self.moved, self.x = max(candidates, key=lambda each: each[0].figure)

    def text(self) -> str:
        """Say it with its figure."""
        return (
            f"changing sample {self.moved} changes the output of sample {self.other.sample} "
            f"by {self.other.figure:.2g}"
        )


def changed_sample(probe: Probe, sample: int) -> Tensor:
    """Return x in which one sample has other content; what is padding stays so."""
    chosen = torch.arange(probe.samples, device=probe.x.device) == sample
    if probe.steps is None:
        return probe.changed(chosen)
    return probe.changed(chosen[:, None] & probe.real())


def find_unbatched(probe: Probe) -> list[Finding]:
    """Find modules that read the samples of a batch as the steps of one sequence.

    Raises:
        Refused: when the model can't be run on a changed batch.
    """
    if probe.samples < 2:
        return []
    before, after = observe(probe, probe.x), observe(probe, changed_sample(probe, 0))
    found = []
    for seen, then in zip(before, after, strict=False):
        if not (seen.unbatched and then.x.shape == seen.x.shape):
            continue
        # Of its rows one alone is another: they are samples, and not the steps of one.
        rows_are_samples = seen.x.shape[1] == probe.samples and _rows(seen.x, then.x, 1) == [0]
        if rows_are_samples and (_is_recurrent(seen) or _shows(probe)):
            found.append(_unbatched(probe, seen))
    return found[:1]


def _unbatched(probe: Probe, seen: Seen) -> Finding:
    moved = ""
    figure = float(probe.samples)
    if probe.readable:
        leak = Leak(probe)
        if leak.other.figure > probe.tolerance(SAME_SHAPE):
            moved, figure = f": {leak.text()}", leak.other.figure
    return Finding(
        names.UNBATCHED_INPUT,
        figure,
        f"{type(seen.module).__name__} got {tuple(seen.x.shape[1:])} and read its "
        f"{probe.samples} samples as the steps of one sequence{moved}",
        "give it three dimensions, (B, T, F) with batch_first=True: x.unsqueeze(1) where a sample "
        "is one step, x.unsqueeze(-1) where it is a sequence of numbers",
        seen.name,
    )


def find_swapped(probe: Probe) -> list[Finding]:
    """Find modules whose axis of time is the samples.

    Raises:
        Refused: when the model can't be run on a changed batch.
    """
    if probe.steps is None or probe.steps < 2:
        return []
    alone = probe.samples == 1
    x = _changed_step(probe, 0) if alone else changed_sample(probe, 0)
    before, after = observe(probe, probe.x), observe(probe, x)
    for seen, then in zip(before, after, strict=False):
        if seen.unbatched or seen.x.shape != then.x.shape:
            continue
        lanes, steps = _rows(seen.x, then.x, 0), _rows(seen.x, then.x, 1)
        if alone:
            swapped = seen.x.shape[:2] == (probe.steps, 1) and lanes == [0]
        else:
            swapped = seen.x.shape[1] == probe.samples and steps == [0] and len(lanes) > 1
        if swapped and not _is_recurrent(seen) and not _shows(probe):
            continue  # It only says so; what it does with its input is another matter.
        # Attention that reads samples as steps beside a layer that reads steps mixes samples alone.
        beside = not _is_recurrent(seen) and any(
            _reads_steps(other, later) for other, later in zip(before, after, strict=False)
        )
        if swapped and not beside:
            return [_swapped(probe, seen)]
    return []


def _shows(probe: Probe) -> bool:
    """Return whether an output depends on another sample, as far as that can be told."""
    if not probe.readable or probe.samples < 2:
        return True
    return Leak(probe).other.figure > probe.tolerance(SAME_SHAPE)


def _is_recurrent(seen: Seen) -> bool:
    return isinstance(seen.module, nn.RNNBase | nn.RNNCellBase | Recurrent)


def _reads_steps(before: Seen, after: Seen) -> bool:
    """Return whether a call had the changed sample in one lane, along more than one step."""
    if before.unbatched or before.x.shape != after.x.shape:
        return False
    return _rows(before.x, after.x, 0) == [0] and len(_rows(before.x, after.x, 1)) > 1


def _swapped(probe: Probe, seen: Seen) -> Finding:
    kind = type(seen.module).__name__
    text = (
        f"{kind} reads the {probe.samples} samples as steps and the {probe.steps} steps as samples"
    )
    figure = float(probe.samples)
    if probe.readable and probe.samples > 1:
        leak = Leak(probe)
        if leak.other.figure > probe.tolerance(SAME_SHAPE):
            text, figure = f"{text}: {leak.text()}", leak.other.figure
    mend = (
        f"write {kind}(..., batch_first=True), or x.transpose(0, 1) before and after it"
        if hasattr(seen.module, "batch_first")
        else f"go through x[:, t], or give x.transpose(0, 1) to {kind}"
    )
    return Finding(names.BATCH_AND_TIME_SWAPPED, figure, text, mend, seen.name)


def find_leak(probe: Probe) -> list[Finding]:
    """Find outputs that depend on other samples, and say whether these are taken for time.

    Raises:
        Refused: when the model can't be run on a changed batch.
    """
    if probe.samples < 2:
        raise Refused("a batch of one sample")
    if not probe.readable:
        raise Refused(f"an output of {tuple(probe.y.shape)} for {probe.samples} samples")
    leak = Leak(probe)
    if not probe.y.isfinite().any():
        raise Refused("an output that is NaN or infinite throughout")
    if leak.own.figure == leak.other.figure == 0:
        raise Refused("an output that does not change with the input")
    if leak.other.figure <= probe.tolerance(SAME_SHAPE):
        return []
    if _walks_through_samples(probe, leak):
        return [
            Finding(
                names.BATCH_AND_TIME_SWAPPED,
                leak.other.figure,
                f"{leak.text()}, and no step of a sample changes another step of it: samples are "
                "read in order, as if they were time",
                "go through axis 1, as in `for t in range(x.shape[1]): h = cell(x[:, t], h)`, or "
                "transpose x before and after",
            )
        ]
    return [
        Finding(
            names.SAMPLES_LEAK,
            leak.other.figure,
            leak.text(),
            "compute over time or features, never over axis 0: nn.LayerNorm(F) or x.mean(1) for "
            "statistics of the batch, batch_first=True in attention, x.transpose(0, 1) and not "
            "x.reshape to exchange axes",
            _where_it_begins(probe, leak),
        )
    ]


def _walks_through_samples(probe: Probe, leak: Leak) -> bool:
    """Return whether samples are mixed in their order, and steps are not mixed at all."""
    if probe.steps is None or probe.steps < 2:
        return False
    small = probe.tolerance(SAME_SHAPE)
    # A recurrence goes on from one sample to the next, and so on.
    apart = (probe.outputs(leak.x).double() - probe.y.double()).abs().flatten(1).amax(1)
    reached = int((apart > small).sum()) - bool(apart[leak.moved] > small)
    if reached < min(2, probe.samples - 1):
        return False
    last = torch.arange(probe.steps, device=probe.x.device) == probe.steps - 1
    elsewhere = torch.ones(probe.samples, dtype=torch.bool)
    if probe.per_step:
        elsewhere = elsewhere[:, None] & last[-probe.y.shape[1] :].cpu()
    y = probe.outputs(probe.changed((~last).expand(probe.samples, probe.steps)))
    if probe.first_change(y, elsewhere).figure > small:
        return False
    # Statistics over samples do not mind their order.
    order = torch.arange(probe.samples - 1, -1, -1)
    lengths = None if probe.lengths is None else probe.lengths.flip(0)
    try:
        mirrored = probe.outputs(probe.x[order], lengths=lengths)
    except Refused:
        return False
    everywhere = torch.ones(probe.samples, dtype=torch.bool)
    return probe.first_change(mirrored[order], everywhere).figure > small


def _changed_step(probe: Probe, step: int) -> Tensor:
    assert probe.steps is not None
    chosen = torch.arange(probe.steps, device=probe.x.device) == step
    return probe.changed(chosen.expand(probe.samples, probe.steps))


def _rows(before: Tensor, after: Tensor, axis: int) -> list[int]:
    """Return the places on an axis at which two tensors differ."""
    differs = (before != after) & ~(before.isnan() & after.isnan())
    others = [each for each in range(before.dim()) if each != axis]
    return torch.nonzero(differs.any(others)).flatten().tolist()


def _where_it_begins(probe: Probe, leak: Leak) -> str:
    """Return the first module whose output leaks while its inputs do not; empty where unclear."""
    if probe.samples == probe.steps:
        return ""
    before, after = _passed(probe, probe.x), _passed(probe, leak.x)
    return where_it_begins(before, after, lambda a, b: _stays(a, b, leak.moved))


def _passed(probe: Probe, x: Tensor) -> list[Passed]:
    """Return name, inputs and output of each call of a module in which samples come first."""
    calls: list[Passed] = []

    def note(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        output = tensors_in(result)
        inputs = tensors_in([*given, *named.values()])
        if output and all(
            each.dim() and each.shape[0] == probe.samples for each in [*inputs, output[0]]
        ):
            calls.append(Passed(name, [each.detach() for each in inputs], output[0].detach()))

    with hooked(probe.model, note):
        probe.run(x)
    return calls


def _stays(before: Tensor, after: Tensor, moved: int) -> bool:
    """Return whether all samples but one are as they were."""
    if before.shape != after.shape:
        return False
    rest = torch.arange(len(before)) != moved
    return torch.allclose(before[rest].double(), after[rest].double(), 1e-4, 1e-6, equal_nan=True)
