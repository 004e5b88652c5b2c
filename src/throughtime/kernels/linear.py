"""The diagonal linear recurrence, h_t = a_t h_{t-1} + b_t: its reference, and what is faster.

The compiled kernel, as a torch operator, is in `linear_operators`; here is what calls it, and the
readable fold that serves whatever it does not: other devices, float64, a missing library.
"""

from functools import reduce
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from throughtime.errors import ShapeError
from throughtime.kernels import gated, linear_operators, native
from throughtime.kernels.wish import wish


@runtime_checkable
class LinearRecurrence(Protocol):
    """What a kernel needs to know of a layer whose recurrence is linear."""

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., N) each or broadcast to it, from x (..., F)."""

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D) from h (..., N) and x (..., F)."""

    def restart(self, state: Tensor) -> Tensor:
        """The state that a reset goes to."""


def is_linear(layer: object) -> TypeGuard[LinearRecurrence]:
    """Return whether a layer's recurrence is linear."""
    return hasattr(type(layer), "coefficients")


def linear_recurrence(
    a: Tensor,
    b: Tensor,
    state: Tensor,
    *,
    restart: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Run a diagonal linear recurrence over time, elementwise, with gradients for all of it.

    $$h_t = a_t \odot h_{t-1} + b_t$$

    All of it, real or complex, is computed in the dtype that the arguments promote to, float32 at
    least. On a CPU that is a compiled loop for float32 and complex64, which is as fast as memory
    is; all else runs in plain tensor operations.

    Shape letters: B lanes, T steps, N state elements.

    Args:
        a: (B, T, N), or what broadcasts to it: (N,) is the same for all lanes and steps.
        b: (B, T, N).
        state: (B, N), the state before step 0.
        restart: (B, N) or what broadcasts to it: the state that a reset goes to. With resets only.
        lengths: (B,) int64, 0 <= n <= T: steps from n on are not there.
        resets: (B, T) bool: True at t means that step t starts from `restart`.

    Returns:
        h (B, T, N), zero where a step is not there, and the state (B, N) after the last step that
        is.

    Raises:
        ShapeError: when a tensor has another rank, size or dtype, or resets come without restart.

    Example:
        >>> h, end = linear_recurrence(torch.tensor([0.5]), torch.ones(1, 3, 1), torch.zeros(1, 1))
        >>> h.flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    if b.dim() != 3 or state.shape != (b.shape[0], b.shape[2]):
        raise ShapeError(
            f"expected b as (B, T, N) and state as (B, N), got {tuple(b.shape)} and "
            f"{tuple(state.shape)}; lanes go first, then time"
        )
    _check_broadcast("a", a, b, "(B, T, N)")
    if lengths is not None:
        _check_lengths(lengths, b)
    if resets is not None:
        if resets.dtype != torch.bool or resets.shape != b.shape[:2]:
            raise ShapeError(
                f"expected resets as (B, T) bool = {tuple(b.shape[:2])}, "
                f"got {tuple(resets.shape)} {resets.dtype}; True at t starts step t afresh"
            )
        if restart is None:
            raise ShapeError(
                "expected restart beside resets, got None; pass the state that a reset goes to, "
                "such as torch.zeros_like(state)"
            )
        _check_broadcast("restart", restart, state, "(B, N)")
    return _recur(a, b, state, restart, lengths, resets)


def run_linear(
    layer: LinearRecurrence,
    x: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run a layer with all its coefficients computed at once.

    Coefficients are cast to the dtype of the state. A real state under complex coefficients holds
    pairs, real and imaginary in turn: `read_out` gets complex numbers, the state stays real, and
    so a complex recurrence streams, saves and exports as any other.

    Args:
        layer: what to run.
        x: (B, T, F), already finite where a step is not there.
        state: (B, N) before step 0, or (B, 2N) of pairs.
        lengths: (B,) int64 or None when every step is there.
        resets: (B, T) bool or None; True beyond a length means nothing.

    Returns:
        y (B, T, D), zero where a step is not there, and the state after the last step that is.
    """
    restart = None if resets is None else layer.restart(state).to(state.dtype)
    if wish() in (None, "native") and reason_against(x, state) is None:
        given = gated.gated_of(layer, x, state)
        if given is not None:
            y, end = gated.run_gated(given, state, restart, lengths, resets)
            return _masked(y, lengths), end
    a, b = layer.coefficients(x)
    paired = (a.is_complex() or b.is_complex()) and not state.is_complex()
    if paired:
        state, restart = as_complex(state), None if restart is None else as_complex(restart)
    b = b.to(state.dtype).expand(*x.shape[:2], state.shape[1])
    h, end = _recur(a.to(state.dtype), b, state, restart, lengths, resets)
    y = _masked(layer.read_out(h, x), lengths)
    return y, as_pairs(end) if paired else end


def as_complex(pairs: Tensor) -> Tensor:
    """Read (..., 2N) real numbers as (..., N) complex ones, real and imaginary part in turn."""
    shape = (*pairs.shape[:-1], pairs.shape[-1] // 2, 2)
    return torch.view_as_complex(pairs.reshape(shape).contiguous())


def as_pairs(numbers: Tensor) -> Tensor:
    """Write (..., N) complex numbers as (..., 2N) real ones: the inverse of `as_complex`."""
    return torch.view_as_real(numbers).flatten(-2)


def reason_against(*tensors: Tensor) -> str | None:
    """Return why the compiled kernel can't run on tensors of one dtype, or None when it can."""
    for tensor in tensors:
        if tensor.device.type != "cpu":
            return f"native kernels run on the CPU, and this is on {tensor.device.type}"
        if tensor.dtype not in (torch.float32, torch.complex64):
            dtype = str(tensor.dtype).removeprefix("torch.")
            return f"native kernels compute in float32, and this is {dtype}"
    reason = native.missing()
    return None if reason is None else f"no native kernels: {reason}"


def fold_linear(
    a: Tensor,
    b: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The reference: step by step in plain tensor operations.

    Arguments and result are those of `linear_recurrence`, of one dtype and broadcast already.
    """
    if lengths is not None:
        # Masked before anything is computed from it: later would leave 0 * NaN in gradients.
        present = linear_operators.presence(b, lengths)
        a, b = a.masked_fill(~present, 0), b.masked_fill(~present, 0)
        resets = None if resets is None else resets & present[:, :, 0]
    outputs = []
    for t, (a_now, b_now) in enumerate(zip(a.unbind(1), b.unbind(1), strict=True)):
        before = state
        if resets is not None and restart is not None:
            before = torch.where(resets[:, t, None], restart, state)
        h = a_now * before + b_now
        if lengths is None:
            state = h
        else:
            state = torch.where(present[:, t], h, state)
            h = torch.where(present[:, t], h, torch.zeros_like(h))
        outputs.append(h)
    return (torch.stack(outputs, dim=1) if outputs else torch.zeros_like(b)), state


def _recur(
    a: Tensor,
    b: Tensor,
    state: Tensor,
    restart: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Bring checked arguments to one shape and dtype and run them on the fastest backend."""
    fresh = None if resets is None or restart is None else restart
    given = [a, b, state] if fresh is None else [a, b, state, fresh]
    dtype = reduce(torch.promote_types, (each.dtype for each in given), torch.float32)
    a, b, state = a.expand_as(b).to(dtype), b.to(dtype), state.to(dtype)
    fresh = None if fresh is None else fresh.expand_as(state).to(dtype)
    lengths = None if lengths is None else lengths.to(b.device)
    resets = None if resets is None else resets.to(b.device)
    if wish() in (None, "native") and reason_against(a, b, state) is None:
        return linear_operators.linear(a, b, state, fresh, lengths, resets)
    return fold_linear(a, b, state, fresh, lengths, resets)


def _masked(y: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return y
    return y.masked_fill(~linear_operators.presence(y, lengths), 0)


def _check_broadcast(name: str, tensor: Tensor, model: Tensor, letters: str) -> None:
    sizes = zip(reversed(tensor.shape), reversed(model.shape), strict=False)
    if tensor.dim() > model.dim() or any(size not in (1, wanted) for size, wanted in sizes):
        raise ShapeError(
            f"expected {name} as {letters} = {tuple(model.shape)} or what broadcasts to it, "
            f"got {tuple(tensor.shape)}"
        )


def _check_lengths(lengths: Tensor, b: Tensor) -> None:
    if lengths.dtype != torch.int64 or lengths.shape != b.shape[:1]:
        raise ShapeError(
            f"expected lengths as (B,) int64 with B = {b.shape[0]}, "
            f"got {tuple(lengths.shape)} {lengths.dtype}; lengths count steps"
        )
    if not torch.compiler.is_compiling() and len(lengths):
        least, most = int(lengths.min()), int(lengths.max())
        if least < 0 or most > b.shape[1]:
            raise ShapeError(
                f"expected lengths between 0 and T = {b.shape[1]}, got {least} to {most}; "
                "lengths count the steps that are there"
            )
