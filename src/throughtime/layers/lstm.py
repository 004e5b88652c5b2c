"""The long short-term memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.layers.classic import Classic, start_forget_gate


@states.register
class LSTMState(NamedTuple):
    """State of an LSTM: output h (B, H) and cell c (B, H)."""

    h: Tensor
    c: Tensor


class LSTM(Classic):
    r"""The long short-term memory, with `torch.nn.LSTM`'s parameters and numbers.

    $$i, f, o = \sigma(W_{i\bullet} x + b_{i\bullet} + W_{h\bullet} h + b_{h\bullet}), \quad
      g = \tanh(W_{ig} x + b_{ig} + W_{hg} h + b_{hg})$$
    $$c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t), \quad y_t = h_t$$

    (Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget
    gate of Gers et al. 2000.) O(F H + H^2) a step; the state is 2 H floats. Rows of the parameters
    are in the order i, f, g, o.

    In the battery it solves parity, s3 and counting and fails at long recall (0.22); with `memory`
    of the task's length it solves adding and long recall too; it comes to 1.89 nats a character of
    tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        bias: whether the gates have biases.
        forget_bias: what the forget gate's bias starts at; 1 lets gradients through from the start
            (Jozefowicz et al. 2015, https://proceedings.mlr.press/v37/jozefowicz15.html). Without
            biases the gates start half open.
        memory: steps that the cell should remember: forget and input biases are drawn for time
            constants up to it (chrono initialisation), in place of `forget_bias`.
        learned_initial_state: whether the state before the first step is a parameter.

    Raises:
        OptionError: when both `memory` and a `forget_bias` are given.

    Example:
        >>> y, state = LSTM(3, 5, memory=100)(torch.ones(2, 7, 3))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 4
    state_class = LSTMState

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
        self.forget_bias = forget_bias
        self.memory = memory
        super().__init__(
            input_size, hidden_size, bias=bias, learned_initial_state=learned_initial_state
        )

    def reset_parameters(self) -> None:
        """Start afresh, with the forget gate open for the wanted memory."""
        super().reset_parameters()
        size = self.hidden_size
        start_forget_gate(self, slice(size, 2 * size), slice(0, size))

    @property
    def cell(self) -> str:
        """The compiled cell of the same maths."""
        return "lstm"

    def advance(self, enter: Tensor, hidden: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the gates' shares (B, 4 H) to y (B, H)."""
        gates = self.gate_values(enter, hidden, state)
        c = (gates["f"] * state.c + gates["i"] * gates["g"]).to(state.c.dtype)
        h = (gates["o"] * torch.tanh(c)).to(state.h.dtype)
        return h, LSTMState(h, c)

    def gate_values(
        self, enter: Tensor, hidden: Tensor, state: LSTMState | None
    ) -> dict[str, Tensor]:
        """Return i, f, g and o, (..., H) each, from the gates' shares (..., 4 H)."""
        into, forget, cell, output = (enter + hidden).chunk(4, dim=-1)
        return {
            "i": torch.sigmoid(into),
            "f": torch.sigmoid(forget),
            "g": torch.tanh(cell),
            "o": torch.sigmoid(output),
        }

    def fused(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """All steps in torch's kernel: x (B, T, F) to y (B, T, H)."""
        y, h, c = self._fused_call(torch.lstm, x, state)
        return y.to(state.h.dtype), LSTMState(h.to(state.h.dtype), c.to(state.c.dtype))
