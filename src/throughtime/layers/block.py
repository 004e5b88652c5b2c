"""A residual block around a layer: what deep stacks are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError, ShapeError
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Block(Recurrent):
    r"""A layer that mixes over time, then a gated network that mixes over units, each added to x.

    $$u = x + \mathrm{layer}(\mathrm{norm}(x)), \quad
      y = u + W_3 \, (\mathrm{silu}(W_1 \mathrm{norm}(u)) \odot W_2 \mathrm{norm}(u))$$

    Normalising before and adding after lets gradients pass a deep stack unchanged (Xiong et al.
    2020, https://arxiv.org/abs/2002.04745); the network is that of Shazeer 2020
    (https://arxiv.org/abs/2002.05202). The state is the layer's. O(3 expansion D^2) a step beside
    the layer. Where the block's own F is not D, x is first mapped to D, by $W_0 x + b_0$.

    Args:
        layer: F and D must be the same; put a short convolution in front of a layer by
            `Stack([convolution, layer])`.
        input_size: F of the block; D when None.
        expansion: the network's width, in multiples of D.

    Raises:
        ShapeError: when the layer's F and D differ.
        OptionError: when the expansion is not above zero.

    Example:
        >>> from throughtime.layers import GRU
        >>> y, state = Block(GRU(4, 4))(torch.ones(2, 7, 4))
        >>> y.shape, state.h.shape
        (torch.Size([2, 7, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self, layer: Recurrent, *, input_size: int | None = None, expansion: float = 2.0
    ) -> None:
        if layer.input_size != layer.output_size:
            raise ShapeError(
                f"expected a layer with F = D in a Block, which adds them, got F = "
                f"{layer.input_size} and D = {layer.output_size}"
            )
        if not expansion > 0:
            raise OptionError(f"expected expansion above 0, got {expansion}")
        size = layer.output_size
        super().__init__(size if input_size is None else input_size, size)
        width = max(1, round(expansion * size))
        # With its bias: the norm that follows would leave of w x no more than the sign of x.
        self.lift = None if self.input_size == size else nn.Linear(self.input_size, size)
        self.layer = layer
        self.streamable = layer.streamable
        self.norms = nn.ModuleList(nn.RMSNorm(size, eps=1e-6) for _ in range(2))
        self.gate = nn.Linear(size, width, bias=False)
        self.wide = nn.Linear(size, width, bias=False)
        self.narrow = nn.Linear(width, size, bias=False)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """Return the layer's state before its first step."""
        return self.layer.initial_state(batch_size, device=device, dtype=dtype)

    def restart(self, state: State) -> State:
        """Restart the layer."""
        return self.layer.restart(state)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, F) to y (B, D)."""
        x = self._lift(x)
        y, after = kernels.step(self.layer, self.norms[0](x), state)
        return self._mix_units(x + y), after

    def run(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run the layer over the whole sequence, and the network over all steps at once."""
        x = self._lift(x)
        y, end = self.layer.run(self.norms[0](x), state, lengths, resets)
        y = self._mix_units(x + y)
        return y if lengths is None else y.masked_fill(~kernels.presence(y, lengths), 0), end

    @property
    def backend(self) -> str:
        """What the layer would run on, and why."""
        return self.layer.backend

    def _lift(self, x: Tensor) -> Tensor:
        if self.lift is not None:
            x = self.lift(x)
        # Under autocast a product is in bfloat16, too coarse for what is added up over many blocks.
        return x.to(torch.promote_types(x.dtype, self.narrow.weight.dtype))

    def _mix_units(self, u: Tensor) -> Tensor:
        read = self.norms[1](u)
        mixed: Tensor = self.narrow(functional.silu(self.gate(read)) * self.wide(read))
        return u + mixed

    def _check_kind_of_state(self, state: State) -> None:
        self.layer._check_kind_of_state(state)
