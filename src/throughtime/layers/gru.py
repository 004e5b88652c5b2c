"""The gated recurrent unit."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.layers.classic import Classic, bias_or_error, chrono_bias


@states.register
class GRUState(NamedTuple):
    """State of a GRU: h (B, H)."""

    h: Tensor


class GRU(Classic):
    r"""The gated recurrent unit, with `torch.nn.GRU`'s parameters and numbers.

    $$r = \sigma(W_{ir} x + b_{ir} + W_{hr} h + b_{hr}), \quad
      z = \sigma(W_{iz} x + b_{iz} + W_{hz} h + b_{hz})$$
    $$n = \tanh(W_{in} x + b_{in} + r \odot (W_{hn} h + b_{hn})), \quad
      h_t = (1 - z) \odot n + z \odot h_{t-1}, \quad y_t = h_t$$

    (Cho et al. 2014, https://arxiv.org/abs/1406.1078, with the reset gate after the product.)
    O(F H + H^2) a step; the state is H floats. Rows of the parameters are in the order r, z, n.

    In the battery it solves adding, long recall, parity and s3 and fails at recall (0.49); with
    `memory` of the task's length it solves copy too; it comes to 1.92 nats a character of tiny
    Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        bias: whether the gates have biases.
        memory: steps that the state should remember: the bias of the update gate z is drawn for
            time constants up to it (chrono initialisation). None leaves it at zero.
        learned_initial_state: whether the state before the first step is a parameter.

    Example:
        >>> y, state = GRU(3, 5, memory=100)(torch.ones(2, 7, 3))
        >>> y.shape, state.h.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 3
    state_class = GRUState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        memory: int | None = None,
        learned_initial_state: bool = False,
    ) -> None:
        self.memory = memory
        super().__init__(
            input_size, hidden_size, bias=bias, learned_initial_state=learned_initial_state
        )

    def reset_parameters(self) -> None:
        """Start afresh, with the update gate set for the wanted memory."""
        super().reset_parameters()
        if self.memory is not None:
            keep = slice(self.hidden_size, 2 * self.hidden_size)
            bias_or_error(self.bias_ih, "memory").data[keep] = chrono_bias(
                self.hidden_size, self.memory
            )

    @property
    def cell(self) -> str:
        """The compiled cell of the same maths."""
        return "gru"

    def advance(self, enter: Tensor, hidden: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One step from the gates' shares (B, 3 H) to y (B, H)."""
        gates = self.gate_values(enter, hidden, state)
        h = ((1 - gates["z"]) * gates["n"] + gates["z"] * state.h).to(state.h.dtype)
        return h, GRUState(h)

    def gate_values(
        self, enter: Tensor, hidden: Tensor, state: GRUState | None
    ) -> dict[str, Tensor]:
        """Return r, z and n, (..., H) each, from the gates' shares (..., 3 H)."""
        input_r, input_z, input_n = enter.chunk(3, dim=-1)
        hidden_r, hidden_z, hidden_n = hidden.chunk(3, dim=-1)
        r = torch.sigmoid(input_r + hidden_r)
        z = torch.sigmoid(input_z + hidden_z)
        return {"r": r, "z": z, "n": torch.tanh(input_n + r * hidden_n)}

    def fused(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """All steps in torch's kernel: x (B, T, F) to y (B, T, H)."""
        y, h = self._fused_call(torch.gru, x, state)
        return y.to(state.h.dtype), GRUState(h.to(state.h.dtype))
