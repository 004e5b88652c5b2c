"""What RNN, LSTM and GRU share: torch.nn's four parameters, how they start, the fused call.

The parameters are exactly torch's: `weight_ih` (G*H, F), `weight_hh` (G*H, H), `bias_ih` and
`bias_hh` (G*H,), for G gates, so that weights move between the two libraries unchanged.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError, StateError
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Classic(Recurrent):
    """A recurrent layer with G gates in torch's layout; the base of RNN, LSTM and GRU.

    Args:
        input_size: F.
        hidden_size: H, which is also D.
        bias: whether the gates have biases.
        learned_initial_state: whether the state before the first step is a parameter; zeros if not.
    """

    gates: ClassVar[int]

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep a subclass with maths of its own from the kernels of the old one."""
        super().__init_subclass__(**options)
        maths = {"update", "advance", "from_input", "from_hidden"}
        if maths & vars(cls).keys() and "gates" not in vars(cls):
            cls.cell = None  # type: ignore[assignment,method-assign]
            cls.fused = None  # type: ignore[attr-defined]
            cls.variant = None  # type: ignore[assignment,method-assign]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        learned_initial_state: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.hidden_size = hidden_size
        self.make_parameters(bias=bias, learned_initial_state=learned_initial_state)
        self.reset_parameters()

    def make_parameters(self, *, bias: bool, learned_initial_state: bool) -> None:
        """Make the parameters, not filled but for the initial state of zeros."""
        sizes = self.leaf_sizes()
        rows = self.gates * sizes[-1]
        self.weight_ih = nn.Parameter(torch.empty(rows, self.input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, self.hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias else None
        # One row a leaf, so that they come apart without a size; the shorter ends in unused zeros.
        initial = torch.zeros(len(sizes), max(sizes)) if learned_initial_state else None
        self.initial = None if initial is None else nn.Parameter(initial)

    def leaf_sizes(self) -> tuple[int, ...]:
        """Return the size of each leaf of the state; the last is that of a gate, H."""
        assert self.state_class is not None
        return (self.hidden_size,) * len(self.state_class._fields)

    @classmethod
    def around(cls, weights: Sequence[Tensor], **options: Any) -> "Classic":
        """Make a layer of weights that are there already: no copy, no new numbers, quickly.

        Args:
            weights: in the order of `fused_weights`; parameters, or tensors computed from some.
            options: what else the maths of the layer reads, by attribute.
        """
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "initial")
        # Past `__setattr__`, which takes most of the time and refuses a tensor that was computed.
        layer._parameters.update(dict.fromkeys(names) | dict(zip(names, weights, strict=False)))
        hidden_size, input_size = weights[1].shape[1], weights[0].shape[1]
        sizes = {"input_size": input_size, "output_size": hidden_size, "hidden_size": hidden_size}
        vars(layer).update(sizes | options)
        return layer

    def reset_parameters(self) -> None:
        """Start afresh: Xavier-uniform input weights, orthogonal recurrent weights, zero biases.

        Orthogonal recurrent weights keep the length of a gradient over one step (Saxe, McClelland
        and Ganguli 2014, https://arxiv.org/abs/1312.6120). Each gate's block is drawn on its own.
        """
        with torch.no_grad():
            units = self.leaf_sizes()[-1]
            for block in torch.split(self.weight_ih, units):
                nn.init.xavier_uniform_(block)
            for block in torch.split(self.weight_hh, units):
                nn.init.orthogonal_(block)
            for bias in (self.bias_ih, self.bias_hh):
                if bias is not None:
                    nn.init.zeros_(bias)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """Return the state before the first step: zeros, or the learned one, for B lanes."""
        kind = {"device": device or self.weight_hh.device, "dtype": dtype or self.weight_hh.dtype}
        rows: list[Tensor]
        sizes = self.leaf_sizes()
        if self.initial is None:
            rows = [torch.zeros((batch_size, size), **kind) for size in sizes]  # type: ignore[call-overload]
        else:
            leaves = zip(self.initial, sizes, strict=True)
            rows = [row[:size].to(**kind).repeat(batch_size, 1) for row, size in leaves]
        assert self.state_class is not None
        return self.state_class(*rows)

    def fused_weights(self) -> list[Tensor]:
        """Return the parameters in the order that torch's fused kernels take."""
        weights: list[Tensor] = [self.weight_ih, self.weight_hh]
        if self.bias_ih is not None and self.bias_hh is not None:
            weights += [self.bias_ih, self.bias_hh]
        return weights

    def from_input(self, x: Tensor) -> Tensor:
        """Return the input's share of all gates, (B, G*H), from x (B, F)."""
        return functional.linear(x, self.weight_ih, self.bias_ih)

    def from_hidden(self, h: Tensor) -> Tensor:
        """Return the state's share of all gates, (B, G*H), from h (B, H)."""
        return functional.linear(h, self.weight_hh, self.bias_hh)

    def from_sums(self, sums: Tensor) -> Tensor:
        """Return the state's share from what `weight_hh` made of h, (B, G*H)."""
        return sums if self.bias_hh is None else sums + self.bias_hh

    def update(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        """One step: x (B, F) to y (B, D)."""
        return self.advance(self.from_input(x), self.from_hidden(state.h), state)

    def advance(self, enter: Tensor, hidden: Tensor, state: Any) -> tuple[Tensor, State]:
        """One step from the shares of all gates: the input's and the state's, (B, G*H) each."""
        raise TypeError(f"{type(self).__name__} must define advance(enter, hidden, state)")

    def gate_values(self, enter: Tensor, hidden: Tensor, state: Any) -> dict[str, Tensor]:
        """Return each gate's values by its name, from their shares and the state before."""
        raise TypeError(f"{type(self).__name__} has no gates to return")

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        assert self.cell is not None
        return kernels.Variant(self.cell, self.from_input(x), self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        """Return the sizes, as `print(layer)` shows them."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias_ih is not None}"

    def _fused_call(self, kernel: Any, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Call torch's kernel: one layer, one direction, batch first, no dropout.

        `train` asks the kernel to keep what backward needs; with it, gradients work in eval mode.
        """
        hidden = tuple(leaf.unsqueeze(0).contiguous() for leaf in state)
        y, *end = kernel(
            x,
            hidden if len(hidden) > 1 else hidden[0],
            self.fused_weights(),
            self.bias_ih is not None,
            1,
            0.0,
            torch.is_grad_enabled(),
            False,
            True,
        )
        return (y, *(new.squeeze(0) for new in end))

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        for leaf, size in zip(state, self.leaf_sizes(), strict=True):
            if leaf.shape[1:] != (size,):
                raise StateError(
                    f"expected a state of (B, H) with H = {size} in "
                    f"{type(self).__name__}, got {tuple(leaf.shape)}; "
                    "make states with initial_state(B)"
                )


def normalised(sums: Tensor, gain: Tensor, bias: Tensor | None, units: int) -> Tensor:
    """Return sums (..., G*H), normalised over the units of each gate by itself.

    Args:
        sums: (..., G*H).
        gain: (G*H,), what is normalised is times this.
        bias: (G*H,), added to it.
        units: H.
    """
    gates = sums.reshape(*sums.shape[:-1], sums.shape[-1] // units, units)
    share = functional.layer_norm(gates, (units,)).flatten(-2) * gain
    return share if bias is None else share + bias


RECURRENT_GAIN = 0.1
"""What the gains of normalised states start at (Cooijmans et al. 2016,
https://arxiv.org/abs/1603.09025). At 1 an LSTM is chaotic from the start: two runs that differ by
rounding are far apart after some hundred steps."""


def start_forget_gate(layer: Any, forget: slice, enter: slice | None) -> None:
    """Start the gates' biases of a layer with `forget_bias` and `memory`.

    Args:
        layer: the values are None where they were not chosen; the bias then starts at 1.
        forget: rows of the forget gate.
        enter: rows of the input gate, where there is one of its own.

    Raises:
        OptionError: when both are chosen, or one without biases.
    """
    memory, forget_bias = layer.memory, layer.forget_bias
    if memory is not None and forget_bias is not None:
        raise OptionError(
            f"expected memory or forget_bias, got both ({memory} and {forget_bias}): "
            "memory sets the forget gate's bias"
        )
    if memory is not None:
        bias = bias_or_error(layer.bias_ih, "memory").data
        bias[forget] = chrono_bias(forget.stop - forget.start, memory)
        if enter is not None:
            bias[enter] = -bias[forget]
    elif forget_bias is not None:
        bias_or_error(layer.bias_ih, "forget_bias").data[forget] = forget_bias
    elif layer.bias_ih is not None:
        layer.bias_ih.data[forget] = 1.0


def chrono_bias(size: int, memory: int) -> Tensor:
    r"""Return biases for gates that should remember for up to `memory` steps.

    $$b = \log u, \quad u \sim U[1, T_{max} - 1]$$

    (Tallec and Ollivier 2018, https://arxiv.org/abs/1804.11188): a keep gate of value
    sigma(b) has a time constant of 1 + exp(b) steps, so the units' memories spread up to T_max.

    Args:
        size: number of units H.
        memory: T_max, the longest memory wanted, in steps.

    Raises:
        OptionError: when memory is below 3, for which the formula has no range.
    """
    if not 3 <= memory < float("inf"):
        raise OptionError(f"expected memory of 3 steps or more, got {memory}")
    return torch.empty(size).uniform_(1, memory - 1).log_()


def bias_or_error(bias: nn.Parameter | None, option: str) -> nn.Parameter:
    """Return the bias that an option sets, or say that the option needs one."""
    if bias is None:
        raise OptionError(f"expected bias=True with {option}, got bias=False: it sets a bias")
    return bias
