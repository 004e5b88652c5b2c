"""One key of a forecasting stream of a torch run: its steps, and how many of them are packed.

What a row does to its key is in `forecast_rows`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from throughtime.errors import BundleError
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.stream import cells
from throughtime.stream.forecast_rows import ForecastLane, ForecastRows
from throughtime.tasks.forecast import ForecastTask


class ForecastReader(ForecastRows):
    """Reads rows of a forecasting run.

    Args:
        task: the run's task.
        model: the run's model.
    """

    def __init__(self, task: ForecastTask, model: SequenceModel) -> None:
        super().__init__(task.features, task.options.levels)
        self.task = task
        self.model = model
        self._reset = torch.ones(1, dtype=torch.bool)
        self._device = next(model.parameters()).device

    def begin(self) -> State:
        """Return the state before a first step, of one lane."""
        return self.model.initial_state(1, device=self._device)

    def advance(
        self, features: np.ndarray, state: State, *, reset: bool
    ) -> tuple[np.ndarray, State]:
        """Take one step."""
        inputs = torch.from_numpy(features)[None].to(self._device)
        outputs, state = self.model.step(inputs, state, reset=self._reset if reset else None)
        return self._scaled(outputs, inputs), state

    def pack(self, lanes: Sequence[ForecastLane]) -> dict[str, Tensor]:
        """Return what lanes remember, beside their states, as tensors (K, ...)."""
        count, width = len(lanes), 1 + len(self.format.covariates)
        held = np.array([lane.held for lane in lanes], dtype=np.float64)
        made = np.array([lane.made for lane in lanes], dtype=np.float64)
        return {
            "time": torch.tensor([lane.time for lane in lanes], dtype=torch.int64),
            "held": torch.from_numpy(held.reshape(count, width)),
            "made": torch.from_numpy(made.reshape(count, self.horizon, 3)),
            "told": torch.tensor([lane.told for lane in lanes], dtype=torch.bool),
        }

    def unpack(self, packed: Mapping[str, Tensor], each: Sequence[State]) -> list[ForecastLane]:
        """Return the lanes that `pack` packed, with their states.

        Raises:
            BundleError: a time is none that a row can have.
        """
        times = packed["time"].tolist()
        if wrong := [time for time in times if not cells.in_range(time, self.format)]:
            raise BundleError(
                f"expected times of {self.format.time!r} in a saved stream, got {wrong[0]}"
            )
        held, made = packed["held"].numpy(), packed["made"].numpy()
        told = packed["told"].tolist()
        return [
            ForecastLane(time, held[i].copy(), state, made[i].copy(), told[i])
            for i, (time, state) in enumerate(zip(times, each, strict=True))
        ]

    def _scaled(self, outputs: Tensor, inputs: Tensor) -> np.ndarray:
        scaled: np.ndarray = self.task.scaled_quantiles(outputs, inputs)[0].double().cpu().numpy()
        return scaled
