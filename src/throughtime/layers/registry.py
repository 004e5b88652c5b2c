"""Layers by name, for configuration files and the command line."""

import inspect
from collections.abc import Callable
from typing import Any

from throughtime.errors import OptionError
from throughtime.layer_text import did_you_mean
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
    taken = options_of(name)
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise OptionError(
            f"expected options of {name} among {', '.join(taken)}, got {', '.join(unknown)}"
            f"{did_you_mean(unknown[0], taken) or '; leave it out or take another layer'}"
        )
    return maker_of(name)(input_size, hidden_size, **options)


def options_of(name: str) -> tuple[str, ...]:
    """Return the keyword arguments that a layer takes."""
    signature = inspect.signature(maker_of(name)).parameters.values()
    return tuple(option.name for option in signature if option.kind is option.KEYWORD_ONLY)


def maker_of(name: str) -> Callable[..., Recurrent]:
    """Return the class of a name.

    Raises:
        OptionError: for an unknown name, with the nearest that exists.
    """
    if name not in _MAKERS:
        hint = did_you_mean(name, names())
        raise OptionError(f"expected a layer among {', '.join(names())}, got {name!r}{hint}")
    return _MAKERS[name]
