"""Randomness that lives in the state: every mask is a pure function of (seed, step, unit).

So a window can be cut anywhere, lanes can be moved, and a run can be resumed, and the same units
are dropped at the same steps. In evaluation nothing is dropped, yet the steps are counted, so that
a state means the same in both modes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import state as states

# Weyl increment of the golden ratio, as in SplitMix64 (Steele, Lea and Flood 2014,
# https://doi.org/10.1145/2660193.2660195); written as the signed value of the same 64 bits.
_NEXT_SEED = -7046029254386353131
_MIX_LONG = (-4658895280553007687, -7723592293110705685)
# Multipliers with low bias for 32 bits (Wellons 2018, https://nullprogram.com/blog/2018/07/31/).
_MIX_SHORT = (0x7FEB352D, 0x846CA68B - (1 << 32))


@states.register
class Noise(NamedTuple):
    """Per lane: the seed of its sequence and the step that comes next; both (B,) int64."""

    seed: Tensor
    step: Tensor


def initial_noise(
    batch_size: int, device: torch.device | str | None, *, fresh: bool, common: bool = False
) -> Noise:
    """Return noise before the first step.

    Args:
        batch_size: B.
        device: where.
        fresh: draw new seeds from torch's global generator (training); zeros otherwise.
        common: all lanes have one seed.
    """
    seed = torch.zeros(batch_size, dtype=torch.int64)
    if fresh:
        seed = torch.randint(-(2**62), 2**62, (1 if common else batch_size,)).repeat(
            batch_size if common else 1
        )
    return Noise(seed.to(device), torch.zeros(batch_size, dtype=torch.int64, device=device))


def restart(noise: Noise) -> Noise:
    """Return the noise after a reset: the next seed, from its first step."""
    return Noise(noise.seed + _NEXT_SEED, torch.zeros_like(noise.step))


def advance(noise: Noise) -> Noise:
    """Return the noise one step later."""
    return Noise(noise.seed, noise.step + 1)


def unroll(
    noise: Noise, steps: int, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Noise, Noise]:
    """Return what `restart` and `advance` give at each of T steps, and the noise after the last.

    Args:
        noise: before step 0, B lanes.
        steps: T.
        lengths: (B,) int64 or None.
        resets: (B, T) bool or None, False beyond the lengths.

    Returns:
        Noise of shape (B, T), used at each step, and Noise of shape (B,) after the last step.
    """
    time = torch.arange(steps, device=noise.seed.device).expand(len(noise.seed), steps)
    if resets is None:
        count = torch.zeros_like(time)
        step = noise.step[:, None] + time
    else:
        count = resets.long().cumsum(dim=1)
        began = torch.where(resets, time, 0).cummax(dim=1).values
        step = torch.where(count > 0, time - began, noise.step[:, None] + time)
    each = Noise(noise.seed[:, None] + count * _NEXT_SEED, step)
    if not steps:
        return each, noise
    last = torch.full_like(noise.step, steps) if lengths is None else lengths
    at = (last - 1).clamp(min=0)[:, None]
    end = Noise(each.seed.gather(1, at)[:, 0], each.step.gather(1, at)[:, 0] + 1)
    return each, states.where(last > 0, end, noise)


def dropout(x: Tensor, noise: Noise, rate: float, salt: int) -> Tensor:
    """Zero a share `rate` of the units and scale the others up, by a mask of (seed, step, unit).

    Args:
        x: (..., H).
        noise: leaves of shape (...,).
        rate: in [0, 1).
        salt: tells places apart that share one noise, such as the layers of a stack.
    """
    kept = ~chosen(noise, x.shape[-1], rate, salt)
    return x * kept.to(x.dtype) * (1 / (1 - rate))


def chosen(noise: Noise, count: int, rate: float, salt: int) -> Tensor:
    """Return which of `count` units are in a share `rate` of them, by (seed, step, unit).

    Args:
        noise: leaves of shape (...,).
        count: H.
        rate: in [0, 1).
        salt: as in `dropout`.

    Returns:
        (..., H) bool.
    """
    bits = _mix_short(mixed(noise, salt)[..., None] ^ _units(count, noise.seed.device))
    return bits < quantile(rate)


def quantile(rate: float) -> int:
    """Return the number below which a share `rate` of all int32 lies, as the hash is uniform."""
    return min(round(rate * 2**32), 2**32 - 1) - 2**31


def lasting(noise: Noise, span: int | None) -> Noise:
    """Return noise that changes every `span` steps, or never; in place of that of each step."""
    step = torch.zeros_like(noise.step) if span is None else noise.step // span
    return Noise(noise.seed, step)


def drop_symbols(x: Tensor, symbols: Tensor, noise: Noise, rate: float, span: int) -> Tensor:
    """Zero the vectors of a share `rate` of all symbols and scale the others up.

    A symbol is there or dropped wherever it stands, by a mask of (seed, step // span, symbol):
    the next `span` steps drop others.

    Args:
        x: (..., E), a vector for each symbol.
        symbols: (...) int64.
        noise: leaves of shape (...,).
        rate: in [0, 1).
        span: steps that a mask lasts.
    """
    bits = mixed(lasting(noise, span), _SYMBOLS) ^ _mix_short(symbols.to(torch.int32) + 1)
    kept = _mix_short(bits) >= quantile(rate)
    return x * kept[..., None].to(x.dtype) * (1 / (1 - rate))


_SYMBOLS = -1
"""Salt of the masks of symbols; the layers of a stack have those from 0 on."""


def _units(count: int, device: torch.device) -> Tensor:
    return _mix_short(torch.arange(1, count + 1, dtype=torch.int32, device=device))


def mixed(noise: Noise, salt: int) -> Tensor:
    """Return 32 well-mixed bits of (seed, step, salt), as int32, of the shape of the leaves."""
    # Tensors wrap around at 64 bits; a Python number has to be made to.
    salted = (salt * _NEXT_SEED + 2**63) % 2**64 - 2**63
    z = noise.seed ^ (noise.step * _MIX_LONG[0] + salted)
    for shift, factor in zip((30, 27), _MIX_LONG, strict=True):
        z = (z ^ _shift_right(z, shift, 64)) * factor
    return _shift_right(z, 32, 64).to(torch.int32)


def _mix_short(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 16, 32)) * _MIX_SHORT[0]
    z = (z ^ _shift_right(z, 15, 32)) * _MIX_SHORT[1]
    return z ^ _shift_right(z, 16, 32)


def _shift_right(z: Tensor, by: int, width: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift fills with the sign."""
    return (z >> by) & ((1 << (width - by)) - 1)
