"""The minimal gated recurrent unit, a linear recurrence."""

from torch import Tensor, nn

from throughtime import kernels
from throughtime.layers import gates
from throughtime.recurrent import LinearRecurrent


class MinGRU(LinearRecurrent):
    r"""A GRU whose gate and candidate look at the input alone, so that its recurrence is linear.

    $$z = \sigma(W_z x + b_z), \quad \tilde h = W_h x + b_h, \quad
      h_t = (1 - z) \odot h_{t-1} + z \odot \tilde h, \quad y_t = h_t$$

    (Feng et al. 2024, https://arxiv.org/abs/2410.01201.) Computed as written and not through
    logarithms, whose sums lose digits over long sequences. O(F H) a step; the state is H floats.

    In the battery it solves adding and fails at recall (0.27), long recall (0.22), parity (0.50)
    and s3 (0.17); with negative eigenvalues it solves parity too; with `memory` of the task's
    length it solves long recall too; it comes to 1.96 nats a character of tiny Shakespeare (`python
    -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        memory: steps that the state should remember: the bias of z is drawn for time constants up
            to it (chrono initialisation). None leaves it as it is.
        negative_eigenvalues: let h be kept with factors $1 - 2 z$ in [-1, 1] rather than [0, 1].

    Example:
        >>> import torch
        >>> y, state = MinGRU(3, 5, memory=100)(torch.ones(2, 7, 3))
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
        self.update_gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)
        if memory is not None:
            gates.remember(self.update_gate, memory, keeps=False)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., H) each, from x (..., F)."""
        update = gates.sigmoid(self.update_gate(x))
        keep = gates.signed(1 - update, negative=self.negative_eigenvalues)
        return keep, update * self.candidate(x)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        given = kernels.rows(x, self.update_gate, self.candidate)
        return kernels.Gated(
            "min_gru", *given, scale=gates.scale(negative=self.negative_eigenvalues)
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return h (..., H)."""
        return h
