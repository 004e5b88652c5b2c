"""Outputs that know the future: what changes before the step at which the input changes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.hooks import Passed, hooked, tensors_in, where_it_begins
from throughtime.inspect.lint.probing import SAME_SHAPE, Probe, Refused
from throughtime.recurrent import Recurrent

_MEND = (
    "read the past alone: bidirectional=False, padding by kernel_size - 1 on the left only, no "
    "mean or norm over time, `is_causal=True` with a mask in attention"
)


def find_future(probe: Probe) -> list[Finding]:
    """Find outputs at a step that depend on later steps.

    Raises:
        Refused: when that can't be told.
    """
    steps = probe.steps
    if steps is None or steps < 2:
        raise Refused("a batch of one step")
    if not probe.per_step:
        return _in_layers(probe)
    real = probe.real()
    for cut in sorted({steps // 2, steps - 1}):
        late = (torch.arange(steps, device=probe.x.device) >= cut).expand(probe.samples, steps)
        y = probe.outputs(probe.changed(late & real))
        early = (~late & real)[:, : probe.y.shape[1]].cpu()
        change = probe.first_change(y, early)
        if change.figure > probe.tolerance(SAME_SHAPE):
            return [
                Finding(
                    names.NOT_CAUSAL,
                    change.figure,
                    f"changing x from step {cut} on changes the output at step {change.step} "
                    f"(sample {change.sample}) by {change.figure:.2g}",
                    _MEND,
                    _where(probe, probe.changed(late & real), cut),
                )
            ]
    return []


def _in_layers(probe: Probe) -> list[Finding]:
    """Look at the recurrent layers, where the model has one output for a whole sequence."""
    assert probe.steps is not None
    cut = probe.steps // 2
    late = (torch.arange(probe.steps, device=probe.x.device) >= cut).expand(probe.samples, -1)
    x = probe.changed(late & probe.real())
    name = _where(probe, x, cut, recurrent=True)
    if not name:
        if not any(isinstance(each, nn.RNNBase | Recurrent) for each in probe.model.modules()):
            raise Refused("an output without steps, and no recurrent layer inside")
        return []
    return [
        Finding(
            names.NOT_CAUSAL,
            float(cut),
            f"changing x from step {cut} on changes what {name} puts out before step {cut}",
            _MEND,
            name,
        )
    ]


def _where(probe: Probe, x: Tensor, cut: int, *, recurrent: bool = False) -> str:
    """Return the first module that turns the same past into another; empty where unclear."""
    runs = []
    for given in (probe.x, x):
        calls: list[Passed] = []
        with hooked(probe.model, _noting(calls, probe, recurrent=recurrent)):
            probe.run(given)
        runs.append(calls)
    real = probe.real()
    before, after = runs
    return where_it_begins(before, after, lambda a, b: _is_same_before(a, b, cut, real))


def _noting(calls: list[Passed], probe: Probe, *, recurrent: bool) -> Any:
    def note(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        if recurrent and not isinstance(module, nn.RNNBase | Recurrent):
            return
        swap = isinstance(module, nn.RNNBase) and not module.batch_first
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(first, PackedSequence):
            given, named, swap = [_padded(each, probe) for each in given], {}, False
            result = _padded(first, probe)
        inputs = [_timed(each, probe, swap=swap) for each in tensors_in([*given, *named.values()])]
        output = [_timed(each, probe, swap=swap) for each in tensors_in(result)[:1]]
        if output and output[0] is not None and inputs and inputs[0] is not None:
            there = [each for each in inputs if each is not None]
            calls.append(Passed(name, there, output[0]))

    return note


def _padded(value: Any, probe: Probe) -> Any:
    if not isinstance(value, PackedSequence):
        return value
    return pad_packed_sequence(value, batch_first=True, total_length=probe.steps)[0]


def _timed(tensor: Tensor, probe: Probe, *, swap: bool) -> Tensor | None:
    if tensor.dim() < 2:
        return None
    tensor = tensor.transpose(0, 1) if swap else tensor
    return tensor.detach() if tensor.shape[:2] == probe.x.shape[:2] else None


def _is_same_before(before: Tensor, after: Tensor, cut: int, real: Tensor) -> bool:
    kept = real[:, :cut]
    a, b = before[:, :cut][kept], after[:, :cut][kept]
    return torch.allclose(a.double(), b.double(), 1e-4, 1e-6, equal_nan=True)
