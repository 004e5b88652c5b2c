"""The hierarchically gated recurrent network's layer."""

from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers import gates
from throughtime.recurrent import LinearRecurrent

_EPSILON = 1e-6
"""Keeps the norm of a state of zeros finite."""


class HGRN(LinearRecurrent):
    r"""A linear recurrence whose forget gate never closes below a bound, with an output gate.

    $$f = \beta + (1 - \beta) \, \sigma(W_f x + b_f), \quad c = \mathrm{silu}(W_c x + b_c), \quad
      g = \mathrm{silu}(W_g x + b_g)$$
    $$h_t = f \odot h_{t-1} + (1 - f) \odot c, \quad y_t = W_o \, (g \odot \mathrm{norm}(h_t))$$

    (Qin et al. 2023, https://arxiv.org/abs/2311.04823, in its real form.) In a stack, give upper
    layers a higher bound: they should remember longer. O(F H + H^2) a step; the state is H floats.

    In the battery it solves adding and fails at long recall (0.22), parity (0.50) and s3 (0.17);
    with negative eigenvalues it solves parity too; it comes to 1.96 nats a character of tiny
    Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        lower_bound: beta, the least share of the state that is kept at a step, in [0, 1).
        negative_eigenvalues: let h be kept with factors $2 f - 1$ rather than f.

    Raises:
        OptionError: when the bound is not in [0, 1).

    Example:
        >>> import torch
        >>> y, state = HGRN(3, 5, lower_bound=0.5)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        lower_bound: float = 0.0,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        if not 0 <= lower_bound < 1:
            raise OptionError(f"expected lower_bound of at least 0 and below 1, got {lower_bound}")
        self.hidden_size = hidden_size
        self.lower_bound = lower_bound
        self.negative_eigenvalues = negative_eigenvalues
        self.forget_gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)
        self.output_gate = nn.Linear(input_size, hidden_size)
        self.norm = nn.RMSNorm(hidden_size, eps=_EPSILON)
        self.leave = nn.Linear(hidden_size, hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., H) each, from x (..., F)."""
        enter = (1 - self.lower_bound) * gates.sigmoid(-self.forget_gate(x))
        keep = gates.signed(1 - enter, negative=self.negative_eigenvalues)
        return keep, enter * functional.silu(self.candidate(x))

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        return kernels.Gated(
            "hgrn",
            *kernels.rows(x, self.forget_gate, self.candidate, self.output_gate),
            constants=self.norm.weight[None],
            scale=gates.scale(negative=self.negative_eigenvalues),
            bound=self.lower_bound,
            epsilon=_EPSILON,
            leave=self.leave,
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., H) and x (..., F)."""
        y: Tensor = self.leave(functional.silu(self.output_gate(x)) * self.norm(h))
        return y
