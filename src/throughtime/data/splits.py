"""Cutting a sequence into training, validation and test parts, in time order.

The parts are contiguous and complete, so that nothing of a later part is seen while an earlier
one is learned. Which file or series is cut is up to the caller.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from throughtime.errors import DataError, OptionError

TABLE_SPLIT = (0.70, 0.15, 0.15)
TEXT_SPLIT = (0.9, 0.1)


def split_rows(length: int, fractions: Sequence[float]) -> tuple[slice, ...]:
    """Cut `length` rows into contiguous parts of the given fractions.

    Each cut is at the whole row nearest to its fraction, so the parts cover every row once.

    Args:
        length: number of rows.
        fractions: share of each part, in time order; positive, summing to 1.

    Returns:
        One slice a part.

    Raises:
        OptionError: the fractions are not positive or do not sum to 1.
        DataError: there are so few rows that a part would be empty.

    Example:
        >>> split_rows(20, (0.7, 0.15, 0.15))
        (slice(0, 14, None), slice(14, 17, None), slice(17, 20, None))
    """
    shares = tuple(fractions)
    if not shares or any(not share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise OptionError(
            f"expected positive parts that sum to 1, came {shares}: "
            "give for example (0.7, 0.15, 0.15)"
        )
    cuts = [0]
    reached = 0.0
    for share in shares[:-1]:
        reached += share
        # a hair is added so that 0.7 + 0.15 does not fall below 0.85 by rounding
        cuts.append(math.floor(length * reached + 0.5 + 1e-9))
    cuts.append(length)
    parts = tuple(slice(start, stop) for start, stop in pairwise(cuts))
    if any(part.stop <= part.start for part in parts):
        raise DataError(
            f"expected at least one row in each part of {shares}, came {length} rows: "
            "give more rows or fewer parts"
        )
    return parts


def parse_split(text: str) -> tuple[float, ...]:
    """Read a split such as `70/15/15` as fractions.

    Args:
        text: percentages that sum to 100, separated by `/`: train/validation/test or
            train/validation.

    Returns:
        The fractions, in the same order.

    Raises:
        OptionError: it is not two or three positive percentages that sum to 100.

    Example:
        >>> parse_split("90/10")
        (0.9, 0.1)
    """
    try:
        percentages = [float(part) for part in text.split("/")]
    except ValueError:
        percentages = []
    if (
        len(percentages) not in (2, 3)
        or any(not 0 < percentage < 100 for percentage in percentages)
        or abs(sum(percentages) - 100) > 1e-6
    ):
        raise OptionError(
            "expected a split of two or three positive percentages that sum to 100, "
            f"came {text!r}: give for example 70/15/15"
        )
    return tuple(percentage / 100 for percentage in percentages)
