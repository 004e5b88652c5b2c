"""The echo state network's reservoir: a recurrent layer that is drawn and not trained."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from throughtime import state as states
from throughtime.errors import OptionError, StateError
from throughtime.recurrent import Recurrent
from throughtime.state import State


@states.register
class ReservoirState(NamedTuple):
    """State of a reservoir: h (B, H)."""

    h: Tensor


class EchoState(Recurrent):
    r"""A fixed random reservoir, whose echoes of the input a head outside of it learns to read.

    $$h_t = (1 - \alpha) h_{t-1} + \alpha \tanh(W_{in} x_t + W h_{t-1} + b), \quad y_t = h_t$$

    (Jaeger 2001, https://www.ai.rug.nl/minds/uploads/EchoStatesTechRep.pdf; leaking as by Jaeger et
    al. 2007, https://doi.org/10.1016/j.neunet.2007.04.016.) Input weights and b are uniform in
    [-input_scale, input_scale]. W has density H entries a row, at least one, and is scaled to its
    spectral radius. All are buffers, drawn from torch's generator: there is nothing to train.
    O(F H + H^2) a step; the state is H floats.

    In the battery it solves nothing and fails at adding (0.07), copy (0.13), selective copy (0.13),
    recall (0.16), long recall (0.22), parity (0.49), s3 (0.17), counting (0.53), digits (0.45) and
    permuted digits (0.36); it comes to 2.09 nats a character of tiny Shakespeare (`python -m
    benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        spectral_radius: of W: the largest absolute value of its eigenvalues. Inputs of long ago
            fade where it is below 1, usually.
        leak: alpha in (0, 1], how much of a unit is new at a step.
        density: share of the entries of W that are not zero, in (0, 1].
        input_scale: largest input weight.

    Raises:
        OptionError: for a value outside its range.

    Example:
        >>> y, state = EchoState(3, 50)(torch.ones(2, 7, 3))
        >>> y.shape, state.h.shape, list(EchoState(3, 50).parameters())
        (torch.Size([2, 7, 50]), torch.Size([2, 50]), [])
    """

    state_class = ReservoirState
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        density: float = 0.1,
        input_scale: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        for name, value in (("leak", leak), ("density", density)):
            if not 0 < value <= 1:
                raise OptionError(f"expected {name} above 0 and at most 1, got {value}")
        for name, value in (("spectral_radius", spectral_radius), ("input_scale", input_scale)):
            if not 0 < value < float("inf"):
                raise OptionError(f"expected {name} above 0 and finite, got {value}")
        self.hidden_size = hidden_size
        self.spectral_radius = spectral_radius
        self.leak = leak
        self.density = density
        self.input_scale = input_scale
        # Named as torch.nn.RNN's: with a leak of 1 it is one, and what runs an RNN runs this.
        weight = torch.empty(hidden_size, input_size)
        self.register_buffer("weight_ih", weight.uniform_(-input_scale, input_scale))
        bias = torch.empty(hidden_size)
        self.register_buffer("bias_ih", bias.uniform_(-input_scale, input_scale))
        self.register_buffer("weight_hh", _drawn(hidden_size, density, spectral_radius))

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ReservoirState:
        """Return zeros (B, H)."""
        own, size = self.weight_hh, (batch_size, self.hidden_size)
        return ReservoirState(
            torch.zeros(size, device=device or own.device, dtype=dtype or own.dtype)
        )

    @property
    def cell(self) -> str | None:
        """The compiled cell of the same maths, which there is for a leak of 1."""
        return "rnn_tanh" if self.leak == 1 else None

    def update(self, x: Tensor, state: ReservoirState) -> tuple[Tensor, ReservoirState]:
        """One step: x (B, F) to y (B, H)."""
        h = self._advance(functional.linear(x, self.weight_ih, self.bias_ih), state.h)
        return h, ReservoirState(h)

    def fused(self, x: Tensor, state: ReservoirState) -> tuple[Tensor, ReservoirState]:
        """All steps, x (B, T, F) to y (B, T, H): the input's product at once, then the loop."""
        h, outputs = state.h, []
        for entering in functional.linear(x, self.weight_ih, self.bias_ih).unbind(1):
            h = self._advance(entering, h)
            outputs.append(h)
        return torch.stack(outputs, dim=1), ReservoirState(h)

    def extra_repr(self) -> str:
        """Return sizes and options, as `print(layer)` shows them."""
        names = ("spectral_radius", "leak", "density", "input_scale")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{self.input_size}, {self.hidden_size}, {options}"

    def _advance(self, entering: Tensor, h: Tensor) -> Tensor:
        fresh = torch.tanh(entering + functional.linear(h, self.weight_hh)).to(h.dtype)
        return fresh if self.leak == 1 else torch.lerp(h, fresh, self.leak)

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        if state.h.shape[1:] != (self.hidden_size,):
            raise StateError(
                f"expected a state of (B, H) with H = {self.hidden_size} in EchoState, "
                f"got {tuple(state.h.shape)}; make states with initial_state(B)"
            )


def _drawn(size: int, density: float, spectral_radius: float) -> Tensor:
    """Return a sparse matrix (H, H) of a given spectral radius.

    Each row has an entry, so there is a cycle of units, and without one all eigenvalues would be
    zero. No entry is below a half of the largest, so a small matrix is not one of faint cycles.
    """
    entries = max(1, round(density * size))
    columns = torch.rand(size, size).topk(entries, dim=1).indices
    numbers = torch.empty(size, entries).uniform_(-1, 1)
    numbers = torch.sign(numbers) * (0.5 + 0.5 * numbers.abs())
    matrix = torch.zeros(size, size).scatter(1, columns, numbers)
    radius = torch.linalg.eigvals(matrix.double()).abs().max()
    scaled: Tensor = matrix.double() * (spectral_radius / radius)
    return scaled.float()
