"""What sizes the numbers of a model have: it is run over a stream in float32, layer by layer.

Formats of whole numbers follow from the largest numbers that are seen, with room for larger ones.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.data.windows import Example
from throughtime.errors import ThroughtimeError
from throughtime.recurrent import Recurrent
from throughtime.run import Run

LANES, STEPS = 16, 256
"""How much of the training part is run over: pieces of it, evenly spread."""


class Stream(NamedTuple):
    """What a model is calibrated on.

    Attributes:
        inputs: (B, T, F) float32 or (B, T) int64.
        source: where it is from, for people.
    """

    inputs: Tensor
    source: str


class Watched(NamedTuple):
    """What a layer was seen to do.

    Attributes:
        outputs: (B, T, D).
        leaves: the largest magnitude of each leaf of the state, in order; noise is none.
        inner: the largest magnitude that went into a part of it, where one was asked for.
    """

    outputs: Tensor
    leaves: list[float]
    inner: float


def stream_of(run: Run, data: Any = None) -> Stream:
    """Return what to calibrate a run on.

    Args:
        run: the run.
        data: a path, a frame or `demo:NAME`. When None, the training part of what the run was
            trained on; where that can't be read, what the bundle recorded.
    """
    if data is not None:
        pieces = _pieces(run.task.examples(run.task.read(data), "train"))
        name = _named(data)
        return Stream(pieces, f"{pieces.shape[0]} x {pieces.shape[1]} steps of {name}")
    if run.source:
        try:
            found = run.task.examples(run.task.read(run.source), "train")
        except (ThroughtimeError, OSError):
            pass
        else:
            pieces = _pieces(found)
            name = f"the training part of {_named(run.source)}"
            return Stream(pieces, f"{pieces.shape[0]} x {pieces.shape[1]} steps of {name}")
    inputs, shortest = run.parity["inputs"], int(run.parity["lengths"].min())
    inputs = inputs[:, :shortest]
    shape = f"{inputs.shape[0]} x {inputs.shape[1]} steps"
    return Stream(inputs, f"{shape} recorded at training, since the data can't be read")


@torch.no_grad()
def watch(layer: Recurrent, x: Tensor, inner: nn.Module | None = None) -> Watched:
    """Run a layer over inputs (B, T, F), step by step.

    Args:
        layer: the layer.
        x: the inputs.
        inner: a part of the layer whose input is watched too.
    """
    state = layer.initial_state(len(x))
    outputs, sizes, seen = [], [], [0.0]
    watched = None
    if inner is not None:
        watched = inner.register_forward_pre_hook(
            lambda _, given: seen.append(float(given[0].abs().max()))
        )
    with kernels.use("reference"):
        for t in range(x.shape[1]):
            y, state = layer.step(x[:, t], state)
            outputs.append(y)
            leaves = [leaf for leaf in states.leaves(state) if leaf.is_floating_point()]
            sizes.append(torch.stack([leaf.abs().max() for leaf in leaves]))
    if watched is not None:
        watched.remove()
    return Watched(torch.stack(outputs, dim=1), torch.stack(sizes).amax(0).tolist(), max(seen))


def _named(data: Any) -> str:
    """Return what to call data: a report goes to other machines, where a folder says nothing."""
    if not isinstance(data, str | os.PathLike):
        return "the data given"
    return str(data) if str(data).startswith("demo:") else Path(data).name


def _pieces(examples: Sequence[Example]) -> Tensor:
    """Return (B, T, ...) of pieces of one length, evenly spread over what is given."""
    whole = np.concatenate([example.inputs for example in examples])
    steps = min(STEPS, len(whole))
    lanes = max(1, min(LANES, len(whole) // steps))
    starts = np.linspace(0, len(whole) - steps, lanes).astype(int)
    return torch.from_numpy(np.stack([whole[start : start + steps] for start in starts]))
