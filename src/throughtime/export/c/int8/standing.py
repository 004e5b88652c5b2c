"""An export in the place of the model that it was made of, so that a task can judge it."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from throughtime.model import SequenceModel
from throughtime.state import State


@runtime_checkable
class Steps(Protocol):
    """What runs windows of some lanes: a `Runner` of the gate, or a twin."""

    def begin(self, lanes: int) -> None:
        """Have so many lanes, all before their first step."""

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps, as `Runner.run` says."""


class Standing(SequenceModel):
    """A model whose windows are run by an export, one after the other.

    The states are the export's own business: a state that is given means that the window follows
    the one before.

    Args:
        model: the model that the export was made of.
        runner: the export.
    """

    def __init__(self, model: SequenceModel, runner: Steps) -> None:
        nn.Module.__init__(self)
        self.config = model.config
        self._original = model
        self._runner = runner

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run a window: inputs (B, T, F) or (B, T) to outputs (B, T, O)."""
        lanes, steps = inputs.shape[:2]
        if state is None:
            self._runner.begin(lanes)
        present = torch.ones(lanes, steps, dtype=torch.bool)
        if lengths is not None:
            present = torch.arange(steps) < lengths[:, None]
        if resets is None:
            resets = torch.zeros_like(present)
        return self._runner.run(inputs, present, resets & present), torch.zeros(lanes)
