"""The GRU with normalised gates."""

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime.layers.classic import RECURRENT_GAIN, normalised
from throughtime.layers.gru import GRU


class LayerNormGRU(GRU):
    r"""A GRU whose gates' sums are normalised, so that no scale grows with time.

    $$r, z = \sigma(x_\bullet + h_\bullet), \quad n = \tanh(x_n + r \odot h_n), \quad
      h_t = (1 - z) \odot n + z \odot h_{t-1}, \quad y_t = h_t$$
    $$x_\bullet = \gamma_{i\bullet} \odot \mathrm{norm}(W_{i\bullet} x) + b_{i\bullet}, \quad
      h_\bullet = \gamma_{h\bullet} \odot \mathrm{norm}(W_{h\bullet} h_{t-1}) + b_{h\bullet}$$

    norm takes the mean away and divides by the deviation, over the units of each gate by itself
    (Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450, who take r and z together).
    $\gamma_h$ starts at 0.1.
    O(F H + H^2) a step; the state is H floats. Rows of the parameters are in the order r, z, n.

    In the battery it solves adding, parity and s3 and fails at copy (0.33), recall (0.29) and long
    recall (0.22); with `memory` of the task's length it solves long recall too; it comes to 1.93
    nats a character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        memory: steps that the state should remember: the update gate's bias is drawn for it.
        learned_initial_state: whether the state before the first step is a parameter.

    Example:
        >>> y, state = LayerNormGRU(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.h.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        memory: int | None = None,
        learned_initial_state: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, memory=memory, learned_initial_state=learned_initial_state
        )
        self.gain_ih = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.full((3 * hidden_size,), RECURRENT_GAIN))

    cell = None  # type: ignore[assignment]
    fused = None  # type: ignore[assignment]

    def from_input(self, x: Tensor) -> Tensor:
        """Return the input's share of all gates, (..., 3 H), from x (..., F)."""
        sums = nn.functional.linear(x, self.weight_ih)
        return normalised(sums, self.gain_ih, self.bias_ih, self.hidden_size)

    def from_hidden(self, h: Tensor) -> Tensor:
        """Return the state's share of all gates, (..., 3 H), from h (..., H)."""
        return self.from_sums(nn.functional.linear(h, self.weight_hh))

    def from_sums(self, sums: Tensor) -> Tensor:
        """Return the state's share from what `weight_hh` made of h, (B, 3 H)."""
        return normalised(sums, self.gain_hh, self.bias_hh, self.hidden_size)

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        return kernels.Variant(
            "gru", self.from_input(x), self.weight_hh, self.bias_hh, gain=self.gain_hh
        )
