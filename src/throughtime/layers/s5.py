"""A diagonal state space with one input and one output for all of its states."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers import complex_states
from throughtime.recurrent import LinearRecurrent


class S5(LinearRecurrent):
    r"""A continuous diagonal state space, sampled at steps of a learned length.

    $$\dot h = \Lambda h + B x, \quad y = 2\,\mathrm{Re}(C h) + D x; \quad
      h_t = e^{\Lambda \Delta} h_{t-1} + \Lambda^{-1} (e^{\Lambda \Delta} - 1) B x_t$$

    (Smith et al. 2023, https://arxiv.org/abs/2208.04933.) The eigenvalues start at
    $-1/2 + \pi i n$, n = 0 to N - 1, as the diagonal form of HiPPO does (Gu et al. 2022, S4D-Lin,
    https://arxiv.org/abs/2206.11893), and each stands for a pair of conjugates. The step lengths
    say which time scales the states see. O(N (F + D)) a step; the state is 2 N floats.

    In the battery it solves copy, long recall, digits and permuted digits and fails at adding
    (0.08), recall (0.26), parity (0.50) and s3 (0.17); it comes to 1.97 nats a character of tiny
    Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: D.
        states: N, the number of complex states; D by default.
        least_step: the step lengths start between this and `most_step`, evenly in their logarithm.
        most_step: see `least_step`.

    Raises:
        OptionError: when there are no states, or the step lengths are not 0 < least < most.

    Example:
        >>> y, state = S5(3, 5, states=8)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 16]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        states: int | None = None,
        least_step: float = 0.001,
        most_step: float = 0.1,
    ) -> None:
        count = hidden_size if states is None else states
        if count < 1:
            raise OptionError(f"expected 1 state or more, got {count}")
        if not 0 < least_step < most_step:
            raise OptionError(
                f"expected 0 < least_step < most_step, got {least_step} and {most_step}"
            )
        super().__init__(input_size, hidden_size, 2 * count)
        self.hidden_size = hidden_size
        self.log_decay = nn.Parameter(torch.full((count,), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(count, dtype=torch.float32))
        low, high = math.log(least_step), math.log(most_step)
        self.log_step = nn.Parameter(torch.empty(count).uniform_(low, high))
        self.enter = nn.Parameter(complex_states.drawn(count, input_size, 2 * input_size))
        self.leave = nn.Parameter(complex_states.drawn(count, hidden_size, 2 * count))
        self.skip = nn.Parameter(torch.empty(hidden_size, input_size))
        nn.init.xavier_uniform_(self.skip)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (N,) and b (..., N), complex, from x (..., F)."""
        a, factor = self._eigenvalues()
        return a, factor * complex_states.into(x, self.enter)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        a, factor = self._eigenvalues()
        enter = factor[:, None] * torch.complex(*self.enter)
        return kernels.Gated(
            "rotation",
            *kernels.rows(x, kernels.Affine(enter.real), kernels.Affine(enter.imag)),
            constants=torch.stack([a.real, a.imag]),
            states=2,
            finish=lambda h: (
                complex_states.out_of_planes(h, 2 * self.leave) + functional.linear(x, self.skip)
            ),
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., N), complex, and x (..., F)."""
        return 2 * complex_states.out_of(h, self.leave) + functional.linear(x, self.skip)

    def _eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Return those of a step, and what a step multiplies its input by; complex, (N,) each."""
        eigenvalue = torch.complex(-self.log_decay.exp(), self.frequency)
        a = torch.exp(eigenvalue * self.log_step.exp())
        return a, (a - 1) / eigenvalue
