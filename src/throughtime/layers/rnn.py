"""The plain recurrent layer of Elman, with tanh or relu."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers.classic import Classic


@states.register
class RNNState(NamedTuple):
    """State of an RNN: h (B, H)."""

    h: Tensor


class RNN(Classic):
    r"""Elman's recurrent network, with `torch.nn.RNN`'s parameters and numbers.

    $$h_t = \phi(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}), \quad y_t = h_t$$

    with tanh or relu as the nonlinearity (Elman 1990, https://doi.org/10.1207/s15516709cog1402_1).
    Its gradient is a product of as many matrices as there are steps: it remembers tens of steps.
    O(F H + H^2) a step; the state is H floats.

    In the battery it solves parity and permuted digits and fails at adding (0.07), copy (0.13),
    selective copy (0.14), recall (0.22), long recall (0.22) and s3 (0.33); it comes to 1.99 nats a
    character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        learned_initial_state: whether the state before the first step is a parameter.

    Raises:
        OptionError: for another nonlinearity.

    Example:
        >>> y, state = RNN(3, 5)(torch.ones(2, 7, 3))
        >>> y.shape, state.h.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    gates = 1
    state_class = RNNState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        learned_initial_state: bool = False,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise OptionError(f"expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, bias=bias, learned_initial_state=learned_initial_state
        )

    @property
    def cell(self) -> str:
        """The compiled cell of the same maths."""
        return f"rnn_{self.nonlinearity}"

    def advance(self, enter: Tensor, hidden: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """One step from the gates' shares (B, H) to y (B, H)."""
        total = enter + hidden
        h = torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total)
        h = h.to(state.h.dtype)
        return h, RNNState(h)

    def fused(self, x: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """All steps in torch's kernel: x (B, T, F) to y (B, T, H)."""
        kernel = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        y, h = self._fused_call(kernel, x, state)
        return y.to(state.h.dtype), RNNState(h.to(state.h.dtype))
