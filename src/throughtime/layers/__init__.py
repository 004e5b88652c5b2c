"""What a layer computes: one layer a file, all under the contract of `throughtime.recurrent`."""

from throughtime.layers.accelerated import accelerate, backends, decelerate
from throughtime.layers.bidirectional import Bidirectional
from throughtime.layers.gru import GRU
from throughtime.layers.hgrn import HGRN
from throughtime.layers.lru import LRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.registry import LayerSpec, build, make, names, parse
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.rnn import RNN
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM
from throughtime.layers.stack import Stack
from throughtime.layers.torch_nn import from_torch, to_torch

__all__ = [
    "GRU",
    "HGRN",
    "LRU",
    "LSTM",
    "RGLRU",
    "RNN",
    "S5",
    "Bidirectional",
    "LayerSpec",
    "MinGRU",
    "MinLSTM",
    "SelectiveSSM",
    "Stack",
    "accelerate",
    "backends",
    "build",
    "decelerate",
    "from_torch",
    "make",
    "names",
    "parse",
    "to_torch",
]
