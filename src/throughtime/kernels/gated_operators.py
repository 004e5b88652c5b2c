"""The compiled gated linear recurrences as a torch operator, with shapes for tracing and gradients.

`throughtime::gated` runs from pre-activations to outputs over whole sequences, in float32, and
`throughtime::gated_backward` is its derivative.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ShapeError, ThroughtimeError
from throughtime.kernels import library, memory

READS_OUT = ("hgrn", "selective")
"""Those whose output is another number for each unit than its state."""

_PLANES = {"min_gru": (2, 0), "min_lstm": (3, 0), "rg_lru": (3, 1), "rotation": (2, 2)}
_PLANES |= {"hgrn": (3, 1), "selective": (2, 1)}
"""Pre-activations and constants of a unit; selective has some for each of its states beside."""

_LEAST_SHARES, _MOST_SHARES, _LANES_A_SHARE = 8, 16, 4
"""Parts of the gradient of a matrix behind a recurrence, which threads compute side by side.
Each is filled and added up, so few are better; as many whatever the threads, or sums would differ.
"""

_operators: Any = torch.library.Library("throughtime", "FRAGMENT")  # type: ignore[no-untyped-call]
_GIVEN = (
    "Tensor x, Tensor? weight, Tensor constants, Tensor? leave_weight, Tensor? leave_bias, "
    "Tensor state, Tensor? restart, Tensor? lengths, Tensor? resets"
)
_OPTIONS = "str gates, float scale, float bound, float epsilon"
_operators.define(f"gated({_GIVEN}, {_OPTIONS}) -> (Tensor y, Tensor end, Tensor kept)")
_operators.define(
    f"gated_backward(Tensor? dy, Tensor? dend, Tensor y, Tensor kept, {_GIVEN}, {_OPTIONS}) "
    "-> (Tensor dx, Tensor dweight, Tensor dconstants, Tensor dleave_weight, Tensor dleave_bias, "
    "Tensor dstate, Tensor drestart)"
)


def _run(
    x: Tensor,
    weight: Tensor | None,
    constants: Tensor,
    leave_weight: Tensor | None,
    leave_bias: Tensor | None,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    *options: Any,
) -> tuple[Tensor, ...]:
    leave = leave_weight, leave_bias
    _check(x, weight, constants, leave, state, restart, lengths, resets, options[0])
    results = _new_results(x, leave_weight, state, options[0], memory.new)
    given = [
        _dense(each) for each in (lengths, resets, x, weight, constants, *leave, state, restart)
    ]
    _call("tt_gated_forward", _view(x, weight, state, options, given, results))
    return results


def _run_backward(
    dy: Tensor | None,
    dend: Tensor | None,
    y: Tensor,
    kept: Tensor,
    x: Tensor,
    weight: Tensor | None,
    constants: Tensor,
    leave_weight: Tensor | None,
    leave_bias: Tensor | None,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    *options: Any,
) -> tuple[Tensor, ...]:
    leave = leave_weight, leave_bias
    found = _fake_backward(dy, dend, y, kept, x, weight, constants, *leave, state, restart)
    dx, *common, dstate, drestart = found
    # Each lane has its own share of what they have in common, so that it does not matter which
    # thread runs which; of a matrix behind it, which is large, some lanes have one together.
    counts = (x.shape[0], x.shape[0], *[_shares(x)] * 2)
    shares = [
        each.new_empty(count, *each.shape) for count, each in zip(counts, common, strict=True)
    ]
    given = [
        _dense(each) for each in (lengths, resets, x, weight, constants, *leave, state, restart)
    ]
    dy, dend = _dense(dy), _dense(dend)
    gradients = library.GatedGradients(*map(_address, (dy, dend, dx, *shares, dstate, drestart)))
    view = _view(x, weight, state, options, given, (y, None, kept))
    _call("tt_gated_backward", view, gradients)
    for share, whole in zip(shares, common, strict=True):
        torch.sum(share, 0, out=whole)
    return found


def _shares(x: Tensor) -> int:
    lanes = x.shape[0]
    return min(lanes, max(_LEAST_SHARES, min(lanes // _LANES_A_SHARE, _MOST_SHARES)))


def _check(
    x: Tensor,
    weight: Tensor | None,
    constants: Tensor,
    leave: tuple[Tensor | None, Tensor | None],
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    gates: str,
) -> None:
    """Hold every tensor to its size: the kernels write through plain pointers."""
    lanes, states, size = state.shape
    (rows, planes), alone = _PLANES[gates], gates == "selective"
    width = rows * size + 2 * states * alone
    wanted = {
        "x": (x, (lanes, *x.shape[1:2], x.shape[2] if weight is not None else width)),
        "weight": (weight, (x.shape[-1] + 1, width)),
        "constants": (constants, (planes + states * alone, size)),
        "leave_weight": (leave[0], (0 if leave[0] is None else len(leave[0]), size)),
        "leave_bias": (leave[1], (0 if leave[0] is None else len(leave[0]),)),
        "state": (state, (lanes, states if alone else 1 + (gates == "rotation"), size)),
        "restart": (restart, (lanes, states, size)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and (tensor.shape != shape or tensor.dtype != torch.float32):
            raise ShapeError(
                f"expected {name} as float32 {shape} in a native {gates}, got {tensor.dtype} "
                f"{tuple(tensor.shape)}"
            )
    if leave[0] is not None and gates != "hgrn":
        raise ShapeError(f"expected no matrix behind a native {gates}, got one")
    if (resets is None) != (restart is None):
        raise ShapeError("expected resets and restart, the state that they go to, together")
    if lengths is not None and (lengths.dtype != torch.int64 or lengths.shape != (lanes,)):
        raise ShapeError(f"expected lengths as int64 ({lanes},), got {tuple(lengths.shape)}")
    if resets is not None and (resets.dtype != torch.bool or resets.shape != x.shape[:2]):
        raise ShapeError(f"expected resets as bool (B, T), got {tuple(resets.shape)}")


def _view(
    x: Tensor,
    weight: Tensor | None,
    state: Tensor,
    options: tuple[Any, ...],
    given: list[Tensor | None],
    results: tuple[Tensor | None, ...],
) -> library.Gated:
    """Return the C view of a recurrence; the tensors have to be kept alive beside it."""
    gates, scale, bound, epsilon = options
    lanes, steps, features = x.shape
    y, end, kept = results
    assert y is not None
    return library.Gated(
        library.GATES[gates],
        *(scale, bound, epsilon),
        *(torch.get_num_threads(), lanes, steps, state.shape[2], state.shape[1]),
        *(features, features if weight is None else weight.shape[1]),
        *(y.shape[2], _shares(x)),
        *map(_address, (*given, y, kept, end)),
    )


def _new_results(
    x: Tensor, leave_weight: Tensor | None, state: Tensor, gates: str, new: Any
) -> tuple[Tensor, ...]:
    """Return y, end and what is kept for backward, not filled."""
    (lanes, states, size), steps = state.shape, x.shape[1]
    rows, width = 0, size
    if gates == "hgrn":
        rows = lanes * steps
    elif gates == "selective":
        # The states before every eighth step, and before those that are left over.
        rows, width = lanes * (steps // 8 + 7), states * size
    outputs = size if gates in READS_OUT else states * size
    if leave_weight is not None:
        outputs = leave_weight.shape[0]
    y = x.new_empty(lanes, steps, outputs)
    return y, state.new_empty(state.shape), new(rows, width, state)


def _new(rows: Any, width: Any, like: Tensor) -> Tensor:
    return like.new_empty(rows, width)


def _fake(x: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return _new_results(x, others[2], others[4], others[8], _new)


def _fake_backward(
    dy: Tensor | None,
    dend: Tensor | None,
    y: Tensor,
    kept: Tensor,
    x: Tensor,
    weight: Tensor | None,
    constants: Tensor,
    leave_weight: Tensor | None,
    leave_bias: Tensor | None,
    state: Tensor,
    restart: Tensor | None,
    *_: Any,
) -> tuple[Tensor, ...]:
    """Return the gradients, not filled; of what is not there, empty ones."""
    new = state.new_empty
    return (
        new(x.shape),
        new(0, 0) if weight is None else new(weight.shape),
        new(constants.shape),
        new(0, 0) if leave_weight is None else new(leave_weight.shape),
        new(0) if leave_weight is None else new(leave_weight.shape[0]),
        new(state.shape),
        new(0, *state.shape[1:]) if restart is None else new(state.shape),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    y, _, kept = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(y, kept, *inputs[:9])
    ctx.options = inputs[9:]


def _backward(ctx: Any, dy: Tensor | None, dend: Tensor | None, _: Any) -> tuple[Any, ...]:
    run = torch.ops.throughtime.gated_backward
    found = run(dy, dend, *ctx.saved_tensors, *ctx.options)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        found = torch._C._functions.DelayedError(_ONCE, len(found))(*found)
    gradients = (*found, *[None] * 6)
    return tuple(
        gradient if needed else None
        for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=True)
    )


_ONCE = (
    "expected one backward pass through a native kernel, got a second derivative; "
    'use `with tt.kernels.use("reference")` around forward'
)


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _call(name: str, *views: ctypes.Structure) -> None:
    if getattr(library.load(), name)(*map(ctypes.byref, views)):
        raise ThroughtimeError(
            "expected free memory for the buffers of a native kernel, got less; "
            "use fewer lanes or shorter windows"
        )


_operators.impl("gated", _run, "CPU")
_operators.impl("gated_backward", _run_backward, "CPU")
torch.library.register_fake("throughtime::gated", _fake)
torch.library.register_fake("throughtime::gated_backward", _fake_backward)
torch.library.register_autograd("throughtime::gated", _backward, setup_context=_remember)
