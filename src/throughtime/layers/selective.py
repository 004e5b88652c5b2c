"""The selective state space: a diagonal one whose input decides what is kept."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers import gates
from throughtime.recurrent import LinearRecurrent


class SelectiveSSM(LinearRecurrent):
    r"""A state space of N states for each of H channels, read and written as the input says.

    $$u = W x, \quad \Delta = \mathrm{softplus}(W_\Delta u + b_\Delta), \quad B = W_B u, \quad
      C = W_C u$$
    $$h_t[d, n] = e^{\Delta_d A_{dn}} h_{t-1}[d, n] + \Delta_d B_n u_d, \quad
      y_t[d] = \sum_n C_n h_t[d, n] + D_d u_d$$

    (Gu and Dao 2023, Mamba, https://arxiv.org/abs/2312.00752: its recurrence, without the block
    around it.) $A_{dn} = -(n + 1)$ at the start. O(F H + H^2 / 8 + H N) a step; the state is H N
    floats.

    In the battery it solves adding and fails at long recall (0.22), parity (0.50) and s3 (0.17);
    with negative eigenvalues it solves parity too; it comes to 2.00 nats a character of tiny
    Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        states: N, for each channel.
        least_step: the step lengths Delta start between this and `most_step`.
        most_step: see `least_step`.
        negative_eigenvalues: let h be kept with factors $2 a - 1$ in [-1, 1] rather than [0, 1].

    Raises:
        OptionError: when there are no states, or the step lengths are not 0 < least < most.

    Example:
        >>> y, state = SelectiveSSM(3, 5, states=4)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        states: int = 16,
        least_step: float = 0.001,
        most_step: float = 0.1,
        negative_eigenvalues: bool = False,
    ) -> None:
        if states < 1:
            raise OptionError(f"expected 1 state or more, got {states}")
        if not 0 < least_step < most_step:
            raise OptionError(
                f"expected 0 < least_step < most_step, got {least_step} and {most_step}"
            )
        super().__init__(input_size, hidden_size, hidden_size * states)
        self.hidden_size = hidden_size
        self.states = states
        self.negative_eigenvalues = negative_eigenvalues
        self.enter = nn.Linear(input_size, hidden_size, bias=False)
        # Delta's matrix has a low rank, as in the paper.
        rank = math.ceil(hidden_size / 16)
        self.narrow = nn.Linear(hidden_size, rank, bias=False)
        self.step_length = nn.Linear(rank, hidden_size)
        self.write = nn.Linear(hidden_size, states, bias=False)
        self.read = nn.Linear(hidden_size, states, bias=False)
        rates = torch.arange(1, states + 1, dtype=torch.float32)
        self.log_rate = nn.Parameter(rates.log().repeat(hidden_size, 1))
        self.skip = nn.Parameter(torch.ones(hidden_size))
        low, high = math.log(least_step), math.log(most_step)
        length = torch.empty(hidden_size).uniform_(low, high).exp()
        with torch.no_grad():
            # The inverse of softplus.
            self.step_length.bias.copy_(length + torch.log(-torch.expm1(-length)))

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., H N) each, from x (..., F)."""
        u = self.enter(x)
        length = functional.softplus(gates.precise(self.step_length(self.narrow(u))))
        keep = torch.exp(-length[..., None] * self.log_rate.exp())
        a = gates.signed(keep, negative=self.negative_eigenvalues)
        b = (length * u)[..., None] * self.write(u)[..., None, :]
        return a.flatten(-2), b.flatten(-2)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        if self.input_size <= kernels.FEW_FEATURES:
            # All of it is linear in x, and one map is cheaper than several in a row.
            enter = self.enter.weight
            step = self.step_length.weight @ (self.narrow.weight @ enter)
            given = kernels.rows(
                x,
                kernels.Affine(step, self.step_length.bias),
                self.enter,
                kernels.Affine(self.write.weight @ enter),
                kernels.Affine(self.read.weight @ enter),
            )
        else:
            u = self.enter(x)
            sums = (self.step_length(self.narrow(u)), u, self.write(u), self.read(u))
            given = torch.cat(sums, dim=-1), None
        return kernels.Gated(
            "selective",
            *given,
            constants=torch.cat([self.log_rate.exp().t(), self.skip[None]]),
            states=self.states,
            scale=gates.scale(negative=self.negative_eigenvalues),
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., H N) and x (..., F)."""
        u = self.enter(x)
        states = h.reshape(*h.shape[:-1], self.hidden_size, self.states)
        read: Tensor = states @ gates.precise(self.read(u))[..., None]
        y: Tensor = read.squeeze(-1) + self.skip * u
        return y
