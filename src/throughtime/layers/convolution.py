"""A convolution over time, with the inputs that it looks back at as its state."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers.windowed import Windowed, latest, segment_begins


@states.register
class ConvolutionState(NamedTuple):
    """State of a convolution: the last R = (width - 1) dilation inputs (B, R, F), oldest first."""

    inputs: Tensor


class CausalConvolution(Windowed):
    r"""A convolution over the present input and those before it.

    $$y_t = b + \sum_{k=0}^{K-1} W_k x_{t - k d}$$

    with K = width, d = dilation, and zeros before the start (Waibel et al. 1989,
    https://doi.org/10.1109/29.21701; dilated as by van den Oord et al. 2016,
    https://arxiv.org/abs/1609.03499). O(F D K) a step, O(F K) depthwise; the state is
    (K - 1) d F floats. The weights are those of a `torch.nn.Conv1d`, whose last tap is $W_0$.

    In the battery it solves nothing and fails at adding (0.07), copy (0.12), selective copy (0.13),
    recall (0.22), long recall (0.22), parity (0.49), s3 (0.17), counting (0.56) and digits (0.52);
    it comes to 1.94 nats a character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        width: K, number of inputs that a step sees.
        dilation: d, steps between two of them.
        depthwise: let each feature see itself alone, with F = D: the short convolution that Griffin
            and Mamba put before their recurrence.

    Raises:
        OptionError: when width is below 2, dilation below 1, or sizes differ with depthwise.

    Example:
        >>> y, state = CausalConvolution(3, 5, width=3, dilation=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.inputs.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 4, 3]))
    """

    state_class = ConvolutionState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        width: int = 4,
        dilation: int = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if width < 2:
            raise OptionError(f"expected width of 2 steps or more, got {width}")
        if dilation < 1:
            raise OptionError(f"expected dilation of 1 step or more, got {dilation}")
        if depthwise and input_size != hidden_size:
            raise OptionError(
                f"expected hidden_size = input_size = {input_size} with depthwise=True, "
                f"got {hidden_size}"
            )
        self.hidden_size = hidden_size
        self.dilation = dilation
        self.depthwise = depthwise
        self.kept = (width - 1) * dilation
        self.state_sizes = ((self.kept, input_size),)
        groups = input_size if depthwise else 1
        self.taps = nn.Conv1d(input_size, hidden_size, width, dilation=dilation, groups=groups)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvolutionState:
        """Return zeros (B, R, F): there was no input before the first."""
        weight = self.taps.weight
        size = (batch_size, self.kept, self.input_size)
        zeros = torch.zeros(size, device=device or weight.device, dtype=dtype or weight.dtype)
        return ConvolutionState(zeros)

    def update(self, x: Tensor, state: ConvolutionState) -> tuple[Tensor, ConvolutionState]:
        """One step: x (B, F) to y (B, D)."""
        rows = torch.cat([state.inputs, x[:, None]], dim=1)
        return self._sum_of_taps(rows, None)[:, 0], ConvolutionState(rows[:, 1:])

    def parallel(
        self, x: Tensor, state: ConvolutionState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, ConvolutionState]:
        """All steps at once: x (B, T, F) to y (B, T, D)."""
        rows = torch.cat([state.inputs, x], dim=1)
        begins = None if resets is None else segment_begins(resets, self.kept)
        if begins is None:
            columns, options = rows.transpose(1, 2), (1, 0, self.dilation, self.taps.groups)
            products = functional.conv1d(columns, self.taps.weight, None, *options)
            y = products.transpose(1, 2) + self._bias()
        else:
            y = self._sum_of_taps(rows, begins)
        return y, ConvolutionState(latest(rows, self.kept, lengths, begins))

    def _sum_of_taps(self, rows: Tensor, begins: Tensor | None) -> Tensor:
        """Return y (B, T, D) of rows (B, R + T, F), of which each step sees those from `begins`."""
        steps = rows.shape[1] - self.kept
        y = self._bias()
        for lag, weight in enumerate(self.taps.weight.flip(2).unbind(2)):
            first = self.kept - lag * self.dilation
            seen = rows[:, first : first + steps]
            if begins is not None:
                index = torch.arange(first, first + steps, device=rows.device)
                seen = seen.masked_fill((index < begins)[:, :, None], 0)
            y = y + (seen * weight[:, 0] if self.depthwise else functional.linear(seen, weight))
        return y

    def _bias(self) -> Tensor:
        return cast(Tensor, self.taps.bias)
