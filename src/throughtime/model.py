"""The model that every task trains: encoder, recurrent stack, head.

A `SequenceModel` is made from a small configuration and has the call signatures of a recurrent
layer, for windows and for single steps. What its outputs mean is the task's business.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator
from torch import Tensor, nn

from throughtime import layers
from throughtime import state as states
from throughtime.errors import StateError
from throughtime.layers import noise as noises
from throughtime.state import State

_OF_LAYERS = ("memory", "learned_initial_state", "negative_eigenvalues")
"""Fields of `ModelConfig` that are options of the layers, each given to those that take it."""

_OF_NOISE = ("recurrent_dropout", "zoneout", "weight_drop")
"""Fields of `ModelConfig` that are options of `layers.Regularised`."""

_WRITTEN_WHEN_SAID = (
    *("embedding_dropout", "mask_span", "learned_initial_state", "negative_eigenvalues"),
    *_OF_NOISE,
)
"""Fields that a configuration without them does not mention, so that its file is as it was."""


class ModelConfig(BaseModel):
    """What a model is made of.

    Attributes:
        features: F of the inputs, where they are numbers.
        symbols: V, the size of the vocabulary, where the inputs are symbols.
        embedding: size of a symbol's vector.
        embedding_dropout: share of the symbols dropped in training, each wherever it stands.
        layer: the recurrent stack as `layers.parse` reads it, such as `gru:64x2`.
        dropout: share dropped between layers in training.
        recurrent_dropout: share of h that the gates of classic layers do not see in training.
        zoneout: share of units of classic layers that stay as they are at a step in training.
        weight_drop: share of recurrent weights of classic layers dropped in training.
        mask_span: steps after which other symbols, units and weights are dropped.
        memory: steps that the gates should remember from the start; None for the usual biases.
        learned_initial_state: whether the state that a sequence starts from is learned.
        negative_eigenvalues: whether layers that can may turn their states around at a step.
        outputs: O, numbers put out at each step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int | None = Field(default=None, ge=1, le=100_000)
    symbols: int | None = Field(default=None, ge=1, le=10_000_000)
    embedding: int = Field(default=128, ge=1, le=100_000)
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    layer: str
    dropout: float = Field(default=0.0, ge=0, lt=1)
    recurrent_dropout: float = Field(default=0.0, ge=0, lt=1)
    zoneout: float = Field(default=0.0, ge=0, lt=1)
    weight_drop: float = Field(default=0.0, ge=0, lt=1)
    mask_span: int = Field(default=128, ge=1)
    memory: int | None = Field(default=None, ge=3)
    learned_initial_state: bool = False
    negative_eigenvalues: bool = False
    outputs: int = Field(ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _check_inputs(self) -> "ModelConfig":
        if (self.features is None) == (self.symbols is None):
            raise ValueError("expected either features or symbols")
        if self.embedding_dropout and self.symbols is None:
            raise ValueError("expected symbols with embedding_dropout, which drops some of them")
        layers.parse(self.layer)
        return self

    @model_serializer(mode="wrap")
    def _leave_out(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        usual = {name: type(self).model_fields[name].default for name in _WRITTEN_WHEN_SAID}
        return {
            name: value
            for name, value in write(self).items()
            if name not in usual or value != usual[name]
        }

    def layer_options(self) -> dict[str, Any]:
        """Return the options of the layers that were asked for."""
        return {name: value for name in _OF_LAYERS if (value := getattr(self, name))}

    def noise_options(self) -> dict[str, Any]:
        """Return the options of the noise within layers; nothing where there is none."""
        found = {name: value for name in _OF_NOISE if (value := getattr(self, name))}
        return found | {"span": self.mask_span} if found else {}


@states.register
class NoisyState(NamedTuple):
    """State of a model that drops symbols: of its layers, and what the masks follow from."""

    layers: State
    noise: noises.Noise


class SequenceModel(nn.Module):
    """Encoder, recurrent stack and head.

    The state is that of the stack; with dropout of symbols, a `NoisyState`. Whole symbols are
    dropped, as by Gal and Ghahramani 2016 (https://arxiv.org/abs/1512.05287) and Merity, Keskar
    and Socher 2017 (https://arxiv.org/abs/1708.02182), who keep a mask for a sequence and for a
    window. Here a stream has no end, and may be cut anywhere: a mask lasts `mask_span` steps
    of a lane's sequence, by default as long as the window that a language model is trained on.

    Args:
        config: what it is made of.

    Example:
        >>> model = SequenceModel(ModelConfig(features=2, layer="gru:8", outputs=1))
        >>> y, state = model(torch.zeros(3, 5, 2))
        >>> y.shape, state.h.shape
        (torch.Size([3, 5, 1]), torch.Size([3, 8]))
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        size = config.features or config.embedding
        self.embedding = None if config.symbols is None else nn.Embedding(config.symbols, size)
        self.layers = layers.build(
            layers.parse(config.layer),
            size,
            dropout=config.dropout,
            noise=config.noise_options(),
            **config.layer_options(),
        )
        self.head = nn.Linear(self.layers.output_size, config.outputs)

    def initial_state(self, batch_size: int, *, device: torch.device | str | None = None) -> State:
        """Return the state before the first step, for B lanes."""
        state = self.layers.initial_state(batch_size, device=device)
        if not self.config.embedding_dropout:
            return state
        place = device or self.head.weight.device
        return NoisyState(state, noises.initial_noise(batch_size, place, fresh=self.training))

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run over windows.

        Args:
            inputs: (B, T, F) numbers or (B, T) int64 symbols.
            state: before step 0; the initial state when None.
            lengths: (B,) int64 or None.
            resets: (B, T) bool or None.

        Returns:
            Outputs (B, T, O) and the state after the last step that is there. Outputs beyond the
            lengths mean nothing.
        """
        x, noise = self._encode(inputs), None
        if self.config.embedding_dropout:
            if state is None:
                state = self.initial_state(len(x), device=x.device)
            self.layers._check_input(x, rank=3)
            state, noise = self._parts(state, x)
            lengths = None if lengths is None else self.layers._checked_lengths(lengths, x)
            resets = None if resets is None else self.layers._checked_resets(resets, x)
            if lengths is not None and resets is not None:
                resets = resets & (torch.arange(x.shape[1], device=x.device) < lengths[:, None])
            each, noise = noises.unroll(noise, x.shape[1], lengths, resets)
            x = self._drop(x, inputs, each)
        y, state = self.layers(x, state, lengths=lengths, resets=resets)
        return self.head(y), state if noise is None else NoisyState(state, noise)

    def step(
        self, inputs: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run one step: inputs (B, F) or (B,) int64 to outputs (B, O)."""
        x, noise = self._encode(inputs), None
        if self.config.embedding_dropout:
            self.layers._check_input(x, rank=2)
            state, noise = self._parts(state, x)
            if reset is not None:
                noise = states.where(reset.to(x.device), noises.restart(noise), noise)
            x = self._drop(x, inputs, noise)
            noise = noises.advance(noise)
        y, state = self.layers.step(x, state, reset=reset)
        return self.head(y), state if noise is None else NoisyState(state, noise)

    def parameter_count(self) -> int:
        """Return how many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _encode(self, inputs: Tensor) -> Tensor:
        return inputs if self.embedding is None else self.embedding(inputs)

    def _drop(self, x: Tensor, symbols: Tensor, noise: noises.Noise) -> Tensor:
        if not self.training:
            return x
        rate, span = self.config.embedding_dropout, self.config.mask_span
        return noises.drop_symbols(x, symbols, noise, rate, span)

    def _parts(self, state: State, x: Tensor) -> tuple[State, noises.Noise]:
        """Return the state of the layers and the noise, of as many lanes as x."""
        if not isinstance(state, NoisyState):
            raise StateError(
                f"expected a NoisyState in a SequenceModel with embedding_dropout, got "
                f"{type(state).__name__}; make states with initial_state(B)"
            )
        states.lanes(state)  # Noise of one lane would be broadcast to all.
        self.layers._check_state(state.layers, x)
        return state
