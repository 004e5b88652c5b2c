"""Features: the same bits for a whole table and for its rows as they arrive."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.sequences import Series, TableFormat
from throughtime.tasks.features import FeatureReader
from throughtime.tasks.scaling import RobustScaler, Scale

NUMBERS = st.one_of(
    st.floats(-1e3, 1e3), st.sampled_from([np.nan, np.nan, 1e300, -1e30, 0.0, 1e-320])
)


def reader(covariates: int, known: int, horizon: int, scale: float = 3.7) -> FeatureReader:
    names = tuple(f"c{i}" for i in range(covariates))
    format = TableFormat(
        time="ds", target="y", key=None, covariates=names, known_future=names[:known],
        step_us=1, time_kind="integer", season=1, max_gap=3, duplicates="last",
    )  # fmt: skip
    scaler = RobustScaler({"a": Scale(1.3, scale)}, Scale(0.1, 2.0))
    return FeatureReader(
        format, scaler, RobustScaler({n: Scale(0.7, 1.1) for n in names}, Scale(0.0, 1.0)), horizon
    )


def series(y, covariates, restarts, name="a") -> Series:
    count = len(y)
    return Series(
        name, np.arange(count), np.asarray(y, float), np.asarray(covariates, float),
        np.zeros(count, bool), np.asarray(restarts, bool),
    )  # fmt: skip


@st.composite
def cases(draw):
    length = draw(st.integers(1, 12))
    covariates = draw(st.integers(0, 3))
    known = draw(st.integers(0, covariates))
    horizon = draw(st.integers(1, 4))
    numbers = st.lists(NUMBERS, min_size=length, max_size=length)
    y = draw(numbers)
    columns = [draw(numbers) for _ in range(covariates)]
    stacked = np.array(columns).T if columns else np.empty((length, 0))
    restarts = [True, *draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))]
    name = draw(st.sampled_from(["a", "never seen"]))
    return (covariates, known, horizon), (y, stacked, restarts, name)


@given(cases())
def test_a_table_and_its_rows_have_the_same_bits(case):
    features, whole = reader(*case[0]), series(*case[1])
    offline = features.inputs(whole)
    assert offline.dtype == np.float32
    assert offline.shape == (len(whole), features.size)
    held = None
    for t in range(len(whole)):
        future = np.full((len(features.known), features.horizon), np.nan)
        for k in range(min(features.horizon, len(whole) - t - 1)):
            future[:, k] = whole.covariates[t + k + 1, features.known]
        row, held = features.row(
            whole.unique_id, float(whole.y[t]), whole.covariates[t], future,
            None if whole.restarts[t] else held,
        )  # fmt: skip
        assert row.dtype == np.float32
        assert row.tobytes() == offline[t].tobytes(), t


@given(cases(), st.integers(0, 11), st.sampled_from([np.nan, 1e9, -4.0]))
def test_features_know_no_later_row_but_of_known_columns(case, at, value):
    features, whole = reader(*case[0]), series(*case[1])
    at %= len(whole)
    before = features.inputs(whole)
    whole.y[at] = value
    unknown = list(range(len(features.known), whole.covariates.shape[1]))
    whole.covariates[at, unknown] = value
    after = features.inputs(whole)
    assert after[:at].tobytes() == before[:at].tobytes()
    assert np.isfinite(after).all()


def test_missing_values_are_held_and_flagged_until_a_restart():
    nan = np.nan
    whole = series(
        [nan, 5.0, nan, 5.0, nan, 1.3],
        np.array([[0.7], [nan], [1.8], [nan], [nan], [0.7]]),
        [True, False, False, False, True, False],
    )
    found = reader(1, 0, 1).inputs(whole)
    assert found == pytest.approx(
        np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]])
    )


def test_the_future_of_a_known_column_is_read_and_held_beyond_its_end():
    whole = series(np.ones(4), np.array([[0.7], [1.8], [np.nan], [2.9]]), [True] + [False] * 3)
    found = reader(1, 1, 2).inputs(whole)[:, 3:]
    assert found == pytest.approx(np.array([[1, 0], [1, 2], [2, 1], [2, 2]]))


def test_what_follows_a_row_stops_at_restarts_and_at_the_part():
    whole = series(
        np.arange(7.0), np.empty((7, 0)), [True, False, False, True, False, False, False]
    )
    features = reader(0, 0, 2)
    nan = np.nan
    wanted = [[nan, 2], [2, nan], [nan, nan], [4, 5], [5, nan], [nan, nan], [nan, nan]]
    np.testing.assert_array_equal(features.ahead(whole, slice(2, 6)), wanted)
    scaled = features.targets(whole, slice(2, 6))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (np.array(wanted) - 1.3) / 3.7, rtol=1e-6)


def test_absurd_targets_are_cut_off_as_absurd_inputs_are():
    whole = series([0.0, 1e300, -1e300], np.empty((3, 0)), [True, False, False])
    features = reader(0, 0, 1, scale=1e-3)
    assert features.targets(whole, slice(0, 3))[:2, 0].tolist() == [1e6, -1e6]
    assert features.inputs(whole)[1:, 0].tolist() == [1e6, -1e6]
