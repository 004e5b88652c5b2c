"""The minimal long short-term memory, a linear recurrence."""

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from throughtime import kernels
from throughtime.layers import gates
from throughtime.recurrent import LinearRecurrent


class MinLSTM(LinearRecurrent):
    r"""An LSTM whose gates look at the input alone and share one whole between them.

    $$f = \sigma(W_f x + b_f), \quad i = \sigma(W_i x + b_i), \quad \tilde h = W_h x + b_h$$
    $$h_t = \frac{f}{f + i} \odot h_{t-1} + \frac{i}{f + i} \odot \tilde h, \quad y_t = h_t$$

    (Feng et al. 2024, https://arxiv.org/abs/2410.01201.) Computed as written and not through
    logarithms, whose sums lose digits over long sequences. O(F H) a step; the state is H floats.

    In the battery it solves adding and fails at recall (0.27), long recall (0.22), parity (0.50)
    and s3 (0.16); with negative eigenvalues it solves parity too; with `memory` of the task's
    length it solves long recall too; it comes to 1.94 nats a character of tiny Shakespeare (`python
    -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        memory: steps that the state should remember: the biases of f and i are drawn for time
            constants up to it (chrono initialisation). None leaves them as they are.
        negative_eigenvalues: let h be kept with factors in [-1, 1] rather than [0, 1].

    Example:
        >>> y, state = MinLSTM(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        memory: int | None = None,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        self.hidden_size = hidden_size
        self.negative_eigenvalues = negative_eigenvalues
        self.forget_gate = nn.Linear(input_size, hidden_size)
        self.input_gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)
        if memory is not None:
            gates.remember(self.forget_gate, memory)
            with torch.no_grad():
                self.input_gate.bias.copy_(-self.forget_gate.bias)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., H) each, from x (..., F)."""
        # f / (f + i) as a function of the two sums that stays finite where both gates are shut.
        forget, enter = gates.precise(self.forget_gate(x)), gates.precise(self.input_gate(x))
        keep = (logsigmoid(forget) - logsigmoid(enter)).sigmoid()
        a = gates.signed(keep, negative=self.negative_eigenvalues)
        return a, (1 - keep) * self.candidate(x)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        given = kernels.rows(x, self.forget_gate, self.input_gate, self.candidate)
        scale = gates.scale(negative=self.negative_eigenvalues)
        return kernels.Gated("min_lstm", *given, scale=scale)

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return h (..., H)."""
        return h
