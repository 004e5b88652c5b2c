"""Layers by name, for configuration files and the command line."""

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from throughtime.errors import OptionError
from throughtime.layers.attention import WindowAttention
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.coupled_lstm import CoupledLSTM
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gated_delta import GatedDeltaNet
from throughtime.layers.gru import GRU
from throughtime.layers.hgrn import HGRN
from throughtime.layers.layer_norm_gru import LayerNormGRU
from throughtime.layers.layer_norm_lstm import LayerNormLSTM
from throughtime.layers.lru import LRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.mlstm import MLSTM
from throughtime.layers.peephole_lstm import PeepholeLSTM
from throughtime.layers.projected_lstm import ProjectedLSTM
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.rnn import RNN
from throughtime.layers.rwkv7 import RWKV7
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM
from throughtime.layers.slstm import SLSTM
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

_MAKERS: dict[str, Callable[..., Recurrent]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "layer_norm_lstm": LayerNormLSTM,
    "layer_norm_gru": LayerNormGRU,
    "peephole_lstm": PeepholeLSTM,
    "coupled_lstm": CoupledLSTM,
    "projected_lstm": ProjectedLSTM,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "lru": LRU,
    "rg_lru": RGLRU,
    "s5": S5,
    "selective": SelectiveSSM,
    "hgrn": HGRN,
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "gated_delta": GatedDeltaNet,
    "rwkv7": RWKV7,
    "convolution": CausalConvolution,
    "attention": WindowAttention,
    "echo_state": EchoState,
}


class LayerSpec(NamedTuple):
    """What `gru:64x2` says: two layers "gru" with H = 64 each."""

    name: str
    hidden_size: int
    depth: int

    def __str__(self) -> str:
        return f"{self.name}:{self.hidden_size}x{self.depth}"


def names() -> tuple[str, ...]:
    """Return the names that `make` and `--layer` take."""
    return tuple(_MAKERS)


def make(name: str, input_size: int, hidden_size: int, **options: Any) -> Recurrent:
    """Make a layer by its name.

    Args:
        name: one of `names()`.
        input_size: F.
        hidden_size: H.
        options: the layer's own keyword arguments.

    Raises:
        OptionError: for an unknown name or option, with the nearest that exists.
    """
    maker = maker_of(name)
    signature = inspect.signature(maker).parameters.values()
    taken = [option.name for option in signature if option.kind is option.KEYWORD_ONLY]
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise OptionError(
            f"expected options of {name} among {', '.join(taken)}, got {', '.join(unknown)}"
            f"{_did_you_mean(unknown[0], taken) or '; leave it out or take another layer'}"
        )
    return maker(input_size, hidden_size, **options)


def parse(text: str) -> LayerSpec:
    """Read `name:size` or `name:sizexdepth`, such as `gru:64x2`.

    Raises:
        OptionError: when the text has another form, or names no layer.
    """
    match = re.fullmatch(r"([a-z_0-9]+):([1-9][0-9]{0,5})(?:x([1-9][0-9]?))?", text)
    if match is None:
        raise OptionError(f"expected a layer such as gru:64 or lstm:256x2, got {text!r}")
    maker_of(match[1])
    return LayerSpec(match[1], int(match[2]), int(match[3] or 1))


def build(spec: LayerSpec, input_size: int, *, dropout: float = 0.0, **options: Any) -> Recurrent:
    """Build what a spec says: a layer, or a `Stack` of several.

    Args:
        spec: name, H and depth.
        input_size: F.
        dropout: between layers; has no place with a depth of 1 and is then left out.
        options: given to each layer.
    """
    sizes = [input_size] + [spec.hidden_size] * (spec.depth - 1)
    layers = [make(spec.name, size, spec.hidden_size, **options) for size in sizes]
    return layers[0] if spec.depth == 1 else Stack(layers, dropout=dropout)


def maker_of(name: str) -> Callable[..., Recurrent]:
    """Return the class of a name.

    Raises:
        OptionError: for an unknown name, with the nearest that exists.
    """
    if name not in _MAKERS:
        hint = _did_you_mean(name, names())
        raise OptionError(f"expected a layer among {', '.join(names())}, got {name!r}{hint}")
    return _MAKERS[name]


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
