"""Whole numbers in place of real ones, as the C has them: the twins of the functions in `source/`.

A real number is a whole one in units of 2^-bits. Each function here is the C function of its name,
for arrays: whatever one of them is given, both return the same bits. `>>` rounds down, as in C on
every machine that there is.
"""

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]

PRE_BITS = 16
"""Sums of gates, logits and whatever else has no format of its own are in units of 2^-16."""

GATE_BITS = 30
"""Shares and what lies within [-1, 1] are in units of 2^-30."""

LENGTH_BITS = 26
"""Step lengths, and how far something has decayed, are in units of 2^-26."""

SIGNAL = 32767
"""The largest number that a map reads."""

_MOST = 2**31 - 1
_FACTORS = (123394, -1386885, 10304738, -59591844, 257940802, -744261112, 1073741824)
_FACTORS_OF_LOGARITHM = (
    *(-9426335, 48304051, -117062475, 191632949),
    *(-263462598, 357384914, -536851374, 1073741824),
)
_ONE = 1 << GATE_BITS


def rounded(value: Whole, bits: int | Whole) -> Whole:
    """Return value / 2^bits to the nearest whole number; halves go up."""
    count = np.asarray(bits, np.int64)
    found: Whole = (value + (np.ones_like(count) << count >> 1)) >> count
    return found


def saturated(value: Whole) -> Whole:
    """Return what fits into 32 bits."""
    found: Whole = np.clip(value, -_MOST, _MOST)
    return found


def narrowed(value: Whole, bits: int) -> Whole:
    """Return value / 2^bits as 16 bits have it."""
    found: Whole = np.clip(rounded(value, bits), -SIGNAL, SIGNAL)
    return found


def times(share: Whole | int, value: Whole) -> Whole:
    """Return a share in units of 2^-30, of a value."""
    return rounded(share * value, GATE_BITS)


def moved(value: Whole, bits: int) -> Whole:
    """Return value * 2^bits in 32 bits, for bits of either sign."""
    return saturated(rounded(value, -bits) if bits < 0 else value * (1 << bits))


def decay_of(x: Whole) -> Whole:
    """Return exp(-x) in units of 2^-30, of x >= 0 in units of 2^-26."""
    exponent = (x * 1549082005) >> 26
    f, n = exponent & 0x3FFFFFFF, exponent >> 30
    power = np.zeros_like(x)
    for factor in _FACTORS:
        power = ((power * f) >> 30) + factor
    found: Whole = np.where(n > 31, 0, power >> np.minimum(n, 31))
    return found


def portion(part: Whole, rest: Whole | int) -> Whole:
    """Return part / (part + rest) in units of 2^-30, for a sum from 2^30 to 2^32."""
    whole = part + rest
    guess = 0x80000000 // (whole >> 16)
    error = (1 << 47) - whole * guess
    inverse = guess * 8192 + ((guess * error) >> 34)
    found: Whole = (part * inverse) >> 30
    return found


def fading(x: Whole) -> Whole:
    """Return exp(-x) in units of 2^-30, of x >= 0 in units of 2^-16."""
    return decay_of(np.minimum(x, 0x1FFFFF) * 1024)


def sigmoid(x: Whole) -> Whole:
    """Return 1 / (1 + exp(-x)) in units of 2^-30, of x in units of 2^-16."""
    shut = portion(fading(np.abs(x)), _ONE)
    found: Whole = np.where(x < 0, shut, _ONE - shut)
    return found


def hyperbolic_tangent(x: Whole) -> Whole:
    """Return tanh(x) in units of 2^-30, of x in units of 2^-16."""
    found: Whole = 2 * sigmoid(2 * x) - _ONE
    return found


def silu(x: Whole) -> Whole:
    """Return x sigmoid(x), of x in units of 2^-16."""
    return times(sigmoid(x), x)


def step_length(x: Whole) -> Whole:
    """Return softplus(x) = log(1 + exp(x)) in units of 2^-26, of x in units of 2^-16."""
    faded = fading(np.abs(x))
    power = np.zeros_like(x)
    for factor in _FACTORS_OF_LOGARITHM:
        power = ((power * faded) >> 30) + factor
    return saturated(np.maximum(x, 0) * 1024 + rounded(power * faded, 34))


def rate_of(rates: Whole) -> Whole:
    """Return (2048 + r % 2048) 2^(r // 2048), of rates of 15 bits."""
    found: Whole = (2048 + rates.astype(np.int64) % 2048) << (rates // 2048)
    return found


def whole_root(value: Whole) -> Whole:
    """Return the whole part of the square root of 0 <= value < 2^62."""
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    # float64 may be off by one.
    root -= root * root > value
    root += (root + 1) * (root + 1) <= value
    return root


def centre(values: Whole) -> Whole:
    """Take the mean of (..., N) away; a quotient in C loses its fraction, whatever its sign."""
    sums = values.sum(axis=-1, keepdims=True)
    mean = np.sign(sums) * (np.abs(sums) // values.shape[-1])
    return saturated(values - mean)


def by_root_mean_square(values: Whole, bits: int, epsilon: int) -> Whole:
    """Divide (..., N) by their root mean square: from units of 2^-bits to those of 2^-16.

    The mean of squares has epsilon added, in units of 2^-40.
    """
    most = np.abs(values).max(axis=-1, keepdims=True)
    down = np.full_like(most, max(bits - 23, 0))
    while (large := (most >> down) > SIGNAL).any():
        down += large
    short = rounded(values, down)
    apart = 40 - 2 * (bits - down)
    added = np.where(apart > 0, epsilon >> np.maximum(apart, 0), epsilon << np.maximum(-apart, 0))
    mean = (short * short).sum(axis=-1, keepdims=True) // values.shape[-1] + added
    inverse = (1 << 50) // whole_root(np.maximum(mean, 1) << 30)
    return saturated(rounded(short * inverse, 19))


def quantise(features: npt.NDArray[np.float32], scale: float) -> Whole:
    """Return numbers as 16 bits have them, after a multiplication by a power of two."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = features * np.float32(scale)
    cut = np.clip(value, np.float32(-SIGNAL), np.float32(SIGNAL))
    half = np.where(cut < 0, np.float32(-0.5), np.float32(0.5))
    whole: Whole = np.nan_to_num(np.trunc(cut + half), nan=0.0).astype(np.int64)
    return whole


def put_out(sums: Whole) -> npt.NDArray[np.float32]:
    """Return outputs of the head as numbers in place of units of 2^-16."""
    found: npt.NDArray[np.float32] = saturated(sums).astype(np.float32) * np.float32(2.0**-16)
    return found
