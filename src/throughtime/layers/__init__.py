"""What a layer computes: one layer a file, all under the contract of `throughtime.recurrent`."""

from throughtime.layers.accelerated import accelerate, backends, decelerate
from throughtime.layers.bidirectional import Bidirectional
from throughtime.layers.gru import GRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.registry import LayerSpec, build, make, names, parse
from throughtime.layers.rnn import RNN
from throughtime.layers.stack import Stack
from throughtime.layers.torch_nn import from_torch, to_torch

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "LayerSpec",
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
