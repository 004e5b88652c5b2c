"""The LSTM whose gates see the cell."""

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime.layers.lstm import LSTM, LSTMState


class PeepholeLSTM(LSTM):
    r"""An LSTM whose gates see the cell, and so can time what they do by what is in it.

    $$i, f = \sigma(a_\bullet + p_\bullet \odot c_{t-1}), \quad g = \tanh(a_g), \quad
      c_t = f \odot c_{t-1} + i \odot g$$
    $$o = \sigma(a_o + p_o \odot c_t), \quad y_t = h_t = o \odot \tanh(c_t), \quad
      a_\bullet = W_{i\bullet} x + b_{i\bullet} + W_{h\bullet} h_{t-1} + b_{h\bullet}$$

    (Gers, Schraudolph and Schmidhuber 2002, https://www.jmlr.org/papers/v3/gers02a.html.)
    O(F H + H^2) a step; the state is 2 H floats. Rows of the parameters are in the order i, f, g,
    o, those of the peepholes i, f, o; the peepholes start closed, at zero.

    In the battery it solves adding, parity, s3 and counting and fails at long recall (0.22); with
    `memory` of the task's length it solves long recall too; it comes to 1.90 nats a character of
    tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        bias: whether the gates have biases.
        forget_bias: what the forget gate's bias starts at, 1 by default.
        memory: steps that the cell should remember, in place of `forget_bias`.
        learned_initial_state: whether the state before the first step is a parameter.

    Raises:
        OptionError: when both `memory` and a `forget_bias` are given.

    Example:
        >>> y, state = PeepholeLSTM(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_bias: float | None = None,
        memory: int | None = None,
        learned_initial_state: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias=bias,
            forget_bias=forget_bias,
            memory=memory,
            learned_initial_state=learned_initial_state,
        )
        self.peepholes = nn.Parameter(torch.zeros(3, hidden_size))

    cell = None  # type: ignore[assignment]
    fused = None  # type: ignore[assignment]

    def advance(self, enter: Tensor, hidden: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the gates' shares (B, 4 H) to y (B, H)."""
        gates = self.gate_values(enter, hidden, state)
        c = _next_cell(gates, state)
        h = (gates["o"] * torch.tanh(c)).to(state.h.dtype)
        return h, LSTMState(h, c)

    def gate_values(
        self, enter: Tensor, hidden: Tensor, state: LSTMState | None
    ) -> dict[str, Tensor]:
        """Return i, f, g and o, (..., H) each, from the gates' shares (..., 4 H) and the cells."""
        assert state is not None
        into, forget, cell, output = (enter + hidden).chunk(4, dim=-1)
        of_into, of_forget, of_output = self.peepholes
        gates = {
            "i": torch.sigmoid(into + of_into * state.c),
            "f": torch.sigmoid(forget + of_forget * state.c),
            "g": torch.tanh(cell),
        }
        return gates | {"o": torch.sigmoid(output + of_output * _next_cell(gates, state))}

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        return kernels.Variant(
            "lstm", self.from_input(x), self.weight_hh, self.bias_hh, peepholes=self.peepholes
        )


def _next_cell(gates: dict[str, Tensor], state: LSTMState) -> Tensor:
    return (gates["f"] * state.c + gates["i"] * gates["g"]).to(state.c.dtype)
