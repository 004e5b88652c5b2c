"""What layers with a matrix for a memory share: heads, masks, decays, and the loop over chunks.

Such a layer is a linear recurrence whose state is a matrix for each head. Step by step it is cheap
to say and slow to run; over a chunk of C steps the same maths is a few masked matrix products, and
only the memory at the chunk's border is carried on. The maths of each layer is in its own file.

Shape letters beside the usual: C steps of a chunk, h heads, d = H / h units of a head.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from throughtime.errors import OptionError, StateError
from throughtime.kernels.wish import wish
from throughtime.layers import gates
from throughtime.recurrent import Recurrent
from throughtime.state import State

Memory = tuple[Tensor, ...]
"""The leaves of a state that chunks carry on, lanes first."""

Sizes = tuple[tuple[int, ...], ...]
"""The shapes of a state's leaves, without their lanes."""

_SHORTEST, _LEAST_SQUARE = 1e-6, 1e-5
"""What is added to squares before they are divided by, so that rounding is not blown up."""


class Window(NamedTuple):
    """What the steps of a chunk see of each other; 1 in place of B where all lanes are alike.

    Attributes:
        pairs: (B, 1, C, C) bool: what step s wrote is still there after step t.
        carried: (B, 1, C) bool: so is the memory from before the chunk.
    """

    pairs: Tensor
    carried: Tensor


