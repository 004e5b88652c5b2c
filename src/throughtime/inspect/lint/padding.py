"""Padding that changes results: its numbers, how much of it there is, and where summaries are read.

The reference is each sample alone, cut to its own length: there is no padding in that. Which of the
two faults a summary has is seen by putting other numbers into what the last module gives for every
step: a summary that changes with the steps of the padding and not with the real ones is read there.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.hooks import hooked
from throughtime.inspect.lint.probing import OTHER_SHAPE, SAME_SHAPE, Probe, Refused
from throughtime.recurrent import Recurrent

_ALONE = 3
"""How many of the shortest samples are run alone."""
_MEND_PADDING = (
    "give the lengths on: pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False) "
    "around nn.RNN and the like, layer(x, lengths=lengths) for ours, a mask in means and attention"
)
_MEND_READ = (
    "read each sample's last real step: y[torch.arange(len(y)), lengths - 1], or h_n of a packed "
    "sequence"
)


class Effect(NamedTuple):
    """What padding changes: by how much, of which sample, and how that was seen."""

    figure: float
    sample: int
    text: str


def find_padding(probe: Probe) -> tuple[list[Finding], list[str]]:
    """Find results that depend on padding; and say what could not be tried.

    Raises:
        Refused: when there is no padding to look at.
    """
    if probe.steps is None:
        raise Refused("x without steps")
    if probe.lengths is None:
        raise Refused("no lengths were given")
    if not probe.readable:
        raise Refused(f"an output of {tuple(probe.y.shape)} for {probe.samples} samples")
    effects, missed = [], []
    for attempt in (_of_other_numbers, _alone, _of_more):
        try:
            effect = attempt(probe)
        except Refused as error:
            missed.append(str(error))
            continue
        effects.extend([] if effect is None else [effect])
    if not effects:
        return [], missed
    effect = effects[0]
    if not probe.per_step and _is_read_there(probe, effect.sample):
        return [
            Finding(
                names.READ_OUT_OF_PADDING,
                effect.figure,
                f"{effect.text}: it is read at the last column, where the sample has ended",
                _MEND_READ,
            )
        ], missed
    mend = _MEND_PADDING
    return [Finding(names.PADDING_CHANGES_RESULTS, effect.figure, effect.text, mend)], missed


def _of_other_numbers(probe: Probe) -> Effect | None:
    """Put other numbers into the padding; not where the model may know padding by its numbers."""
    padded = ~probe.real()
    if not probe.told or not padded.any():
        return None
    y = probe.outputs(probe.changed(padded))
    change = probe.first_change(y, _places(probe))
    if change.figure <= probe.tolerance(SAME_SHAPE):
        return None
    what = _what(probe, change.step)
    text = f"other numbers in the padding change {what} of sample {change.sample} by "
    return Effect(change.figure, change.sample, f"{text}{change.figure:.2g}")


def _alone(probe: Probe) -> Effect | None:
    """Run the shortest samples alone, cut to their lengths."""
    assert probe.lengths is not None
    lengths = probe.lengths.cpu()
    shortest = [int(i) for i in lengths.argsort(stable=True) if 0 < lengths[i] < probe.x.shape[1]]
    worst: Effect | None = None
    for sample in shortest[:_ALONE]:
        length = int(lengths[sample])
        rows = slice(sample, sample + 1)
        try:
            y = probe.read(
                probe.raw(
                    probe.x[rows, :length],
                    rows=rows,
                    steps=length,
                    lengths=probe.lengths[rows],
                )
            )
        except Refused as error:
            raise Refused(f"the model refused a sample alone ({error})") from error
        before = probe.y[rows, :length] if probe.per_step else probe.y[rows]
        if y.shape != before.shape:
            raise Refused(f"a sample alone had an output of another shape, {tuple(y.shape)}")
        places = torch.ones(y.shape[: 1 + probe.per_step], dtype=torch.bool)
        change = probe.first_change(y, places, before)
        if change.figure > max(probe.tolerance(OTHER_SHAPE), worst.figure if worst else 0.0):
            what = _what(probe, change.step)
            text = f"{what} of sample {sample} differs by {change.figure:.2g} from that of the "
            text += f"sample alone, cut to its {length} steps"
            worst = Effect(change.figure, sample, text)
    return worst


def _of_more(probe: Probe) -> Effect | None:
    """Add columns of padding, of the same kind as is there."""
    assert probe.steps is not None
    if not probe.can_be_longer:
        raise Refused("more padding was not tried: another tensor of the batch has steps, too")
    real = probe.real()
    count = max(3, probe.steps // 4)
    ended = ~real[:, -1]
    last = probe.x[:, -1:]
    # Where no sample shows what padding is like, zeros.
    filling = last[ended][:1] if ended.any() else torch.zeros_like(last[:1])
    shape = [-1, 1, *[1] * (last.dim() - 2)]
    column = torch.where(ended.view(shape), last, filling)
    repeated = column.expand(-1, count, *column.shape[2:])
    try:
        y = probe.read(probe.raw(torch.cat([probe.x, repeated], 1), lengths=probe.lengths))
    except Refused as error:
        raise Refused(f"the model refused a longer batch ({error})") from error
    if probe.per_step and y.shape[1] >= probe.y.shape[1]:
        y = y[:, : probe.y.shape[1]]
    if y.shape != probe.y.shape:
        raise Refused(f"a longer batch had an output of another shape, {tuple(y.shape)}")
    change = probe.first_change(y, _places(probe))
    if change.figure <= probe.tolerance(OTHER_SHAPE):
        return None
    what = _what(probe, change.step)
    text = f"{count} more columns of padding change {what} of sample {change.sample} by "
    return Effect(change.figure, change.sample, f"{text}{change.figure:.2g}")


def _places(probe: Probe) -> Tensor:
    """Return which outputs are to stay as they are: all summaries, or those of real steps."""
    if probe.per_step:
        return probe.real()[:, : probe.y.shape[1]].cpu()
    assert probe.lengths is not None
    return (probe.lengths > 0).cpu()


def _what(probe: Probe, step: int | None) -> str:
    return f"the output at step {step}" if probe.per_step else "the summary"


def _is_read_there(probe: Probe, sample: int) -> bool:
    """Return whether the summary of a sample is read from steps of its padding alone."""
    assert probe.lengths is not None
    length = int(probe.lengths[sample])
    if length >= probe.x.shape[1]:
        return False
    count = _calls_by_step(probe)
    for number in reversed(range(count)):
        padding = _moves(probe, number, sample, slice(length, None))
        real = _moves(probe, number, sample, slice(0, length))
        if padding or real:
            return padding and not real
    # Nothing of what is given for every step is read: a state after the last column, or nothing.
    return _ignores(probe, sample) or _is_last_state(probe) or _fades(probe)


def _by_step(probe: Probe, y: Any) -> Tensor | None:
    """Return a view (B, T, ...) of what a module gives, None where it is not for every step."""
    if not isinstance(y, Tensor) or y.dim() < 3 or not y.is_floating_point():
        return None
    sizes = tuple(probe.x.shape[:2])
    if tuple(y.shape[:2]) == sizes:
        return y
    if tuple(y.shape[1::-1]) == sizes:
        return y.transpose(0, 1)
    # (B, D, T), as convolutions have it.
    return y.transpose(1, -1) if (y.shape[0], y.shape[-1]) == sizes else None


def _first_part(result: Any) -> Any:
    return result[0] if isinstance(result, tuple | list) and result else result


def _calls_by_step(probe: Probe) -> int:
    """Return how many calls of modules inside give something for every step."""
    count = 0

    def note(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        nonlocal count
        count += bool(name) and _by_step(probe, _first_part(result)) is not None

    with hooked(probe.model, note):
        probe.run(probe.x)
    return count


def _moves(probe: Probe, number: int, sample: int, steps: slice) -> bool:
    """Return whether a summary changes with some steps of what one of these calls gives."""
    seen = 0

    def change(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> Any:
        nonlocal seen
        y = _first_part(result)
        if not name or _by_step(probe, y) is None:
            return None
        seen += 1
        if seen - 1 != number:
            return None
        y = y.clone()
        view = _by_step(probe, y)
        assert view is not None
        view[sample, steps] += 1.0 + view[sample, steps].abs()
        if not isinstance(result, tuple | list):
            return y
        rest = [y, *result[1:]]
        return type(result)(*rest) if hasattr(result, "_fields") else type(result)(rest)

    with hooked(probe.model, change):
        try:
            y = probe.outputs(probe.x)
        except Refused:
            return False
    chosen = torch.arange(probe.samples) == sample
    return probe.first_change(y, chosen).figure > probe.tolerance(SAME_SHAPE)


def _ignores(probe: Probe, sample: int) -> bool:
    """Return whether a summary does not change with its sample: what is read there is filling."""
    chosen = (torch.arange(probe.samples, device=probe.x.device) == sample)[:, None] & probe.real()
    try:
        y = probe.outputs(probe.changed(chosen))
    except Refused:
        return False
    own = torch.arange(probe.samples) == sample
    return probe.first_change(y, own).figure <= probe.tolerance(SAME_SHAPE)


def _is_last_state(probe: Probe) -> bool:
    """Return whether the state after all columns, padding too, is what a layer gives last."""
    last: list[bool] = []

    def note(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        if isinstance(module, nn.RNNBase):
            last.append(isinstance(_first_part(result), Tensor) and not module.bidirectional)
        elif isinstance(module, Recurrent):
            last.append(named.get("lengths") is None and module.streamable)
        elif isinstance(module, nn.RNNCellBase):
            last.append(True)

    with hooked(probe.model, note):
        probe.run(probe.x)
    return bool(last) and last[-1]


def _fades(probe: Probe) -> bool:
    """Return whether the last column moves a summary far more than the first of the padding.

    That of the sample with the most padding: a state needs some steps to forget.
    """
    assert probe.lengths is not None
    moved = []
    sample = int(probe.lengths.argmin())
    for step in (int(probe.lengths[sample]), probe.x.shape[1] - 1):
        chosen = torch.zeros(probe.x.shape[:2], dtype=torch.bool)
        chosen[sample, step] = True
        try:
            y = probe.outputs(probe.changed(chosen))
        except Refused:
            return False
        moved.append(probe.first_change(y, torch.arange(probe.samples) == sample).figure)
    return moved[1] > 10 * moved[0]
