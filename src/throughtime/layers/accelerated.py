"""Torch.nn's recurrent modules inside anybody's model, run by these layers.

A module is changed in place: it gets a class that overrides `forward` and nothing else, and thus
stays the same object with the same parameters, hooks and options, and an instance of its old class.
The maths is that of `layers`; here is only what turns a call of torch.nn into calls of theirs.
"""

import logging
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from throughtime.errors import OptionError
from throughtime.layers.classic import Classic
from throughtime.layers.gru import GRU
from throughtime.layers.layouts import Even, Ragged
from throughtime.layers.lstm import LSTM
from throughtime.layers.rnn import RNN
from throughtime.state import State

_log = logging.getLogger("throughtime")

FEW_STEPS = 8
"""Sequences below this are left to torch.nn: a call of a layer would take longer than its steps."""

M = TypeVar("M", bound=nn.Module)


def accelerate(model: M) -> M:
    """Run the `nn.RNN`, `nn.LSTM` and `nn.GRU` modules of a model on this library's kernels.

    The modules are changed in place, wherever they are in the model and the model itself if it is
    one: parameters, state_dict, options, hooks and call signature stay what they are, so that one
    line speeds up an existing script, before or after its optimizer is made. What can't be served
    is left to torch.nn; the log (logger "throughtime") and `backends` say so. `decelerate` undoes.

    Args:
        model: any module. Subclasses of torch's modules, modules with `proj_size` and cells in it
            are left alone.

    Returns:
        The same model.

    Raises:
        OptionError: when model is no module.

    Example:
        >>> model = accelerate(nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 5)))
        >>> model[1]
        AcceleratedGRU(4, 5)
        >>> output, h_n = model(torch.ones(7, 2, 3))
        >>> output.shape, h_n.shape
        (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """
    found = _recurrent_modules(model)
    left = {}
    for name, module in found.items():
        reason = _reason_to_leave(module)
        if reason is not None:
            left[name] = reason
        elif not isinstance(module, Accelerated):
            module.__class__ = _CLASSES[type(module)]
    where = f"recurrent modules of {type(model).__name__}"
    if not found:
        _log.warning("accelerated none of the %s: there are none of torch.nn's", where)
    elif left:
        reasons = "; ".join(f"{name or 'model'}: {reason}" for name, reason in left.items())
        count = len(found) - len(left)
        _log.warning("accelerated %d of %d %s; left alone: %s", count, len(found), where, reasons)
    else:
        _log.info("accelerated all %d %s", len(found), where)
    return model


def decelerate(model: M) -> M:
    """Give every module that `accelerate` changed its own class back, in place.

    Before a model is scripted, quantised or pickled for somebody without this library.

    Returns:
        The same model.

    Raises:
        OptionError: when model is no module.

    Example:
        >>> decelerate(accelerate(nn.GRU(4, 5)))
        GRU(4, 5)
    """
    for module in _recurrent_modules(model).values():
        if isinstance(module, Accelerated):
            module.__class__ = module.torch_class  # type: ignore[assignment]
    return model


def backends(model: nn.Module) -> dict[str, str]:
    """Say what would run each of a model's torch.nn recurrent modules now, and why.

    Returns:
        By the module's name in the model: the layers' backend, or "torch.nn: " and a reason.

    Raises:
        OptionError: when model is no module.

    Example:
        >>> backends(accelerate(nn.Sequential(nn.LSTM(3, 4, proj_size=2))))
        {'0': 'torch.nn: it has proj_size=2'}
    """
    found = {}
    for name, module in _recurrent_modules(model).items():
        if isinstance(module, Accelerated):
            found[name] = module.backend
        else:
            found[name] = f"torch.nn: {_reason_to_leave(module) or 'it is not accelerated'}"
    return found


