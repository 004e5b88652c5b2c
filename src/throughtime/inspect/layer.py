"""What may be measured as a layer: ours, and torch's own, as the layer of the same weights."""

from torch import nn

from throughtime.errors import OptionError
from throughtime.layers import from_torch
from throughtime.recurrent import Recurrent


def as_layer(module: nn.Module) -> Recurrent:
    """Return a layer of ours as it is, and an `nn.RNN`, `nn.LSTM` or `nn.GRU` as one of ours.

    Raises:
        OptionError: for any other module.
    """
    if isinstance(module, Recurrent):
        return module
    if isinstance(module, nn.RNNBase):
        return from_torch(module).train(module.training)
    raise OptionError(
        f"expected a recurrent layer or stack, or an nn.RNN, nn.LSTM or nn.GRU, got "
        f"{type(module).__name__}; name the layer within it"
    )
