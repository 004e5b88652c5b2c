"""The native kernels of the classic cells as torch operators, with fakes and gradients.

`throughtime::sequence` runs a cell over whole sequences and `throughtime::sequence_backward` is its
derivative. Being operators, they can be traced by `torch.compile` whatever T is. All weights'
gradients are one large product each at the end, by torch.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ShapeError, ThroughtimeError
from throughtime.kernels import library

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
_SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 4}
"""Numbers that a unit keeps of each step for backward; `native/cells.h` says which."""

_operators: Any = torch.library.Library("throughtime", "DEF")  # type: ignore[no-untyped-call]
_operators.define(
    "sequence(Tensor x, Tensor h, Tensor? c, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, "
    "Tensor? bias_hh, Tensor? h_restart, Tensor? c_restart, Tensor? lengths, Tensor? resets, "
    "str cell, bool bfloat16, bool keep) "
    "-> (Tensor y, Tensor h_end, Tensor c_end, Tensor rows, Tensor gates, Tensor h_before, "
    "Tensor c_before)"
)
_operators.define(
    "sequence_backward(Tensor? dy, Tensor? dh_end, Tensor? dc_end, Tensor rows, Tensor(a!) gates, "
    "Tensor h_before, Tensor c_before, Tensor weight_ih, Tensor weight_hh, Tensor? lengths, "
    "Tensor? resets, SymInt lanes, SymInt steps, str cell, bool bfloat16, bool wants_x) "
    "-> (Tensor dx, Tensor dh, Tensor dc, Tensor dh_restart, Tensor dc_restart, "
    "Tensor dweight_ih, Tensor dweight_hh, Tensor dbias_ih, Tensor dbias_hh)"
)


def _new_results(
    x: Tensor, h: Tensor, ragged: bool, cell: str, bfloat16: bool, keep: bool
) -> tuple[Tensor, ...]:
    """Return y, h_end, c_end, rows, gates, h_before, c_before, not filled.

    There is room for as many rows as there can be: how many there are depends on values, and what
    is never touched takes no memory.
    """
    lanes, steps, features = x.shape
    units, has_cell = h.shape[1], cell == "lstm"
    stored = torch.bfloat16 if bfloat16 else torch.float32
    kept = lanes * steps if keep else 0
    return (
        h.new_empty(lanes, steps, units),
        h.new_empty(lanes, units),
        h.new_empty(lanes if has_cell else 0, units),
        x.new_empty(lanes * steps if ragged or bfloat16 else 0, features, dtype=stored),
        x.new_empty(kept, _SLOTS[cell] * units, dtype=stored),
        x.new_empty(kept, units, dtype=stored),
        x.new_empty(kept if has_cell else 0, units),
    )


def _run(
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    h_restart: Tensor | None,
    c_restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    bfloat16: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    check_sizes(x.shape, (h, c), weights, (h_restart, c_restart), cell)
    _check_conditions(x, lengths, resets, h_restart)
    results = _new_results(x, h, lengths is not None, cell, bfloat16, keep)
    y, h_end, c_end, rows, *kept = results
    if lengths is not None:
        there = x[torch.arange(x.shape[1]) < lengths[:, None]]
        rows[: len(there)] = there
    elif bfloat16:
        rows.copy_(x.flatten(0, 1))
    else:
        rows = x
    layer = view_of_layer(cell, bfloat16, weight_ih, weight_hh, bias_ih, bias_hh)
    given = [_dense(each) for each in (lengths, resets, rows, h, c, h_restart, c_restart)]
    sequence = library.Sequence(
        layer[0],
        torch.get_num_threads(),
        *x.shape[:2],
        *map(_address, given),
        *map(_address, (y, h_end, c_end)),
        *(map(_address, kept) if keep else (None, None, None)),
    )
    _call(library.load().tt_forward, ctypes.byref(sequence))
    return results


def check_sizes(
    shape: tuple[int, ...],
    state: tuple[Tensor | None, Tensor | None],
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    restart: tuple[Tensor | None, Tensor | None],
    cell: str,
) -> None:
    """Hold every tensor to its size: the kernels write through plain pointers.

    Layers check what users give them, but a traced graph and a changed parameter come here unseen.

    Args:
        shape: of x, (B, ..., F).
        state: h and c, (B, H).
        weights: in torch's layout.
        restart: as `state`, or None without resets.
        cell: one of `library.CELLS`.

    Raises:
        ShapeError: for another size or dtype.
    """
    units = weights[1].shape[-1]
    rows, each = GATES[cell] * units, (shape[0], units)
    wanted = ((rows, shape[-1]), (rows, units), (rows,), (rows,), each, each, each, each)
    given = (*weights, *state, *restart)
    if (state[1] is None) == (cell == "lstm") or state[0] is None:
        raise ShapeError(f"expected the state of a {cell}, got one with other leaves")
    for place, (tensor, size) in enumerate(zip(given, wanted, strict=True)):
        if tensor is not None and (tensor.shape != size or tensor.dtype != torch.float32):
            raise ShapeError(
                f"expected {_NAMES[place]} as float32 {size} in a native {cell}, got "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )


_NAMES = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "h", "c", "h_restart", "c_restart"]


def _check_conditions(
    x: Tensor, lengths: Tensor | None, resets: Tensor | None, h_restart: Tensor | None
) -> None:
    if x.dim() != 3 or x.dtype != torch.float32:
        raise ShapeError(
            f"expected x as float32 (B, T, F) in a native kernel, got {x.dtype} {tuple(x.shape)}"
        )
    if lengths is not None and (
        lengths.dtype != torch.int64
        or lengths.shape != x.shape[:1]
        or (len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[1])
    ):
        raise ShapeError(
            f"expected lengths as (B,) int64 between 0 and T = {x.shape[1]}, got "
            f"{tuple(lengths.shape)} {lengths.dtype}: {lengths.flatten()[:5].tolist()}"
        )
    if resets is not None and (resets.dtype != torch.bool or resets.shape != x.shape[:2]):
        raise ShapeError(
            f"expected resets as (B, T) bool = {tuple(x.shape[:2])}, got "
            f"{tuple(resets.shape)} {resets.dtype}"
        )
    if resets is not None and h_restart is None:
        raise ShapeError("expected the state that resets go to beside resets, got None")


def _run_backward(
    dy: Tensor | None,
    dh_end: Tensor | None,
    dc_end: Tensor | None,
    rows: Tensor,
    gates: Tensor,
    h_before: Tensor,
    c_before: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    lanes: int,
    steps: int,
    cell: str,
    bfloat16: bool,
    wants_x: bool,
) -> tuple[Tensor, ...]:
    states = _new_gradients(weight_ih, weight_hh, lanes, steps, cell, resets is not None, wants_x)
    dx, *ends = states
    units = weight_hh.shape[1]
    dbias = weight_hh.new_empty(_SLOTS[cell] * units)
    layer = view_of_layer(cell, bfloat16, weight_ih, weight_hh, None, None)
    given = [_dense(each) for each in (lengths, resets, dy, dh_end, dc_end)]
    sequence = library.Sequence(
        layer[0],
        torch.get_num_threads(),
        lanes,
        steps,
        *map(_address, given[:2]),
        *[None] * 8,
        *map(_address, (gates, h_before, c_before)),
    )
    gradients = library.Gradients(
        *map(_address, given[2:]),
        dx.data_ptr() if wants_x else None,
        *map(_address, (*ends, dbias)),
    )
    _call(library.load().tt_backward, ctypes.byref(sequence), ctypes.byref(gradients))
    if lengths is not None:
        count = int(lengths.sum())
        gates, rows, h_before = gates[:count], rows[:count], h_before[:count]
    size, width = GATES[cell] * units, _SLOTS[cell] * units
    dweight_ih = _product(gates.narrow(1, 0, size), rows)
    dweight_hh = _product(gates.narrow(1, width - size, size), h_before)
    if bfloat16:
        dweight_ih, dweight_hh = dweight_ih.float(), dweight_hh.float()
    dbias_ih = dbias.narrow(0, 0, size).clone()
    dbias_hh = dbias.narrow(0, width - size, size).clone()
    if cell == "gru":
        # The input's slots are n r z, and torch's rows r z n.
        dweight_ih, dbias_ih = dweight_ih.roll(-units, 0), dbias_ih.roll(-units, 0)
    return (*states, dweight_ih, dweight_hh, dbias_ih, dbias_hh)


def _product(gates: Tensor, inputs: Tensor) -> Tensor:
    """Return gates^T inputs, (G*H, F)."""
    if inputs.shape[1] <= 16:
        # MKL takes three times as long for a product with so few columns.
        return (inputs.t() @ gates).t().contiguous()
    return gates.t() @ inputs


def _new_gradients(
    weight_ih: Tensor,
    weight_hh: Tensor,
    lanes: int,
    steps: int,
    cell: str,
    has_resets: bool,
    wants_x: bool,
) -> tuple[Tensor, ...]:
    """Return dx, dh, dc, dh_restart, dc_restart, not filled."""
    units, new = weight_hh.shape[1], weight_hh.new_empty
    cells = lanes if cell == "lstm" else 0
    return (
        new(lanes, steps, weight_ih.shape[1]) if wants_x else new(0),
        new(lanes, units),
        new(cells, units),
        new(lanes if has_resets else 0, units),
        new(cells if has_resets else 0, units),
    )


def view_of_layer(
    cell: str,
    bfloat16: bool,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
) -> tuple[library.Layer, list[Tensor | None]]:
    """Return the C view of a layer, and the tensors that it points into, to be kept alive."""
    dense = [_dense(weight) for weight in (weight_ih, weight_hh, bias_ih, bias_hh)]
    sizes = weight_ih.shape[1], weight_hh.shape[1]
    addresses = map(_address, dense)
    return library.Layer(library.CELLS[cell], int(bfloat16), *sizes, *addresses), dense


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _call(function: Any, *arguments: object) -> None:
    if function(*arguments):
        raise ThroughtimeError(
            "expected free memory for the buffers of a native kernel, got less; "
            "use fewer lanes or shorter windows"
        )


def _fake(x: Tensor, h: Tensor, *others: Any) -> tuple[Tensor, ...]:
    lengths, _, cell, bfloat16, keep = others[-5:]
    return _new_results(x, h, lengths is not None, cell, bfloat16, keep)


def _fake_backward(*arguments: Any) -> tuple[Tensor, ...]:
    weight_ih, weight_hh, _, resets, lanes, steps, cell, _, wants_x = arguments[-9:]
    has_resets = resets is not None
    states = _new_gradients(weight_ih, weight_hh, lanes, steps, cell, has_resets, wants_x)
    bias = [weight_hh.new_empty(weight_hh.shape[0]) for _ in range(2)]
    return (*states, torch.empty_like(weight_ih), torch.empty_like(weight_hh), *bias)


class _Differentiable(torch.autograd.Function):
    """The operator with its gradients.

    `torch.library.register_autograd` does the same, and takes as long as 300 steps of a small cell.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            results: tuple[Tensor, ...] = torch.ops.throughtime.sequence(*inputs)
        x, _, _, weight_ih, weight_hh, _, _, _, _, lengths, resets, cell, bfloat16, _ = inputs
        rows, *kept = results[3:]
        ctx.mark_non_differentiable(rows, *kept)
        ctx.set_materialize_grads(False)
        packed = rows if bfloat16 or lengths is not None else x
        ctx.save_for_backward(packed, *kept, weight_ih, weight_hh, lengths, resets)
        ctx.options = (x.shape[0], x.shape[1], cell, bfloat16)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        found = _backward(ctx, *gradients[:3])
        if torch.is_grad_enabled():
            found = torch._C._functions.DelayedError(_ONCE, len(found))(*found)
        return tuple(
            gradient if needed else None
            for gradient, needed in zip(found, ctx.needs_input_grad, strict=True)
        )


