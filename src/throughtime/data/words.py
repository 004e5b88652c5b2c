"""Cells that are words and yet stand for a number: those for missing and for truth.

`columns` reads whole columns of cells by polars; here is what it does with one that is a word, so
that a stream reads rows without polars.
"""

import math

EMPTY = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", ".", "-", "--", "missing")
"""What a cell holds where the number is missing, in lower case."""

_NUMBERS = {"true": 1.0, "false": 0.0, "+nan": math.nan, "-nan": math.nan}


def read_word(text: str) -> float | None:
    """Return the number that a word stands for, NaN for missing, None where it stands for none.

    Args:
        text: a cell without space around it, which is no number in digits.

    Example:
        >>> read_word("TRUE"), read_word("N/A"), read_word("many")
        (1.0, nan, None)
    """
    word = text.lower()
    return math.nan if word in EMPTY else _NUMBERS.get(word)