class Accelerated(nn.RNNBase):
    """What the accelerated RNN, LSTM and GRU share: `forward`, with torch.nn's signature.

    A call that the layers can't serve goes to torch.nn's own `forward`, a wrong one as well: its
    error is then the one that the model would have had before.
    """

    torch_class: ClassVar[type[nn.RNNBase]]
    layer_class: ClassVar[type[Classic]]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run over whole sequences, as `torch.nn` documents it.

        Args:
            input: (T, B, F), or (B, T, F) with `batch_first`, or (T, F), or a PackedSequence.
            hx: (layers * directions, B, H), or without B for (T, F); a pair of them for an LSTM.

        Returns:
            The output in the form of the input, with D = H * directions, and the last states in
            the form of `hx`.
        """
        weights = self._weights()
        if self._reason_against(weights) or not self._is_plain(input, hx, weights[0][0]):
            return super().forward(input, hx)  # type: ignore[no-any-return]
        singles = self._singles(weights)
        if _reason_against_layer(singles[0], self._steps(input)):
            return super().forward(input, hx)  # type: ignore[no-any-return]
        hidden: list[Tensor] | None = None if hx is None else _leaves(hx)
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hidden, singles)
        if input.dim() == 2:
            hidden = hidden and [leaf.unsqueeze(1) for leaf in hidden]
            y, ends = self._run(input.unsqueeze(1), hidden, Even(), singles)
            return y.squeeze(1), self._as_hx([end.squeeze(1) for end in ends])
        steps = input.transpose(0, 1) if self.batch_first else input
        y, ends = self._run(steps, hidden, Even(), singles)
        # Those who `view` the output rely on its being contiguous when time comes first.
        y = y.transpose(0, 1) if self.batch_first else y.contiguous()
        return y, self._as_hx(ends)

    @property
    def backend(self) -> str:
        """What would run a plain call of `FEW_STEPS` or more now, and why."""
        weights = self._weights()
        single = self._singles(weights)[0]
        reason = self._reason_against(weights) or _reason_against_layer(single)
        return f"torch.nn: {reason}" if reason else single.backend

    def _run_packed(
        self, input: PackedSequence, hidden: list[Tensor] | None, singles: list[Classic]
    ) -> tuple[PackedSequence, Any]:
        data, batch_sizes, sorted_indices, unsorted_indices = input
        if hidden is not None and sorted_indices is not None:
            hidden = [leaf.index_select(1, sorted_indices) for leaf in hidden]
        steps, lanes = len(batch_sizes), int(batch_sizes[0])
        if len(data) == steps * lanes:
            y, ends = self._run(data.view(steps, lanes, -1), hidden, Even(), singles)
            y = y.flatten(0, 1)
        else:
            y, ends = self._run(data, hidden, Ragged(batch_sizes), singles)
        if unsorted_indices is not None:
            ends = [end.index_select(1, unsorted_indices) for end in ends]
        packed = PackedSequence(y, batch_sizes, sorted_indices, unsorted_indices)
        return packed, self._as_hx(ends)

    def _run(
        self,
        data: Tensor,
        hidden: list[Tensor] | None,
        layout: Even | Ragged,
        singles: list[Classic],
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all layers: data in the layout, hidden and ends (layers * directions, B, H) each."""
        dtype, wanted = singles[0].weight_ih.dtype, self._result_dtype(data, hidden, layout)
        data, hidden = data.to(dtype), hidden and [leaf.to(dtype) for leaf in hidden]
        directions = 2 if self.bidirectional else 1
        ends = []
        for place in range(0, len(singles), directions):
            if place and self.dropout and self.training:
                # Contiguous, so that a seed drops the units which it drops in torch.nn.
                data = functional.dropout(data.contiguous(), self.dropout)
            outputs = []
            for direction, single in enumerate(singles[place : place + directions]):
                state = hidden and _state(single, [leaf[place + direction] for leaf in hidden])
                x = layout.lanes(data, backward=direction == 1)
                # Not a call: hooks on every module of a program should see those of its model.
                y, end = single.forward(x, state, lengths=layout.lengths)
                outputs.append(layout.steps(y, backward=direction == 1))
                ends.append(end)
            data = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
        return data.to(wanted), [torch.stack(rows).to(wanted) for rows in zip(*ends, strict=True)]

    def _weights(self) -> list[list[Tensor]]:
        """Return the weights of each layer and direction, as they are now.

        They are read for each call, because they may be replaced, computed from others by a hook,
        or swapped by `functional_call`.
        """
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def _singles(self, weights: list[list[Tensor]]) -> list[Classic]:
        """Make a layer for each layer and direction; nothing of ours is kept, copied or pickled."""
        options = {"nonlinearity": self.nonlinearity} if isinstance(self, nn.RNN) else {}
        return [self.layer_class.around(each, **options) for each in weights]

    def _reason_against(self, weights: list[list[Tensor]]) -> str | None:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state():
            return "a graph is being traced"
        if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
            return "a function transform is active"
        kinds = {(weight.device.type, weight.dtype) for each in weights for weight in each}
        if len(kinds) > 1:
            return "its weights are of several kinds"
        device, dtype = kinds.pop()
        if device != "cpu":
            return f"its weights are on {device}"
        if dtype not in (torch.float32, torch.float64):
            return f"its weights are {dtype}"
        if torch.is_autocast_enabled("cpu"):
            if torch.get_autocast_dtype("cpu") != torch.bfloat16:
                return f"autocast is to {torch.get_autocast_dtype('cpu')}"
            if dtype != torch.float32:
                return f"its weights are {dtype} under autocast"
        return None

    def _is_plain(self, input: Any, hx: Any, weight: Tensor) -> bool:
        """Say whether torch.nn takes the call, and whether its tensors are of the common kind."""
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        dtypes = {weight.dtype}
        if torch.is_autocast_enabled("cpu"):
            dtypes.add(torch.bfloat16)

        def is_dense(tensor: Any) -> bool:
            return (
                isinstance(tensor, Tensor)
                and tensor.dtype in dtypes
                and tensor.device == weight.device
                and tensor.layout == torch.strided
                and not tensor.is_nested
            )

        if not is_dense(data) or not data.numel() or data.shape[-1] != self.input_size:
            return False
        if data.dim() not in ((2,) if packed else (2, 3)):
            return False
        if hx is None:
            return True
        lanes: list[int] = []
        if packed:
            lanes = [int(input.batch_sizes[0])]
        elif data.dim() == 3:
            lanes = [data.shape[0 if self.batch_first else 1]]
        shape = (len(self._all_weights), *lanes, self.hidden_size)
        if isinstance(hx, tuple | list) != isinstance(self, nn.LSTM):
            return False
        leaves = _leaves(hx)
        return (
            len(leaves) == (2 if isinstance(self, nn.LSTM) else 1)
            and all(is_dense(leaf) and leaf.shape == shape for leaf in leaves)
            and len({leaf.dtype for leaf in leaves}) == 1
        )

    def _result_dtype(
        self, data: Tensor, hidden: list[Tensor] | None, layout: Even | Ragged
    ) -> torch.dtype:
        """Return the dtype of torch.nn's result: autocast leaves the states of some loops alone."""
        carried = data.dtype if hidden is None else hidden[0].dtype
        if not torch.is_autocast_enabled("cpu") or isinstance(self, nn.GRU):
            return carried
        if isinstance(self, nn.LSTM) and isinstance(layout, Ragged):
            return carried
        return torch.bfloat16

    def _steps(self, input: Any) -> int:
        if isinstance(input, PackedSequence):
            return len(input.batch_sizes)
        return int(input.shape[1 if self.batch_first and input.dim() == 3 else 0])

    def _as_hx(self, ends: list[Tensor]) -> Any:
        return tuple(ends) if isinstance(self, nn.LSTM) else ends[0]


