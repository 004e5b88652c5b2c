"""The LSTM with normalised gates."""

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime.layers.classic import RECURRENT_GAIN, normalised
from throughtime.layers.lstm import LSTM, LSTMState


class LayerNormLSTM(LSTM):
    r"""An LSTM whose gates' sums and cell are normalised, so that no scale grows with time.

    $$i, f, o = \sigma(a_\bullet), \quad g = \tanh(a_g), \quad a_\bullet =
      \gamma_{i\bullet} \odot \mathrm{norm}(W_{i\bullet} x) + b_{i\bullet} +
      \gamma_{h\bullet} \odot \mathrm{norm}(W_{h\bullet} h) + b_{h\bullet}$$
    $$c_t = f \odot c_{t-1} + i \odot g, \quad
      y_t = h_t = o \odot \tanh(\gamma_c \odot \mathrm{norm}(c_t) + b_c)$$

    norm takes the mean away and divides by the deviation (Ba, Kiros and Hinton 2016,
    https://arxiv.org/abs/1607.06450), here over the units of each gate by itself, so that a gate
    with large sums does not quieten the others. $\gamma_h$ starts at 0.1, since an LSTM with 1 is
    chaotic. O(F H + H^2) a step; the state is 2 H floats. Rows of the parameters are in the order
    i, f, g, o.

    In the battery it solves parity, s3 and counting and fails at copy (0.56), recall (0.31) and
    long recall (0.22); with `memory` of the task's length it solves adding and long recall too; it
    comes to 1.87 nats a character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        forget_bias: what the forget gate's bias starts at, 1 by default.
        memory: steps that the cell should remember, in place of `forget_bias`.
        learned_initial_state: whether the state before the first step is a parameter.

    Raises:
        OptionError: when both `memory` and a `forget_bias` are given.

    Example:
        >>> y, state = LayerNormLSTM(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        memory: int | None = None,
        learned_initial_state: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            forget_bias=forget_bias,
            memory=memory,
            learned_initial_state=learned_initial_state,
        )
        self.gain_ih = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_hh = nn.Parameter(torch.full((4 * hidden_size,), RECURRENT_GAIN))
        self.cell_gain = nn.Parameter(torch.ones(hidden_size))
        self.cell_bias = nn.Parameter(torch.zeros(hidden_size))

    cell = None  # type: ignore[assignment]
    fused = None  # type: ignore[assignment]

    def from_input(self, x: Tensor) -> Tensor:
        """Return the input's share of all gates, (..., 4 H), from x (..., F)."""
        sums = nn.functional.linear(x, self.weight_ih)
        return normalised(sums, self.gain_ih, self.bias_ih, self.hidden_size)

    def from_hidden(self, h: Tensor) -> Tensor:
        """Return the state's share of all gates, (..., 4 H), from h (..., H)."""
        return self.from_sums(nn.functional.linear(h, self.weight_hh))

    def from_sums(self, sums: Tensor) -> Tensor:
        """Return the state's share from what `weight_hh` made of h, (B, 4 H)."""
        return normalised(sums, self.gain_hh, self.bias_hh, self.hidden_size)

    def advance(self, enter: Tensor, hidden: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the gates' shares (B, 4 H) to y (B, H)."""
        gates = self.gate_values(enter, hidden, state)
        c = (gates["f"] * state.c + gates["i"] * gates["g"]).to(state.c.dtype)
        read = nn.functional.layer_norm(c, c.shape[-1:], self.cell_gain, self.cell_bias)
        h = (gates["o"] * torch.tanh(read)).to(state.h.dtype)
        return h, LSTMState(h, c)

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        return kernels.Variant(
            "lstm",
            self.from_input(x),
            self.weight_hh,
            self.bias_hh,
            gain=self.gain_hh,
            cell_gain=self.cell_gain,
            cell_bias=self.cell_bias,
        )
