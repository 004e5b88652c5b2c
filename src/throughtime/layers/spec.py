"""What stack is meant, in a line of text such as `rg_lru:192x4:conv:block`.

    layers = group { "+" group }
    group  = name ":" size { "," size } { ":" word }
    size   = H [ "x" depth ]
    word   = "conv" | "block"

Groups and sizes go from the input up; the words of a group hold for each layer of it.
"""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

from throughtime.errors import OptionError
from throughtime.layers.block import Block
from throughtime.layers.classic import Classic
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.registry import did_you_mean, make, maker_of, options_of
from throughtime.layers.regularised import Regularised
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

WORDS = ("conv", "block")
"""What may be said of a layer: a short convolution before it, a residual block around both."""

_EXAMPLES = "gru:64 or lstm:256x2, or rg_lru:192x4:conv:block, or gru:64x2+attention:64"
_MOST_LAYERS = 99
_LONGEST_TEXT = 4000


class LayerSpec(NamedTuple):
    """What is said of one layer: its name, its H, and which of the words."""

    name: str
    hidden_size: int
    words: tuple[str, ...] = ()


class StackSpec(NamedTuple):
    """What `gru:64x2` says: two layers "gru" with H = 64 each. Printed, it can be read again.

    Example:
        >>> spec = parse("gru:64,64,32+attention:32:block")
        >>> spec.layers[-1]
        LayerSpec(name='attention', hidden_size=32, words=('block',))
        >>> str(spec)
        'gru:64x2,32+attention:32x1:block'
    """

    layers: tuple[LayerSpec, ...]

    def __str__(self) -> str:
        groups = groupby(self.layers, key=lambda layer: (layer.name, layer.words))
        return "+".join(
            ":".join((name, _write_sizes([layer.hidden_size for layer in group]), *words))
            for (name, words), group in groups
        )


def parse(text: str) -> StackSpec:
    """Read layers such as `gru:64x2`, `gru:256,128,64`, `rg_lru:192x4:conv:block`.

    Args:
        text: as the grammar above has it.

    Raises:
        OptionError: when the text has another form, or has an unknown name or word (with the
            nearest that exists), or more layers than make sense.
    """
    if len(text) > _LONGEST_TEXT:
        raise OptionError(
            f"expected layers in {_LONGEST_TEXT} characters at most, got {len(text)}; "
            "write equal layers as one, such as gru:64x2"
        )
    layers = tuple(layer for group in text.split("+") for layer in _read_group(group, text))
    if len(layers) > _MOST_LAYERS:
        raise OptionError(f"expected {_MOST_LAYERS} layers at most, got {len(layers)} in {text!r}")
    return StackSpec(layers)


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


def _read_group(group: str, text: str) -> list[LayerSpec]:
    """Read the layers of one name and the same words."""
    where = "" if group == text else f" in {text!r}"
    name, *rest = group.split(":")
    if not rest or not re.fullmatch(r"[a-z_0-9]+", name):
        raise OptionError(f"expected a layer such as {_EXAMPLES}, got {group!r}{where}")
    maker_of(name)
    sizes, *words = rest
    for place, word in enumerate(words):
        if word not in WORDS:
            raise OptionError(
                f"expected a word among {', '.join(WORDS)} after the size of {name}, got "
                f"{word!r}{where}{did_you_mean(word, WORDS)}"
            )
        if word in words[:place]:
            raise OptionError(f"expected each word once, got {word!r} twice in {group!r}")
    ordered = tuple(word for word in WORDS if word in words)
    return [
        LayerSpec(name, size, ordered)
        for part in sizes.split(",")
        for size in _read_sizes(part, group)
    ]


def _read_sizes(part: str, group: str) -> list[int]:
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]?))?", part)
    if match is None:
        raise OptionError(
            f"expected sizes from 1 to 999999 and depths from 1 to {_MOST_LAYERS}, such as gru:64, "
            f"gru:64x2 or gru:256,128,64, got {group!r}"
        )
    return [int(match[1])] * int(match[2] or 1)


def _write_sizes(sizes: list[int]) -> str:
    runs = [(size, len(list(run))) for size, run in groupby(sizes)]
    if len(runs) == 1:
        return f"{runs[0][0]}x{runs[0][1]}"
    return ",".join(f"{size}x{count}" if count > 1 else f"{size}" for size, count in runs)
