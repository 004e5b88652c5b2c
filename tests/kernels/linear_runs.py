"""Linear recurrences to run, everything that a run computes, and little layers made of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from throughtime.kernels import linear_recurrence
from throughtime.kernels.linear import as_complex, as_pairs, run_linear
from throughtime.recurrent import LinearRecurrent

KINDS = (torch.float32, torch.complex64)
WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


class Case(NamedTuple):
    """Arguments of a linear recurrence."""

    a: Tensor
    b: Tensor
    state: Tensor
    restart: Tensor
    lengths: Tensor | None
    resets: Tensor | None

    def wide(self) -> "Case":
        """The same in float64 or complex128."""
        return Case(*(each.to(WIDE[each.dtype]) for each in self[:4]), *self[4:])


def make_case(
    dtype: torch.dtype,
    lanes: int,
    steps: int,
    size: int,
    *,
    lengths: str | None = None,
    resets: str | None = None,
    seed: int = 0,
) -> Case:
    """Draw a case. `lengths`: some, or none of the steps; `resets`: some, first, or all of them."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=draw, dtype=dtype)

    # Within the unit circle, as those of a layer that can be trained.
    a = normal(lanes, steps, size)
    a = a / (0.2 + a.abs())
    a = a / a.abs().clamp(min=1)
    flags = torch.rand(lanes, steps, generator=draw)
    flags = flags < {None: 0.0, "some": 0.3, "first": 0.0, "all": 1.0}[resets]
    if resets == "first":
        flags[:, :1] = True
    most = {None: steps, "some": steps, "none": 0}[lengths]
    counts = torch.randint(0, most + 1, (lanes,), generator=draw)
    return Case(
        a,
        normal(lanes, steps, size),
        normal(lanes, size),
        normal(lanes, size),
        None if lengths is None else counts,
        None if resets is None else flags,
    )


SIZES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(KINDS),
        "lanes": st.sampled_from([1, 2, 3, 5, 0]),
        "steps": st.sampled_from([1, 2, 3, 7, 0, 20]),
        "size": st.sampled_from([1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 100, 130, 0]),
        "lengths": st.sampled_from([None, "some", "none"]),
        "resets": st.sampled_from([None, "some", "first", "all"]),
        "seed": st.integers(0, 9999),
    }
)
"""Any arguments of a small `make_case`: sizes around those of vectors and blocks of a row."""


def run(case: Case) -> tuple[Tensor, Tensor]:
    """Call the public function."""
    a, b, state, restart, lengths, resets = case
    return linear_recurrence(a, b, state, restart=restart, lengths=lengths, resets=resets)


def weighted(result: Tensor, place: int = 0, first_step: int = 0) -> Tensor:
    """A sum of h (B, T, N) from a step on, or of end (B, N), in which each number of a lane counts.

    Lanes weigh the same and steps do not, so that a part of a sequence weighs as in the whole.
    """
    result = as_real(result)
    turns = torch.arange(math.prod(result.shape[1:]), dtype=torch.float64)
    turns += first_step * math.prod(result.shape[2:])
    weights = torch.cos(1.3 * turns + place).view(result.shape[1:])
    return (result * weights.to(result.dtype)).sum()


def loss_of(results: tuple[Tensor, ...]) -> Tensor:
    """The weighted sum of all results."""
    return sum(weighted(result, place) for place, result in enumerate(results))


def with_gradients(case: Case) -> dict[str, Tensor]:
    """Everything that a run computes, by name and in real numbers: outputs, then gradients."""
    case = Case(*(each.detach().clone().requires_grad_() for each in case[:4]), *case[4:])
    results = run(case)
    gradients = torch.autograd.grad(
        loss_of(results), case[:4], allow_unused=True, materialize_grads=True
    )
    names = ("h", "end", "d a", "d b", "d state", "d restart")
    return {
        name: as_real(each.detach())
        for name, each in zip(names, (*results, *gradients), strict=True)
    }


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill all new memory by NaN inside the block, so that what is not written shows."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def as_real(tensor: Tensor) -> Tensor:
    """Real numbers as they are, complex ones as pairs on one more axis."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


class Gated(LinearRecurrent):
    """A recurrence whose gates the input sets, from a learned state."""

    def __init__(self, *, learned: bool = False) -> None:
        super().__init__(3, 2, 5)
        self.gate, self.drive, self.read = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)
        self.start = nn.Parameter(torch.tensor([0.5, -0.5, 1.0, 0.2, -2.0])) if learned else None

    def initial_state(self, batch_size, *, device=None, dtype=None):
        zeros = super().initial_state(batch_size, device=device, dtype=dtype)
        return zeros if self.start is None else zeros + self.start.to(zeros.dtype)

    def coefficients(self, x):
        return torch.sigmoid(self.gate(x)), self.drive(x)

    def read_out(self, h, x):
        return self.read(h.to(self.read.weight.dtype))

    def run(self, x, state, lengths, resets):
        return run_linear(self, x, state, lengths, resets)


class Rotating(Gated):
    """A recurrence of complex numbers, the same factors at all steps, kept as pairs."""

    def __init__(self) -> None:
        LinearRecurrent.__init__(self, 3, 2, 8)
        self.start = None
        self.decay, self.angle = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.drive, self.read = nn.Linear(3, 8), nn.Linear(8, 2)

    def coefficients(self, x):
        driven = self.drive(x)
        a = torch.polar(torch.exp(-self.decay), 3 * self.angle)
        return a, as_complex(driven.to(torch.promote_types(driven.dtype, torch.float32)))

    def read_out(self, h, x):
        return self.read(as_pairs(h).to(self.read.weight.dtype))

    def update(self, x, state):
        a, b = self.coefficients(x)
        h = a * as_complex(state) + b
        return self.read_out(h, x), as_pairs(h)
