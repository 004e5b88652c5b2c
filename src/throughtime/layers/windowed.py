"""What layers share that look back over a bounded window: their state is the last rows of it.

The whole sequence is one parallel computation over the rows that are kept and all new ones, and
where a lane ends or restarts is a matter of their indices.
"""

import torch
from torch import Tensor

from throughtime import kernels
from throughtime.errors import StateError
from throughtime.kernels.wish import wish
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Windowed(Recurrent):
    """A layer whose state is the last rows of what it looks at.

    An author writes `parallel` beside `update`, and sets `state_sizes`, the shapes of the state's
    leaves without lanes.
    """

    state_sizes: tuple[tuple[int, ...], ...]

    def parallel(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        """Compute all steps, one or more, at once; y may be anything beyond the lengths."""
        raise TypeError(f"{type(self).__name__} must define parallel(x, state, lengths, resets)")

    def run(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run checked arguments: all steps at once, or the fold of `update` where that is asked."""
        if wish() == "reference" or not x.shape[1]:
            return kernels.run(self, x, state, lengths, resets)
        y, end = self.parallel(x, state, lengths, resets)
        if lengths is not None:
            present = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            y = y.masked_fill(~present[:, :, None], 0)
        return y, end

    @property
    def backend(self) -> str:
        """Which backend would run now, and why."""
        if wish() == "reference":
            return super().backend
        return "torch: all steps at once, in parallel tensor operations"

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        for name, leaf, size in zip(state._fields, state, self.state_sizes, strict=True):
            if leaf.shape[1:] != size:
                raise StateError(
                    f"expected {name} of {size} for each lane in {type(self).__name__}, got "
                    f"{tuple(leaf.shape[1:])}; make states with initial_state(B)"
                )


def segment_begins(resets: Tensor, kept: int) -> Tensor:
    """Return the first row that each step may look at, (B, T) int64, from resets (B, T) bool.

    Rows are those kept, of which the first is 0, and then those of the steps.
    """
    index = torch.arange(kept, kept + resets.shape[1], device=resets.device)
    return torch.where(resets, index, 0).cummax(dim=1).values


def latest(rows: Tensor, kept: int, lengths: Tensor | None, begins: Tensor | None) -> Tensor:
    """Return the rows (B, kept, N) that a state keeps after the last step, of (B, kept + T, N).

    Those before the last step's own segment, which `begins` says, come out as zeros.
    """
    steps = rows.shape[1] - kept
    if lengths is None and begins is None:
        # A copy, so that a state does not keep a whole sequence alive.
        return rows[:, steps:].clone()
    index = torch.arange(kept, device=rows.device).expand(len(rows), kept)
    index = index + (steps if lengths is None else lengths[:, None])
    found = rows.gather(1, index[:, :, None].expand(-1, -1, rows.shape[2]))
    return found if begins is None else found.masked_fill((index < begins[:, -1:])[..., None], 0)
