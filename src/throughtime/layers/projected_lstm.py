"""The LSTM with more cells than outputs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers.classic import Classic, start_forget_gate
from throughtime.layers.lstm import LSTMState


class ProjectedLSTM(Classic):
    r"""An LSTM of many cells that says what it knows in few numbers.

    $$i, f, o = \sigma(a_\bullet), \quad g = \tanh(a_g), \quad
      a_\bullet = W_{i\bullet} x + b_{i\bullet} + W_{h\bullet} h_{t-1} + b_{h\bullet}$$
    $$c_t = f \odot c_{t-1} + i \odot g, \quad y_t = h_t = W_r (o \odot \tanh(c_t))$$

    Parameters and numbers are `torch.nn.LSTM`'s with a `proj_size`. Memory is cheap, products are
    dear: C cells with outputs of H = C / 2 need half the weights of an LSTM of C (Sak, Senior
    and Beaufays 2014, https://arxiv.org/abs/1402.1128). O(C (F + H)) a step; the state is H + C
    floats. Rows of the parameters are in the order i, f, g, o.

    In the battery it solves adding, parity, s3 and counting and fails at long recall (0.13); on
    tiny Shakespeare it diverges at the rate picked, 0.01 (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D, the size of what is put out and seen by the gates.
        cell_size: C; twice H by default.
        bias: whether the gates have biases.
        forget_bias: what the forget gate's bias starts at, 1 by default.
        memory: steps that the cell should remember, in place of `forget_bias`.
        learned_initial_state: whether the state before the first step is a parameter.

    Raises:
        OptionError: when `cell_size` is below 1, or both `memory` and a `forget_bias` are given.

    Example:
        >>> y, state = ProjectedLSTM(3, 5, cell_size=8)(torch.ones(2, 7, 3))
        >>> y.shape, state.h.shape, state.c.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]), torch.Size([2, 8]))
    """

    gates = 4
    state_class = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell_size: int | None = None,
        bias: bool = True,
        forget_bias: float | None = None,
        memory: int | None = None,
        learned_initial_state: bool = False,
    ) -> None:
        cells = 2 * hidden_size if cell_size is None else cell_size
        if cells < 1:
            raise OptionError(f"expected cell_size of 1 or more, got {cells}")
        self.cell_size = cells
        self.forget_bias = forget_bias
        self.memory = memory
        super().__init__(
            input_size, hidden_size, bias=bias, learned_initial_state=learned_initial_state
        )

    def make_parameters(self, **options: Any) -> None:
        """Make the gates' parameters, and the projection (H, C)."""
        super().make_parameters(**options)
        self.weight_hr = nn.Parameter(torch.empty(self.hidden_size, self.cell_size))

    def reset_parameters(self) -> None:
        """Start afresh, with the forget gate open for the wanted memory."""
        super().reset_parameters()
        nn.init.orthogonal_(self.weight_hr)
        size = self.cell_size
        start_forget_gate(self, slice(size, 2 * size), slice(0, size))

    def leaf_sizes(self) -> tuple[int, ...]:
        """Return the sizes of h and c."""
        return self.hidden_size, self.cell_size

    def advance(self, enter: Tensor, hidden: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the gates' shares (B, 4 C) to y (B, H)."""
        gates = self.gate_values(enter, hidden, state)
        c = (gates["f"] * state.c + gates["i"] * gates["g"]).to(state.c.dtype)
        out = gates["o"] * torch.tanh(c)
        h = functional.linear(out, self.weight_hr.to(out.dtype)).to(state.h.dtype)
        return h, LSTMState(h, c)

    def gate_values(
        self, enter: Tensor, hidden: Tensor, state: LSTMState | None
    ) -> dict[str, Tensor]:
        """Return i, f, g and o, (..., C) each, from the gates' shares (..., 4 C)."""
        into, forget, cell, output = (enter + hidden).chunk(4, dim=-1)
        return {
            "i": torch.sigmoid(into),
            "f": torch.sigmoid(forget),
            "g": torch.tanh(cell),
            "o": torch.sigmoid(output),
        }

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        return kernels.Variant(
            "lstm", self.from_input(x), self.weight_hh, self.bias_hh, project=self.weight_hr
        )

    def extra_repr(self) -> str:
        """Return the sizes, as `print(layer)` shows them."""
        return f"{super().extra_repr()}, cell_size={self.cell_size}"
