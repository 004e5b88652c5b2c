"""Layers on top of each other, as one layer."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime.errors import OptionError, ShapeError, StateError
from throughtime.layers import noise as noises
from throughtime.recurrent import Recurrent
from throughtime.state import State


class Stack(Recurrent):
    """Run layers in a row: each reads what the one below it put out.

    The state is the tuple of the layers' states; with dropout, a `Noise` of (seed, step) per lane
    comes last, from which every mask follows.

    Args:
        layers: from the input up; F of each is D of the one below.
        dropout: share of units dropped between two layers in training, in [0, 1).
        residual: add each layer's input to its output, where the two sizes are equal.
        norm: normalise each layer's input over its features (LayerNorm).

    Raises:
        ShapeError: when sizes do not fit.
        OptionError: when there are no layers, or dropout has no place or value that makes sense.

    Example:
        >>> from throughtime.layers.gru import GRU
        >>> stack = Stack([GRU(3, 8), GRU(8, 5)], dropout=0.1)
        >>> y, state = stack(torch.ones(2, 7, 3))
        >>> y.shape, len(state)
        (torch.Size([2, 7, 5]), 3)
    """

    def __init__(
        self,
        layers: Sequence[Recurrent],
        *,
        dropout: float = 0.0,
        residual: bool = False,
        norm: bool = False,
    ) -> None:
        if not layers:
            raise OptionError("expected at least one layer in a Stack, got none")
        if not 0 <= dropout < 1:
            raise OptionError(f"expected dropout of at least 0 and below 1, got {dropout}")
        if dropout and len(layers) == 1:
            raise OptionError(
                f"expected two layers or more with dropout between layers, got 1 layer and "
                f"dropout {dropout}; set dropout=0 or add a layer"
            )
        for below, above in pairwise(layers):
            if below.output_size != above.input_size:
                raise ShapeError(
                    f"expected each layer's F to be D of the one below, got D = "
                    f"{below.output_size} below F = {above.input_size}"
                )
        super().__init__(layers[0].input_size, layers[-1].output_size)
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(layer.input_size) for layer in layers if norm)
        self.dropout = dropout
        self.residual = residual
        self.streamable = all(layer.streamable for layer in layers)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[State, ...]:
        """Return the layers' states before their first steps, and the noise where there is some."""
        states: list[State] = [
            layer.initial_state(batch_size, device=device, dtype=dtype) for layer in self._each()
        ]
        if self.dropout:
            place = device or next(self.parameters()).device
            states.append(noises.initial_noise(batch_size, place, fresh=self.training))
        return tuple(states)

    def restart(self, state: tuple[State, ...]) -> tuple[State, ...]:
        """Restart every layer, and go on to the next seed."""
        fresh = [layer.restart(part) for layer, part in zip(self._each(), state, strict=False)]
        if self.dropout:
            fresh.append(noises.restart(state[-1]))
        return tuple(fresh)

    def update(self, x: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """One step through all layers: x (B, F) to y (B, D)."""
        after: list[State] = []
        for place, layer in enumerate(self._each()):
            y, part = kernels.step(layer, self._prepare(x, place), state[place])
            after.append(part)
            x = self._combine(x, y, place, state[-1] if self.dropout else None)
        if self.dropout:
            after.append(noises.advance(state[-1]))
        return x, tuple(after)

    def run(
        self,
        x: Tensor,
        state: tuple[State, ...],
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run layer by layer, each over the whole sequence."""
        each, end = None, None
        if self.dropout:
            each, end = noises.unroll(state[-1], x.shape[1], lengths, resets)
        after: list[State] = []
        for place, layer in enumerate(self._each()):
            y, part = layer.run(self._prepare(x, place), state[place], lengths, resets)
            after.append(part)
            x = self._combine(x, y, place, each)
        if self.dropout:
            after.append(end)
        return x, tuple(after)

    @property
    def backend(self) -> str:
        """What each layer would run on, and why."""
        return "; ".join(dict.fromkeys(layer.backend for layer in self._each()))

    def _check_kind_of_state(self, state: State) -> None:
        wanted = len(self.layers) + bool(self.dropout)
        if not isinstance(state, tuple) or len(state) != wanted:
            size = f" of {len(state)}" if isinstance(state, tuple) else ""
            noise = " and the noise of its dropout" if self.dropout else ""
            raise StateError(
                f"expected a tuple of {wanted} in Stack, a state for each layer{noise}, got "
                f"{type(state).__name__}{size}; make states with initial_state(B)"
            )
        for layer, part in zip(self._each(), state, strict=False):
            layer._check_kind_of_state(part)
        if self.dropout and not isinstance(state[-1], noises.Noise):
            raise StateError(
                f"expected a Noise as the last part of a Stack's state with dropout, got "
                f"{type(state[-1]).__name__}; make states with initial_state(B)"
            )

    def _each(self) -> list[Recurrent]:
        return list(self.layers)  # type: ignore[arg-type]

    def _prepare(self, x: Tensor, place: int) -> Tensor:
        normalised: Tensor = self.norms[place](x) if len(self.norms) else x
        return normalised

    def _combine(self, x: Tensor, y: Tensor, place: int, noise: noises.Noise | None) -> Tensor:
        if self.residual and x.shape[-1] == y.shape[-1]:
            y = x + y
        if noise is not None and self.training and place + 1 < len(self.layers):
            y = noises.dropout(y, noise, self.dropout, salt=place)
        return y
