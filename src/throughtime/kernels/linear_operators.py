"""The compiled diagonal linear recurrence as a torch operator, with shapes for tracing, gradients.

`throughtime::linear` runs h_t = a_t h_{t-1} + b_t over whole sequences, in float32 or complex64,
and `throughtime::linear_backward` is its derivative.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import ThroughtimeError
from throughtime.kernels import library

_operators: Any = torch.library.Library("throughtime", "FRAGMENT")  # type: ignore[no-untyped-call]
_operators.define(
    "linear(Tensor a, Tensor b, Tensor state, Tensor? restart, Tensor? lengths, Tensor? resets) "
    "-> (Tensor h, Tensor end)"
)
_operators.define(
    "linear_backward(Tensor? dh, Tensor? dend, Tensor a, Tensor h, Tensor state, Tensor? restart, "
    "Tensor? lengths, Tensor? resets) "
    "-> (Tensor da, Tensor db, Tensor dstate, Tensor drestart)"
)


def linear(
    a: Tensor,
    b: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the operator.

    Args:
        a: (B, T, N). Where it is expanded over lanes or steps, no copy is made of it.
        b: (B, T, N).
        state: (B, N), before step 0.
        restart: (B, N), what a reset goes to; with resets.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None.

    Returns:
        h (B, T, N), zero where a step is not there, and the state after the last step that is.
    """
    h, end = torch.ops.throughtime.linear(a, b, state, restart, lengths, resets)
    return h, end


def presence(values: Tensor, lengths: Tensor) -> Tensor:
    """Return which steps of values (B, T, ...) are there, as (B, T, 1) bool."""
    return (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]


def _run(
    a: Tensor,
    b: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    h, end = results = _fake(a, b, state)
    a, b = _readable(a), _readable(b)
    others = [_dense(each) for each in (state, restart, lengths, resets)]
    _call("tt_linear_forward", _view(h, a, b, others, end))
    return results


def _run_backward(
    dh: Tensor | None,
    dend: Tensor | None,
    a: Tensor,
    h: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    results = _fake_backward(dh, dend, a, h, state, restart)
    a, h, dh, dend = _readable(a), h.contiguous(), _dense(dh), _dense(dend)
    others = [_dense(each) for each in (state, restart, lengths, resets)]
    gradients = library.LinearGradients(*map(_address, (dh, dend, *results)))
    _call("tt_linear_backward", _view(h, a, a, others, None), gradients)
    return results


def _view(
    h: Tensor, a: Tensor, b: Tensor, others: list[Tensor | None], end: Tensor | None
) -> library.Linear:
    """Return the C view of a recurrence; the tensors have to be kept alive beside it."""
    state, restart, lengths, resets = others
    return library.Linear(
        h.is_complex(),
        torch.get_num_threads(),
        *h.shape,
        *map(_address, (lengths, resets, a, b)),
        *a.stride()[:2],
        *b.stride()[:2],
        *map(_address, (state, restart, h, end)),
    )


def _readable(tensor: Tensor) -> Tensor:
    """Return a tensor (B, T, N) that is dense along N, whatever its other strides are."""
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()


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


def _fake(a: Tensor, b: Tensor, state: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return b.new_empty(b.shape), state.new_empty(state.shape)


def _fake_backward(
    dh: Tensor | None,
    dend: Tensor | None,
    a: Tensor,
    h: Tensor,
    state: Tensor,
    restart: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return da, db, dstate, drestart, not filled; the last has no lanes without resets."""
    lanes = 0 if restart is None else state.shape[0]
    return (
        h.new_empty(h.shape),
        h.new_empty(h.shape),
        state.new_empty(state.shape),
        state.new_empty(lanes, state.shape[1]),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, state, restart, lengths, resets = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(a, output[0], state, restart, lengths, resets)


def _backward(ctx: Any, dh: Tensor | None, dend: Tensor | None) -> tuple[Tensor | None, ...]:
    # Gradients are enabled in here when this backward pass is to be differentiated again.
    derive = _derivative if torch.is_grad_enabled() else torch.ops.throughtime.linear_backward
    *gradients, drestart = derive(dh, dend, *ctx.saved_tensors)
    found = (*gradients, drestart, None, None)
    return tuple(
        gradient if needed else None
        for gradient, needed in zip(found, ctx.needs_input_grad, strict=True)
    )


def _derivative(
    dh: Tensor | None,
    dend: Tensor | None,
    a: Tensor,
    h: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The maths of `linear_backward` by means that can be differentiated themselves.

    The gradients g_t of h_t are a recurrence of the same kind, back in time:

        g_t = conj(a_{t+1}) g_{t+1} + dh_t

    from g = dend at the end to the gradient of the state before step 0. Steps that are not there
    hold it, and where step t + 1 was a reset it starts from zero.
    """
    a = a.conj()
    dh = torch.zeros_like(h) if dh is None else dh
    dend = torch.zeros_like(state) if dend is None else dend
    present = None if lengths is None else presence(h, lengths)
    if present is not None:
        a, dh = torch.where(present, a, 1.0), torch.where(present, dh, 0.0)
        resets = None if resets is None else resets & present[:, :, 0]
    one = a.new_ones(len(h), 1, h.shape[2])
    nothing = None if resets is None else torch.zeros_like(state)
    starts = None if resets is None else torch.cat([resets, resets.new_zeros(len(h), 1)], dim=1)
    g, _ = linear(
        torch.cat([a, one], dim=1).flip(1),
        torch.cat([torch.zeros_like(one), dh], dim=1).flip(1),
        dend,
        nothing,
        None,
        None if starts is None else starts.flip(1),
    )
    dstate, g = g[:, -1], g[:, :-1].flip(1)
    before = torch.cat([state[:, None], h], dim=1)[:, :-1]
    if present is not None:
        g = torch.where(present, g, 0.0)
    if resets is None or restart is None:
        return g * before.conj(), g, dstate, None
    flags = resets[:, :, None]
    before = torch.where(flags, restart[:, None], before)
    drestart = torch.where(flags, a * g, 0.0).sum(dim=1)
    return g * before.conj(), g, dstate, drestart


_operators.impl("linear", _run, "CPU")
_operators.impl("linear_backward", _run_backward, "CPU")
torch.library.register_fake("throughtime::linear", _fake)
torch.library.register_fake("throughtime::linear_backward", _fake_backward)
torch.library.register_autograd("throughtime::linear", _backward, setup_context=_remember)
