"""The linear recurrent unit: complex eigenvalues on a ring."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers import complex_states
from throughtime.recurrent import LinearRecurrent


class LRU(LinearRecurrent):
    r"""A linear recurrence with one complex eigenvalue for each pair of state elements.

    $$h_t = \lambda \odot h_{t-1} + \gamma \odot B x_t, \quad y_t = \mathrm{Re}(C h_t) + D x_t$$
    $$\lambda = \exp(-\exp(\nu) + i \exp(\theta)), \quad \gamma = \sqrt{1 - |\lambda|^2}$$

    (Orvieto et al. 2023, https://arxiv.org/abs/2303.06349, with a matrix D since F may differ from
    D.) The eigenvalues lie in the unit disc whatever the parameters are; they start uniformly on a
    ring in it. There are H of them, so the state is 2 H floats. O(F H + H D) a step.

    In the battery it solves copy and fails at adding (0.07), recall (0.25), long recall (0.21),
    parity (0.50) and s3 (0.16); it comes to 1.94 nats a character of tiny Shakespeare (`python -m
    benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        least_radius: of the ring; near 1 for long memory.
        most_radius: of the ring, below 1.
        most_angle: radians; eigenvalues start at angles up to it, and a small one asks for slow
            oscillations.

    Raises:
        OptionError: when the ring is not one inside the unit disc.

    Example:
        >>> y, state = LRU(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        least_radius: float = 0.4,
        most_radius: float = 0.99,
        most_angle: float = 2 * math.pi,
    ) -> None:
        super().__init__(input_size, hidden_size, 2 * hidden_size)
        if not 0 <= least_radius < most_radius < 1 or not 0 < most_angle <= 2 * math.pi:
            raise OptionError(
                "expected 0 <= least_radius < most_radius < 1 and 0 < most_angle <= 2 pi, got "
                f"{least_radius}, {most_radius} and {most_angle}"
            )
        self.hidden_size = hidden_size
        squares = torch.empty(hidden_size).uniform_(least_radius**2, most_radius**2)
        angles = torch.empty(hidden_size).uniform_(0, most_angle).clamp_(min=1e-4)
        self.log_decay = nn.Parameter((-squares.clamp_(min=1e-8).log() / 2).log())
        self.log_angle = nn.Parameter(angles.log())
        self.enter = nn.Parameter(complex_states.drawn(hidden_size, input_size, 2 * input_size))
        self.leave = nn.Parameter(complex_states.drawn(hidden_size, hidden_size, hidden_size))
        self.skip = nn.Parameter(torch.empty(hidden_size, input_size))
        nn.init.xavier_uniform_(self.skip)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (H,) and b (..., H), complex, from x (..., F)."""
        a, gamma = self._eigenvalues()
        return a, gamma * complex_states.into(x, self.enter)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        a, gamma = self._eigenvalues()
        maps = (kernels.Affine(gamma[:, None] * part) for part in self.enter)
        return kernels.Gated(
            "rotation",
            *kernels.rows(x, *maps),
            constants=torch.stack([a.real, a.imag]),
            states=2,
            finish=lambda h: (
                complex_states.out_of_planes(h, self.leave) + functional.linear(x, self.skip)
            ),
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., H), complex, and x (..., F)."""
        return complex_states.out_of(h, self.leave) + functional.linear(x, self.skip)

    def _eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Return lambda, complex, and gamma, (H,) each."""
        decay = self.log_decay.exp()
        a = torch.polar(torch.exp(-decay), self.log_angle.exp())
        return a, torch.sqrt(-torch.expm1(-2 * decay))
