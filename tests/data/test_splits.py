from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.splits import TABLE_SPLIT, TEXT_SPLIT, parse_split, split_rows
from throughtime.errors import DataError, OptionError


@given(
    length=st.integers(100, 10**9),
    percentages=st.sampled_from([(70, 15, 15), (90, 10), (50, 50), (34, 33, 33), (10, 80, 10)]),
)
def test_parts_are_contiguous_complete_and_of_the_right_size(length, percentages):
    parts = split_rows(length, [percentage / 100 for percentage in percentages])
    assert parts[0].start == 0
    assert parts[-1].stop == length
    assert all(a.stop == b.start for a, b in pairwise(parts))
    for part, reached in zip(parts, accumulate(percentages), strict=True):
        assert abs(part.stop - length * reached / 100) <= 0.5 + 1e-6


def test_whole_percentages_of_a_round_length_are_exact():
    assert [part.stop for part in split_rows(10_320, TABLE_SPLIT)] == [7224, 8772, 10_320]
    assert [part.stop for part in split_rows(1000, TEXT_SPLIT)] == [900, 1000]


def test_slices_cut_an_array():
    rows = np.arange(40)
    assert np.concatenate([rows[part] for part in split_rows(40, TABLE_SPLIT)]).tolist() == list(
        range(40)
    )


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="came 2 rows"):
        split_rows(2, TABLE_SPLIT)


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.2, -0.2), (0.5, float("nan"), 0.5)])
def test_wrong_fractions_are_refused(shares):
    with pytest.raises(OptionError, match="sum to 1"):
        split_rows(100, shares)


def test_a_split_is_read():
    assert parse_split("70/15/15") == (0.7, 0.15, 0.15)
    assert parse_split(" 90 / 10 ") == (0.9, 0.1)


@pytest.mark.parametrize("text", ["", "70", "70/20", "70,15,15", "100/0", "25/25/25/25", "a/b"])
def test_a_wrong_split_is_refused(text):
    with pytest.raises(OptionError, match="70/15/15"):
        parse_split(text)