class AcceleratedRNN(Accelerated, nn.RNN):
    """An `nn.RNN` that runs on `throughtime.RNN`; `accelerate` makes it."""

    torch_class = nn.RNN
    layer_class = RNN


class AcceleratedLSTM(Accelerated, nn.LSTM):
    """An `nn.LSTM` that runs on `throughtime.LSTM`; `accelerate` makes it."""

    torch_class = nn.LSTM
    layer_class = LSTM


class AcceleratedGRU(Accelerated, nn.GRU):
    """An `nn.GRU` that runs on `throughtime.GRU`; `accelerate` makes it."""

    torch_class = nn.GRU
    layer_class = GRU


_CLASSES: dict[type[nn.Module], type[Accelerated]] = {
    kind.torch_class: kind for kind in (AcceleratedRNN, AcceleratedLSTM, AcceleratedGRU)
}


def _leaves(hx: Any) -> list[Any]:
    return list(hx) if isinstance(hx, tuple | list) else [hx]


def _state(layer: Classic, rows: list[Tensor]) -> State:
    assert layer.state_class is not None
    return layer.state_class(*rows)


def _reason_against_layer(layer: Classic, steps: int = FEW_STEPS) -> str | None:
    """Where a layer would call torch's kernels too, torch.nn needs fewer of those calls."""
    backend = layer.backend
    if backend.startswith("torch"):
        return f"nothing faster ({backend})"
    if steps < FEW_STEPS and not backend.startswith("reference"):
        return "few steps"
    return None


def _reason_to_leave(module: nn.Module) -> str | None:
    if not isinstance(module, Accelerated) and type(module) not in _CLASSES:
        return f"{type(module).__name__} is not nn.RNN, nn.LSTM or nn.GRU itself"
    if getattr(module, "proj_size", 0):
        return f"it has proj_size={module.proj_size}"
    if "forward" in vars(module):
        return "its forward was replaced on the object"
    return None


def _recurrent_modules(model: Any) -> dict[str, nn.Module]:
    """Return torch's recurrent modules, its quantised ones (which have no base in common) too."""
    if not isinstance(model, nn.Module):
        raise OptionError(f"expected an nn.Module, got {type(model).__name__}; pass the model")
    bases = {"RNNBase", "RNNCellBase", "LSTM", "GRU"}

    def is_recurrent(kind: type[nn.Module]) -> bool:
        return any(
            base.__name__ in bases and base.__module__.startswith("torch.") for base in kind.__mro__
        )

    return {name: each for name, each in model.named_modules() if is_recurrent(type(each))}
