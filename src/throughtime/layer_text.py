"""What stack is meant, in a line of text such as `rg_lru:192x4:conv:block`.

    layers = group { "+" group }
    group  = name ":" size { "," size } { ":" word }
    size   = H [ "x" depth ]
    word   = "conv" | "block"

Groups and sizes go from the input up; the words of a group hold for each layer of it. Which names
there are is the caller's to know: `layers` has layers of torch, `runtime` has some without it.
"""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from throughtime.errors import OptionError

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
        >>> from throughtime.layers import parse
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


def read_layers(text: str, check_name: Callable[[str], object]) -> StackSpec:
    """Read layers such as `gru:64x2`, `gru:256,128,64`, `rg_lru:192x4:conv:block`.

    Args:
        text: as the grammar above has it.
        check_name: raises `OptionError` for a name that is not a layer's.

    Raises:
        OptionError: when the text has another form, or has an unknown name or word (with the
            nearest that exists), or more layers than make sense.
    """
    if len(text) > _LONGEST_TEXT:
        raise OptionError(
            f"expected layers in {_LONGEST_TEXT} characters at most, got {len(text)}; "
            "write equal layers as one, such as gru:64x2"
        )
    layers = tuple(
        layer for group in text.split("+") for layer in _read_group(group, text, check_name)
    )
    if len(layers) > _MOST_LAYERS:
        raise OptionError(f"expected {_MOST_LAYERS} layers at most, got {len(layers)} in {text!r}")
    return StackSpec(layers)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the question that ends an error about an unknown name, where there is a near one."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _read_group(group: str, text: str, check_name: Callable[[str], object]) -> list[LayerSpec]:
    """Read the layers of one name and the same words."""
    where = "" if group == text else f" in {text!r}"
    name, *rest = group.split(":")
    if not rest or not re.fullmatch(r"[a-z_0-9]+", name):
        raise OptionError(f"expected a layer such as {_EXAMPLES}, got {group!r}{where}")
    check_name(name)
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