class MatrixRecurrent(Recurrent):
    """A layer whose heads each write to and read from a matrix, run in chunks of steps.

    An author writes `sizes`, `inputs`, `write`, `write_chunk` and `read_out`. A step that is not
    there has a log decay of zero and is in nobody's `pairs`; a reset cuts `pairs` and `carried`.

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: h, a divisor of H.

    Raises:
        OptionError: when heads do not divide H.
    """

    chunk: ClassVar[int] = 32

    def __init__(self, input_size: int, hidden_size: int, heads: int) -> None:
        super().__init__(input_size, hidden_size)
        self.hidden_size = hidden_size
        self.heads = heads
        self.head_size = size_of_head(hidden_size, heads)

    def sizes(self) -> Sizes:
        """Return the shapes of the state's leaves, without their lanes."""
        raise TypeError(f"{type(self).__name__} must define sizes()")

    def inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what the memory takes, (..., h, n) each, in float32 at least; log decays first."""
        raise TypeError(f"{type(self).__name__} must define inputs(x)")

    def write(self, inputs: tuple[Tensor, ...], memory: Memory) -> tuple[Tensor, Memory]:
        """Take one step: inputs (B, h, n) and the memory to what is read (B, h, d) and the next."""
        raise TypeError(f"{type(self).__name__} must define write(inputs, memory)")

    def write_chunk(
        self, inputs: tuple[Tensor, ...], memory: Memory, window: Window
    ) -> tuple[Tensor, Memory]:
        """Take C steps: inputs (B, h, C, n) and the memory to (B, h, C, d) and the next."""
        raise TypeError(f"{type(self).__name__} must define write_chunk(inputs, memory, window)")

    def read_out(self, read: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from what the heads have read (..., h, d) and x (..., F)."""
        raise TypeError(f"{type(self).__name__} must define read_out(read, x)")

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """Return zeros, in float32 at least."""
        own = next(self.parameters())
        wanted = torch.promote_types(dtype or own.dtype, torch.float32)
        zeros = torch.zeros(batch_size, device=device or own.device, dtype=wanted)
        return self._state(tuple(zeros.new_zeros(batch_size, *size) for size in self.sizes()))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, F) to y (B, D)."""
        read, memory = self.write(self.inputs(x), state)
        return self.read_out(read, x), self._state(memory)

    def run(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run in chunks, or step by step where the reference is asked for."""
        if wish() == "reference" or not x.shape[1]:
            return super().run(x, state, lengths, resets)
        y, memory = self.run_chunks(x, state, lengths, resets)
        return y, self._state(memory)

    def run_chunks(
        self, x: Tensor, memory: Memory, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Run over x (B, T, F) with T of 1 or more; arguments otherwise as of `run`."""
        steps, size = x.shape[1], self.chunk
        present = None
        if lengths is not None:
            present = torch.arange(steps, device=x.device) < lengths[:, None]
            resets = None if resets is None else resets & present
        inputs, memory, lost = _without_the_lost(self.inputs(x), memory, present, resets)
        parts = [torch.split(each.transpose(1, 2), size, dim=2) for each in inputs]
        flags = [None if f is None else torch.split(f, size, dim=1) for f in (present, resets)]
        reads = []
        # Under autocast, products would round the memory to bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            for place, part in enumerate(zip(*parts, strict=True)):
                there, fresh = (None if flag is None else flag[place] for flag in flags)
                window = _window(part[0], there, fresh)
                read, memory = self.write_chunk(part, memory, window)
                reads.append(read)
        y = self.read_out(torch.cat(reads, dim=2).transpose(1, 2), x)
        y = y.masked_fill(lost[:, :, None], torch.nan)
        if present is not None:
            y = y.masked_fill(~present[:, :, None], 0)
        gone = lost[:, -1]
        return y, tuple(leaf.masked_fill(_lanes_like(gone, leaf), torch.nan) for leaf in memory)

    @property
    def backend(self) -> str:
        """Which backend would run now, and why."""
        if wish() == "reference":
            return super().backend
        return f"torch: matrix products over chunks of {self.chunk} steps"

    def extra_repr(self) -> str:
        """Return the sizes, as `print(layer)` shows them."""
        return f"{self.input_size}, {self.hidden_size}, heads={self.heads}"

    def _state(self, memory: Memory) -> State:
        assert self.state_class is not None
        return self.state_class(*memory)

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        check_sizes(self, state, self.sizes())


def check_sizes(layer: Recurrent, state: State, wanted: Sizes) -> None:
    """Refuse a state whose leaves have other sizes, without their lanes, than they should."""
    got = tuple(tuple(leaf.shape[1:]) for leaf in state)
    if got != wanted:
        raise StateError(
            f"expected a state with leaves (B, ...) of {wanted} in {type(layer).__name__}, got "
            f"{got}; make states with initial_state(B)"
        )


def size_of_head(hidden_size: int, heads: int) -> int:
    """Return d = H / h.

    Raises:
        OptionError: when heads do not divide hidden_size.
    """
    if heads < 1 or hidden_size % heads:
        divisors = [count for count in range(1, hidden_size + 1) if hidden_size % count == 0]
        nearest = min(divisors, key=lambda count: abs(count - heads))
        raise OptionError(
            f"expected heads that divide hidden_size = {hidden_size}, got {heads}; "
            f"the nearest is {nearest}"
        )
    return hidden_size // heads


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (..., h, n) in float32 at least, from (..., h n)."""
    return gates.precise(x).reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def unit(x: Tensor) -> Tensor:
    """Return x with its last axis scaled to length one; zeros stay zeros, with a gradient."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + _SHORTEST)


def normalised(read: Tensor) -> Tensor:
    """Return what each head has read with a mean square of one."""
    return read * torch.rsqrt(read.square().mean(-1, keepdim=True) + _LEAST_SQUARE)


def log_between(log_decay: Tensor) -> Tensor:
    """Return the log of what is left after step t of what s wrote, (B, h, C, C) from (B, h, C).

    Summed for each pair: a difference of two running sums would lose the digits of small decays
    that come after large ones. Pairs with s > t come out as 0 and are for the caller to mask.
    """
    steps = log_decay.shape[-1]
    later = torch.ones(steps, steps, dtype=torch.bool, device=log_decay.device).tril(-1)
    each = torch.where(later, log_decay[..., None], torch.zeros_like(log_decay[..., None]))
    return each.cumsum(-2)


def _window(log_decay: Tensor, present: Tensor | None, resets: Tensor | None) -> Window:
    """Return the masks of a chunk, from its log decays (B, h, C, n) and flags (B, C)."""
    steps = log_decay.shape[2]
    pairs = torch.ones(1, 1, steps, steps, dtype=torch.bool, device=log_decay.device).tril()
    carried = pairs[..., -1, :]
    if resets is not None:
        segment = resets.cumsum(1)[:, None]
        pairs = pairs & (segment[..., :, None] == segment[..., None, :])
        carried = segment == 0
    if present is not None:
        pairs = pairs & present[:, None, None, :]
    return Window(pairs, carried)


def _without_the_lost(
    inputs: tuple[Tensor, ...], memory: Memory, present: Tensor | None, resets: Tensor | None
) -> tuple[tuple[Tensor, ...], Memory, Tensor]:
    """Set aside what no mask can: zero times NaN is NaN, in a product over a whole chunk.

    Steps with NaN in them, or with numbers whose products leave the range of floats, become steps
    of zeros; and where the fold would have NaN from them on, up to a reset, `lost` (B, T) is True.
    """
    largest = 1e-3 * torch.finfo(inputs[0].dtype).max ** 0.5
    fine = torch.stack([(each.abs() < largest).flatten(2).all(-1) for each in inputs]).all(0)
    whole = torch.stack([leaf.isfinite().flatten(1).all(-1) for leaf in memory]).all(0)
    memory = tuple(leaf.masked_fill(~_lanes_like(whole, leaf), 0) for leaf in memory)
    clean = [each.masked_fill(~fine[:, :, None, None], 0) for each in inputs]
    if present is not None:
        clean[0] = clean[0].masked_fill(~present[:, :, None, None], 0)
    place = torch.arange(1, fine.shape[1] + 1, device=fine.device).expand_as(fine)
    # The latest lost place (the memory's is 0), and the latest reset.
    lost = torch.cat([whole.long().neg()[:, None], place.masked_fill(fine, -1)], dim=1)
    fault = lost.cummax(1).values[:, 1:]
    start = torch.zeros_like(fault) if resets is None else (place * resets).cummax(1).values
    return tuple(clean), memory, fault >= start


def _lanes_like(flags: Tensor, leaf: Tensor) -> Tensor:
    return flags.view(-1, *[1] * (leaf.dim() - 1))
