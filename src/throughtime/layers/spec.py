"""Layers as a line of text such as `rg_lru:192x4:conv:block` says them, read and built.

The grammar is in `layer_text`.
"""

from collections.abc import Mapping
from typing import Any

from throughtime.errors import OptionError
from throughtime.layer_text import LayerSpec, StackSpec, read_layers
from throughtime.layers.block import Block
from throughtime.layers.classic import Classic
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.registry import make, maker_of, options_of
from throughtime.layers.regularised import Regularised
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

__all__ = ["LayerSpec", "StackSpec", "build", "parse"]


def parse(text: str) -> StackSpec:
    """Read layers such as `gru:64x2`, `gru:256,128,64`, `rg_lru:192x4:conv:block`.

    Args:
        text: as the grammar of `layer_text` has it.

    Raises:
        OptionError: when the text has another form, or has an unknown name or word (with the
            nearest that exists), or more layers than make sense.
    """
    return read_layers(text, maker_of)


def build(
    spec: StackSpec,
    input_size: int,
    *,
    dropout: float = 0.0,
    noise: Mapping[str, Any] | None = None,
    **options: Any,
) -> Recurrent:
    """Build what a spec says: a layer, or a `Stack` of several.

    Args:
        spec: what `parse` returns.
        input_size: F.
        dropout: between layers; has no place with one layer and is then left out.
        noise: options of `Regularised`, which each classic layer is then put into.
        options: given to each layer that takes them.

    Raises:
        OptionError: when an option is one of no layer, or a layer can't have its size, or there is
            noise and no layer that it goes into.

    Example:
        >>> import torch
        >>> y, state = build(parse("rg_lru:8x2:conv:block"), 3)(torch.ones(2, 7, 3))
        >>> y.shape
        torch.Size([2, 7, 8])
    """
    taken = {option for layer in spec.layers for option in options_of(layer.name)}
    layers: list[Recurrent] = []
    size = input_size
    for layer in spec.layers:
        # What no layer takes goes to each: the first refuses it, by its own options.
        own = {*options_of(layer.name), *(options.keys() - taken)}
        given = {option: value for option, value in options.items() if option in own}
        layers.append(_build_layer(layer, size, given, noise))
        size = layer.hidden_size
    if noise and not any(
        isinstance(each, Regularised) for stack in layers for each in stack.modules()
    ):
        raise OptionError(
            f"expected an RNN, LSTM, GRU or a variant of one with {', '.join(noise)}, got "
            f"{spec}; take dropout between layers instead"
        )
    return layers[0] if len(layers) == 1 else Stack(layers, dropout=dropout)


def _build_layer(
    spec: LayerSpec, input_size: int, options: dict[str, Any], noise: Mapping[str, Any] | None
) -> Recurrent:
    size = spec.hidden_size if "block" in spec.words else input_size
    layer = make(spec.name, size, spec.hidden_size, **options)
    if noise and isinstance(layer, Classic):
        layer = Regularised(layer, **noise)
    if "conv" in spec.words:
        layer = Stack([CausalConvolution(size, size, depthwise=True), layer])
    return Block(layer, input_size=input_size) if "block" in spec.words else layer
