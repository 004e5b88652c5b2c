"""The model that every task trains: encoder, recurrent stack, head.

A `SequenceModel` is made from a small configuration and has the call signatures of a recurrent
layer, for windows and for single steps. What its outputs mean is the task's business.
"""

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from throughtime import layers
from throughtime.state import State


class ModelConfig(BaseModel):
    """What a model is made of.

    Attributes:
        features: F of the inputs, where they are numbers.
        symbols: V, the size of the vocabulary, where the inputs are symbols.
        embedding: size of a symbol's vector.
        layer: name, size and depth of the recurrent stack, such as `gru:64x2`.
        dropout: share dropped between layers in training.
        memory: steps that the gates should remember from the start; None for the usual biases.
        outputs: O, numbers put out at each step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int | None = Field(default=None, ge=1, le=100_000)
    symbols: int | None = Field(default=None, ge=1, le=10_000_000)
    embedding: int = Field(default=128, ge=1, le=100_000)
    layer: str
    dropout: float = Field(default=0.0, ge=0, lt=1)
    memory: int | None = Field(default=None, ge=3)
    outputs: int = Field(ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _check_inputs(self) -> "ModelConfig":
        if (self.features is None) == (self.symbols is None):
            raise ValueError("expected either features or symbols")
        layers.parse(self.layer)
        return self


class SequenceModel(nn.Module):
    """Encoder, recurrent stack and head.

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
        spec = layers.parse(config.layer)
        size = config.features or config.embedding
        self.embedding = None if config.symbols is None else nn.Embedding(config.symbols, size)
        options: dict[str, Any] = {} if config.memory is None else {"memory": config.memory}
        self.layers = layers.build(spec, size, dropout=config.dropout, **options)
        self.head = nn.Linear(self.layers.output_size, config.outputs)

    def initial_state(self, batch_size: int, *, device: torch.device | str | None = None) -> State:
        """Return the state before the first step, for B lanes."""
        return self.layers.initial_state(batch_size, device=device)

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
        y, state = self.layers(self._encode(inputs), state, lengths=lengths, resets=resets)
        return self.head(y), state

    def step(
        self, inputs: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run one step: inputs (B, F) or (B,) int64 to outputs (B, O)."""
        y, state = self.layers.step(self._encode(inputs), state, reset=reset)
        return self.head(y), state

    def parameter_count(self) -> int:
        """Return how many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _encode(self, inputs: Tensor) -> Tensor:
        return inputs if self.embedding is None else self.embedding(inputs)
