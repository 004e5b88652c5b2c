"""A cell that is a word means the same to a stream, which has no polars, as to a column reader."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data import columns
from throughtime.errors import DataError
from throughtime.stream import cells

PIECES = (
    *("+", "-", ".", "e", "E", "1", "2", "0", "_", " ", "i", "n", "f", "N", "a", "t", "r", "u"),
    *("é", "\u0663", "\u00a0", "\t", "x", "d", ",", "inf", "nan", "Infinity", "true", "FALSE"),
    *("none", "?", "\u2007", "--", "N/A", "Missing"),
)


def of_column(text):
    try:
        return float(columns.to_numbers(pl.Series("c", [text]), "the row")[0])
    except DataError:
        return None


def of_row(text):
    try:
        return cells.read_number(text, "c")
    except DataError:
        return None


def same(a, b):
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize("text", PIECES)
def test_a_word_alone(text):
    assert same(of_row(text), of_column(text))


@given(st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
def test_any_word(text):
    assert same(of_row(text), of_column(text))
