"""What a layer computes: one layer a file, all under the contract of `throughtime.recurrent`."""

from throughtime.layers.accelerated import accelerate, backends, decelerate
from throughtime.layers.attention import WindowAttention
from throughtime.layers.bidirectional import Bidirectional
from throughtime.layers.block import Block
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
from throughtime.layers.registry import make, names
from throughtime.layers.regularised import Regularised, RegularisedState
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.rnn import RNN
from throughtime.layers.rwkv7 import RWKV7
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM
from throughtime.layers.sizes import parameter_count, size_for, state_floats
from throughtime.layers.slstm import SLSTM
from throughtime.layers.spec import LayerSpec, StackSpec, build, parse
from throughtime.layers.stack import Stack
from throughtime.layers.torch_nn import from_torch, to_torch

__all__ = [
    "GRU",
    "HGRN",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "RNN",
    "RWKV7",
    "S5",
    "SLSTM",
    "Bidirectional",
    "Block",
    "CausalConvolution",
    "CoupledLSTM",
    "EchoState",
    "GatedDeltaNet",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LayerSpec",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "Regularised",
    "RegularisedState",
    "SelectiveSSM",
    "Stack",
    "StackSpec",
    "WindowAttention",
    "accelerate",
    "backends",
    "build",
    "decelerate",
    "from_torch",
    "make",
    "names",
    "parameter_count",
    "parse",
    "size_for",
    "state_floats",
    "to_torch",
]