_ONCE = (
    "expected one backward pass through a native kernel, got a second derivative; "
    'use `with tt.kernels.use("reference")` around forward'
)


def _backward(ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None) -> tuple[Any, ...]:
    rows, gates, h_before, c_before, weight_ih, weight_hh, lengths, resets = ctx.saved_tensors
    lanes, steps, cell, bfloat16 = ctx.options
    if torch.compiler.is_compiling() or torch._C._autograd._get_current_graph_task_keep_graph():
        # The kernel overwrites what it was given, and there may be another backward pass.
        gates = gates.clone()
    dx, dh, dc, dh_restart, dc_restart, *weights = torch.ops.throughtime.sequence_backward(
        dy,
        dh,
        dc if cell == "lstm" else None,
        rows.flatten(0, -2),
        gates,
        h_before,
        c_before,
        weight_ih,
        weight_hh,
        lengths,
        resets,
        lanes,
        steps,
        cell,
        bfloat16,
        ctx.needs_input_grad[0],
    )
    return (dx, dh, dc, *weights, dh_restart, dc_restart, *[None] * 5)


def _differentiable(*inputs: Any) -> tuple[Tensor, ...]:
    return _Differentiable.apply(*inputs)  # type: ignore[no-any-return,no-untyped-call]


_operators.impl("sequence", _run, "CPU")
_operators.impl("sequence_backward", _run_backward, "CPU")
torch.library.register_fake("throughtime::sequence", _fake)
torch.library.register_fake("throughtime::sequence_backward", _fake_backward)
_operators.impl("sequence", _differentiable, "Autograd")
