"""The calls of recurrent layers inside any model, whatever it is made of."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime import state as states
from throughtime.layers import Regularised, from_torch
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Call(NamedTuple):
    """What a layer was given and gave. Shape letters: B lanes, T steps, F features, D outputs.

    Attributes:
        layer: what was called; of a torch.nn module, the layer of the same weights.
        x: (B, T, F).
        state: before step 0.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None.
        y: (B, T, D).
        end: the state after the last step.
    """

    layer: Recurrent
    x: Tensor
    state: State
    lengths: Tensor | None
    resets: Tensor | None
    y: Tensor
    end: State


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, list[Call]]]:
    """Note every call of a recurrent layer over whole sequences while the block runs.

    Layers made of layers are looked into. `nn.RNN`, `nn.LSTM` and `nn.GRU` are seen as the layers
    that they are to `from_torch`.

    Args:
        model: any module.

    Yields:
        The calls of each layer by its name in the model, in order; it fills as the model runs.
    """
    calls: dict[str, list[Call]] = {}
    with ExitStack() as undo:
        for name, module in model.named_modules():
            if isinstance(module, nn.RNNBase):
                hook = partial(_note_of_torch, calls, name)
                undo.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            elif isinstance(module, Recurrent) and not _is_made_of_layers(module):
                # Layers made of layers call `run`, and so does `forward`.
                vars(module)["run"] = partial(_run_noted, calls, name, module)
                undo.callback(vars(module).pop, "run")
        yield calls


def _is_made_of_layers(module: nn.Module) -> bool:
    if isinstance(module, Regularised):
        # Between its gates there is noise, so it calls no layer.
        return False
    inner = (part for part in module.modules() if part is not module)
    return any(isinstance(part, Recurrent) for part in inner)


def _run_noted(
    calls: dict[str, list[Call]],
    name: str,
    layer: Recurrent,
    x: Tensor,
    state: State,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, State]:
    y, end = type(layer).run(layer, x, state, lengths, resets)
    call = Call(layer, x.detach(), states.detach(state), lengths, resets, y.detach(), end)
    calls.setdefault(name, []).append(call._replace(end=states.detach(end)))
    return y, end


def _note_of_torch(
    calls: dict[str, list[Call]],
    name: str,
    module: nn.RNNBase,
    given: tuple[Any, ...],
    named: dict[str, Any],
    result: tuple[Any, Any],
) -> None:
    x = given[0] if given else named["input"]
    hx = given[1] if len(given) > 1 else named.get("hx")
    lengths = None
    if isinstance(x, PackedSequence):
        x, lengths = pad_packed_sequence(x, batch_first=True)
    else:
        if x.dim() == 2:
            x = x.unsqueeze(0 if module.batch_first else 1)
            if hx is not None:
                hx = tuple(h.unsqueeze(1) for h in hx) if isinstance(hx, tuple) else hx.unsqueeze(1)
        if not module.batch_first:
            x = x.transpose(0, 1)
    layer = from_torch(module)
    with torch.no_grad():
        state = layer.initial_state(len(x))
        if hx is not None:
            # A row for each layer and direction, and in it a leaf for h and one for c.
            rows = torch.stack(hx if isinstance(hx, tuple) else (hx,), 1).detach()
            parts = iter(rows.flatten(0, 1))
            state = states.tree_map(lambda leaf: next(parts, leaf), state)
        # The same numbers as the module's: their layouts apart.
        with watched(layer) as inner:
            layer.eval()(x.detach(), state, lengths=lengths)
    for part, found in inner.items():
        calls.setdefault(".".join(filter(None, (name, part))), []).extend(found)
