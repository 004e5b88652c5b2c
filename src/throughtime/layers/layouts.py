"""How torch.nn lays sequences out, and how a layer wants them: one direction in, one out.

Data is in the order of time first, as in torch's kernels. A layer reads lanes: (B, T, F).
"""

import torch
from torch import Tensor


class Even:
    """Sequences of one length, in torch's order (T, B, F)."""

    lengths: Tensor | None = None

    def lanes(self, data: Tensor, *, backward: bool) -> Tensor:
        """Give (B, T, F), the last step first when backward."""
        return (data.flip(0) if backward else data).transpose(0, 1)

    def steps(self, y: Tensor, *, backward: bool) -> Tensor:
        """Give a layer's output in the order of data again."""
        return (y.flip(1) if backward else y).transpose(0, 1)


class Ragged:
    """Sequences of several lengths, as the rows (N, F) of a PackedSequence.

    Rows are in the order of time, and at each time there is one for every lane that is that long.
    """

    def __init__(self, batch_sizes: Tensor) -> None:
        lanes, steps = int(batch_sizes[0]), len(batch_sizes)
        # Named, because a program's default device may be another.
        device = batch_sizes.device
        lane, time = torch.arange(lanes, device=device)[:, None], torch.arange(steps, device=device)
        there = lane < batch_sizes
        self.lengths: Tensor | None = there.sum(dim=1)
        self._size = (lanes, steps)
        mirror = there.sum(dim=1, keepdim=True) - 1 - time
        row_before = batch_sizes.cumsum(0) - batch_sizes
        self._rows, self._places = [], []
        for order in (time.expand(lanes, steps), mirror):
            # Row 0 stands in for what is not there; the layer does not read it.
            self._rows.append(torch.where(there, row_before[order] + lane, 0).flatten())
            self._places.append((lane * steps + order).t()[there.t()])

    def lanes(self, data: Tensor, *, backward: bool) -> Tensor:
        """Give (B, T, F), padded, each lane's last step first when backward."""
        return data.index_select(0, self._rows[backward]).view(*self._size, -1)

    def steps(self, y: Tensor, *, backward: bool) -> Tensor:
        """Give a layer's output in the order of data again."""
        return y.flatten(0, 1).index_select(0, self._places[backward])
