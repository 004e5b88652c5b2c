"""The native kernels of the classic cells as torch operators, with fakes and gradients.

`throughtime::sequence` runs a cell over whole sequences and `throughtime::sequence_backward` is its
derivative. Being operators, they can be traced by `torch.compile` whatever T is.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ShapeError
from throughtime.kernels import library, memory
from throughtime.kernels.views import address, call, dense, once

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
_SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 4}
"""Numbers that a unit keeps of each step for backward; `native/cells.h` says which."""

_operators: Any = torch.library.Library("throughtime", "DEF")  # type: ignore[no-untyped-call]
_operators.define(
    "sequence(Tensor x, Tensor h, Tensor? c, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, "
    "Tensor? bias_hh, Tensor? h_restart, Tensor? c_restart, Tensor? lengths, Tensor? resets, "
    "str cell, bool bfloat16, bool keep) "
    "-> (Tensor y, Tensor h_end, Tensor c_end, Tensor gates, Tensor c_before)"
)
_operators.define(
    "sequence_backward(Tensor? dy, Tensor? dh_end, Tensor? dc_end, Tensor x, Tensor h, "
    "Tensor? h_restart, Tensor y, Tensor(a!) gates, Tensor c_before, Tensor weight_ih, "
    "Tensor weight_hh, Tensor? lengths, Tensor? resets, str cell, bool bfloat16, bool wants_x, "
    "bool wants_weights) -> (Tensor dx, Tensor dh, Tensor dc, Tensor dh_restart, "
    "Tensor dc_restart, Tensor dweight_ih, Tensor dweight_hh, Tensor dbias_ih, Tensor dbias_hh)"
)


def _new_results(x: Tensor, h: Tensor, cell: str, bfloat16: bool, keep: bool) -> tuple[Tensor, ...]:
    """Return y, h_end, c_end, gates, c_before, not filled.

    There is room for as many rows as there can be: how many there are depends on values, and what
    is never touched takes no memory.
    """
    lanes, steps, _ = x.shape
    units, has_cell = h.shape[1], cell == "lstm"
    kept, new = lanes * steps if keep else 0, h.new_empty
    return (
        new(lanes, steps, units),
        new(lanes, units),
        new(lanes if has_cell else 0, units),
        memory.new(kept, _SLOTS[cell] * units, h, torch.bfloat16 if bfloat16 else torch.float32),
        memory.new(kept if has_cell else 0, units, h),
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
    results = _new_results(x, h, cell, bfloat16, keep)
    layer = view_of_layer(cell, bfloat16, *weights)
    given = [dense(each) for each in (lengths, resets, x, h, c, h_restart, c_restart)]
    sequence = library.Sequence(
        layer[0],
        torch.get_num_threads(),
        *x.shape[:2],
        *map(address, given),
        *map(address, results[:3]),
        *(map(address, results[3:]) if keep else (None, None)),
    )
    call(library.load().tt_forward, ctypes.byref(sequence))
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
    x: Tensor,
    h: Tensor,
    h_restart: Tensor | None,
    y: Tensor,
    gates: Tensor,
    c_before: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    bfloat16: bool,
    wants_x: bool,
    wants_weights: bool,
) -> tuple[Tensor, ...]:
    found = _new_gradients(x, weight_ih, weight_hh, cell, resets is not None, wants_x)
    dx, dh, dc, dh_restart, dc_restart, *weights = found
    layer = view_of_layer(cell, bfloat16, weight_ih, weight_hh, None, None)
    given = [dense(each) for each in (lengths, resets, x, h, h_restart, dy, dh_end, dc_end)]
    addresses = [*map(address, given)]
    sequence = library.Sequence(
        layer[0],
        torch.get_num_threads(),
        *x.shape[:2],
        *addresses[:4],
        None,
        addresses[4],
        None,
        y.data_ptr(),
        None,
        None,
        gates.data_ptr(),
        c_before.data_ptr(),
    )
    gradients = library.Gradients(
        *addresses[5:],
        dx.data_ptr() if wants_x else None,
        *map(address, (dh, dc, dh_restart, dc_restart)),
        *(map(address, weights[:2]) if wants_weights else (None, None)),
        *map(address, weights[2:]),
    )
    call(library.load().tt_backward, ctypes.byref(sequence), ctypes.byref(gradients))
    return found


def _new_gradients(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, cell: str, has_resets: bool, wants_x: bool
) -> tuple[Tensor, ...]:
    """Return dx, dh, dc, dh_restart, dc_restart and those of weights and biases, not filled."""
    lanes, steps, features = x.shape
    rows, units = weight_hh.shape
    cells, new = lanes if cell == "lstm" else 0, weight_hh.new_empty
    return (
        new(lanes, steps, features) if wants_x else new(0),
        new(lanes, units),
        new(cells, units),
        new(lanes if has_resets else 0, units),
        new(cells if has_resets else 0, units),
        new(rows, features),
        new(rows, units),
        new(rows),
        new(rows),
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
    weights = [dense(weight) for weight in (weight_ih, weight_hh, bias_ih, bias_hh)]
    sizes = weight_ih.shape[1], weight_hh.shape[1]
    addresses = map(address, weights)
    return library.Layer(library.CELLS[cell], int(bfloat16), *sizes, *addresses), weights


def _fake(x: Tensor, h: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return _new_results(x, h, *others[-3:])


def _fake_backward(*arguments: Any) -> tuple[Tensor, ...]:
    weight_ih, weight_hh, _, resets, cell, _, wants_x, _ = arguments[-8:]
    x = arguments[3]
    return _new_gradients(x, weight_ih, weight_hh, cell, resets is not None, wants_x)


class _Differentiable(torch.autograd.Function):
    """The operator with its gradients.

    `torch.library.register_autograd` does the same, and takes as long as 300 steps of a small cell.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        run = torch.ops.throughtime.sequence if _is_watched(inputs[0]) else _run
        with torch._C._AutoDispatchBelowAutograd():
            results: tuple[Tensor, ...] = run(*inputs)
        x, h, _, weight_ih, weight_hh, _, _, h_restart, _, lengths, resets, *options, _ = inputs
        y, _, _, *kept = results
        ctx.mark_non_differentiable(*kept)
        ctx.set_materialize_grads(False)
        weights = (weight_ih, weight_hh)
        ctx.save_for_backward(x, h, h_restart, y, *kept, *weights, lengths, resets)
        ctx.options = options
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        found = _backward(ctx, *gradients[:3])
        if torch.is_grad_enabled():
            found = once(found)
        return tuple(
            gradient if needed else None
            for gradient, needed in zip(found, ctx.needs_input_grad, strict=True)
        )


