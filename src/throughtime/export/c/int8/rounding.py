"""From trained layers to ones in whole numbers: which there are, and what rounds each."""

from throughtime.export.c.around import SUPPORTED
from throughtime.export.c.int8 import rounding_around as around
from throughtime.export.c.int8 import rounding_classic as classic
from throughtime.export.c.int8 import rounding_diagonal as diagonal
from throughtime.export.c.int8 import rounding_selective as selective
from throughtime.export.c.int8.layer import IntegerLayer
from throughtime.export.c.int8.rounder import Adder, Rounder, Signal
from throughtime.layers.block import Block
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.coupled_lstm import CoupledLSTM
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gru import GRU
from throughtime.layers.hgrn import HGRN
from throughtime.layers.layer_norm_gru import LayerNormGRU
from throughtime.layers.layer_norm_lstm import LayerNormLSTM
from throughtime.layers.lru import LRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.peephole_lstm import PeepholeLSTM
from throughtime.layers.projected_lstm import ProjectedLSTM
from throughtime.layers.regularised import Regularised
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.rnn import RNN
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

_ADDERS: dict[type[Recurrent], Adder] = {
    RNN: classic.add_rnn,
    LSTM: classic.add_lstm,
    GRU: classic.add_gru,
    LayerNormLSTM: classic.add_layer_norm_lstm,
    LayerNormGRU: classic.add_layer_norm_gru,
    PeepholeLSTM: classic.add_peephole_lstm,
    CoupledLSTM: classic.add_lstm,
    ProjectedLSTM: classic.add_projected_lstm,
    EchoState: classic.add_rnn,
    MinGRU: diagonal.add_min_gru,
    MinLSTM: diagonal.add_min_lstm,
    LRU: diagonal.add_lru,
    RGLRU: diagonal.add_rg_lru,
    S5: diagonal.add_s5,
    SelectiveSSM: selective.add_selective,
    HGRN: diagonal.add_hgrn,
    CausalConvolution: around.add_convolution,
    Block: around.add_block,
    Stack: around.add_stack,
    Regularised: around.add_regularised,
}


def round_layers(layer: Recurrent, x: Signal) -> tuple[tuple[IntegerLayer, ...], Signal]:
    """Round the layers of a model; return them from the input up, and their output.

    Args:
        layer: the layers.
        x: what goes in, on the stream of the calibration.

    Raises:
        OptionError: there is no such layer in whole numbers.
    """
    rounder = Rounder(_ADDERS, ", ".join(SUPPORTED))
    y = rounder.add(layer, x)
    return tuple(rounder.layers), y
