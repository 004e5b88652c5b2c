"""What float32 itself can't do: a run's own distance from the same model in float64.

Where a model enlarges rounding (its state is chaotic), no two ways of running it in float32 agree
for long. An export of it is then held to float64, and no tighter than torch's float32 is.
"""

import copy

import torch
from torch import Tensor

from throughtime import kernels
from throughtime.check.comparison import TOLERANCE, Comparison, difference
from throughtime.model import SequenceModel
from throughtime.run import Run
from throughtime.state import State

_MARGIN = 20.0
"""How many times as far from float64 as torch's float32 an export may be: where a state is chaotic,
which of the two parts from it first is chance."""


class Rounding:
    """Asks float64 where an export and a run part.

    Args:
        run: the run.

    Attributes:
        largest: how far torch's float32 was from float64, None where float64 was not asked.
    """

    def __init__(self, run: Run) -> None:
        self.largest: float | None = None
        self._run = run
        self._model: SequenceModel | None = None

    def exact(
        self,
        inputs: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run the model in float64: outputs (B, T, O) and end state."""
        if self._model is None:
            self._model = copy.deepcopy(self._run.model).double()
        given = inputs.double() if inputs.is_floating_point() else inputs
        with kernels.use("reference"):
            outputs, end = self._model(given, state, lengths=lengths, resets=resets)
        return outputs, end

    def judge(
        self,
        comparison: Comparison,
        outputs: tuple[Tensor, Tensor, Tensor],
        lengths: Tensor,
        start: int,
        what: str,
    ) -> None:
        """Hold an export to float64, with the allowance of what float32 lost so far.

        Args:
            comparison: keeps what is found.
            outputs: (B, T, O) of the export, of the run, and in float64.
            lengths: (B,), steps that count.
            start: number of the first step.
            what: what is compared.
        """
        got, wanted, exact = outputs
        there = torch.arange(got.shape[1]) < lengths[:, None]
        lost = torch.where(there, difference(wanted, exact).flatten(2).amax(2), 0)
        self.largest = max(self.largest or 0.0, float(lost.max()))
        apart = torch.where(there[:, :, None], difference(got, exact), 0)
        judged = torch.where(apart <= _MARGIN * self.largest, exact, got.double())
        comparison.outputs(judged, exact, lengths, start=start, what=what)
        comparison.largest = max(comparison.largest or 0.0, float(apart.max()))

    @property
    def note(self) -> str:
        """What must be known about a verdict; empty where float64 was not asked."""
        if self.largest is None:
            return ""
        return (
            f"this model enlarges rounding: torch's own float32 lies up to {self.largest:.1e} from "
            "float64, so the export was held to float64"
        )


def close(got: Tensor, wanted: Tensor, lengths: Tensor) -> bool:
    """Tell whether outputs (B, T, O) lie within the tolerance, up to the lengths (B,)."""
    there = torch.arange(got.shape[1]) < lengths[:, None]
    far = difference(got, wanted).flatten(2).amax(2) > TOLERANCE
    return not bool((far & there).any())