def _is_watched(x: Tensor) -> bool:
    """Return whether something traces or counts operators; if not, calling one is a detour."""
    return type(x) is not Tensor or torch._C._len_torch_dispatch_stack() > 0


def _backward(
    ctx: Any, dy: Tensor | None, dh_end: Tensor | None, dc_end: Tensor | None
) -> tuple[Any, ...]:
    x, h, h_restart, y, gates, *others = ctx.saved_tensors
    cell, bfloat16 = ctx.options
    needed = ctx.needs_input_grad
    if torch.compiler.is_compiling() or torch._C._autograd._get_current_graph_task_keep_graph():
        # The kernel overwrites what it was given, and there may be another backward pass.
        gates = gates.clone()
    # With gradients of gradients wanted, only an operator's results can say that there are none.
    watched = _is_watched(x) or torch.is_grad_enabled()
    run: Any = torch.ops.throughtime.sequence_backward if watched else _run_backward
    dx, dh, dc, dh_restart, dc_restart, *weights = run(
        dy,
        dh_end,
        dc_end if cell == "lstm" else None,
        x,
        h,
        h_restart,
        y,
        gates,
        *others,
        cell,
        bfloat16,
        needed[0],
        needed[3] or needed[4],
    )
    return (dx, dh, dc, *weights, dh_restart, dc_restart, *[None] * 5)


def _differentiable(*inputs: Any) -> tuple[Tensor, ...]:
    return _Differentiable.apply(*inputs)  # type: ignore[no-any-return,no-untyped-call]


_operators.impl("sequence", _run, "CPU")
_operators.impl("sequence_backward", _run_backward, "CPU")
torch.library.register_fake("throughtime::sequence", _fake)
torch.library.register_fake("throughtime::sequence_backward", _fake_backward)
_operators.impl("sequence", _differentiable, "Autograd")
