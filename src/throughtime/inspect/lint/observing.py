"""The calls of recurrent modules in a run: what each was given, with samples on axis 0.

Seen are `nn.RNN`, `nn.LSTM`, `nn.GRU` and their cells, our layers, and whatever else has
`batch_first`, such as attention. `throughtime.inspect.watch` notes calls to compute with; here they
are noted as they are, wrong ones too. Shape letters: L lanes, S steps, as the module reads them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime.inspect.lint.hooks import hooked
from throughtime.inspect.lint.probing import Probe
from throughtime.recurrent import Recurrent


class Seen(NamedTuple):
    """One call.

    Attributes:
        name: of the module in the model.
        module: what was called.
        x: (L, S, F) as the module reads it.
        lengths: (L,) of packed or masked steps, or None.
        unbatched: whether a two-dimensional input was read as one sequence.
    """

    name: str
    module: nn.Module
    x: Tensor
    lengths: Tensor | None
    unbatched: bool


@contextmanager
def observed(model: nn.Module) -> Iterator[list[Seen]]:
    """Note the calls of sequence modules while the block runs; cells once for each loop."""
    calls: list[Seen] = []
    loops: dict[str, list[Tensor]] = {}

    def note(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        x = given[0] if given else named.get("input", named.get("x", named.get("query")))
        if isinstance(module, nn.RNNCellBase):
            if isinstance(x, Tensor):
                loops.setdefault(name, []).append(x.detach())
        elif isinstance(module, Recurrent) or hasattr(module, "batch_first"):
            seen = _seen(name, module, x, named)
            calls.extend([] if seen is None else [seen])

    with hooked(model, note):
        yield calls
    modules = dict(model.named_modules())
    for name, inputs in loops.items():
        rows = [each for each in inputs if each.dim() == 2 and each.shape == inputs[0].shape]
        if rows:
            calls.append(Seen(name, modules[name], torch.stack(rows, 1), None, False))


def observe(probe: Probe, x: Tensor) -> list[Seen]:
    """Return the calls of a run on x.

    Raises:
        Refused: when the model raises an error.
    """
    with observed(probe.model) as calls:
        probe.run(x)
    return calls


def _seen(name: str, module: nn.Module, x: Any, named: Any) -> Seen | None:
    if isinstance(x, PackedSequence):
        padded, counts = pad_packed_sequence(x, batch_first=True)
        return Seen(name, module, padded.detach(), counts, False)
    if not isinstance(x, Tensor) or x.is_nested or not x.is_floating_point():
        return None
    x = x.detach()
    if isinstance(module, Recurrent):
        return Seen(name, module, x, named.get("lengths"), False) if x.dim() == 3 else None
    if x.dim() == 2:
        return Seen(name, module, x[None], None, True)
    if x.dim() != 3:
        return None
    return Seen(name, module, x if module.batch_first else x.transpose(0, 1), None, False)
