import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from throughtime.errors import BundleError, OptionError
from throughtime.tasks.scaling import RobustScaler, Scale, fit_scale

numbers = st.floats(-1e12, 1e12)
arrays = st.lists(numbers, max_size=30).map(lambda values: np.array(values, dtype=np.float64))


def test_scale_is_the_standard_deviation_of_normal_values_whatever_the_outliers() -> None:
    values = np.random.default_rng(0).normal(50.0, 3.0, 20_000)
    values[:400] = 1e6
    fitted = fit_scale(values)
    assert fitted.location == pytest.approx(50.0, abs=0.2)
    assert fitted.scale == pytest.approx(3.0, rel=0.05)


def test_median_and_range_agree_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=501)
    fitted = fit_scale(np.append(values, [np.nan, np.inf]))
    assert fitted.location == np.median(values)
    assert fitted.scale == pytest.approx(stats.iqr(values) / 1.349, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0] * 9 + [10.0], 3.0),  # no range: the standard deviation, sqrt(0.1 * 0.9) * 10
        ([7.0] * 5, 1.0),
        ([0.1] * 7, 1.0),  # whose standard deviation is not zero but rounding
        ([4.0], 1.0),
        ([], 1.0),
        ([np.nan], 1.0),
        ([-1.7e308, 3.0, 1.7e308], 1.0),
    ],
)
def test_scale_where_there_is_no_range(values: list[float], scale: float) -> None:
    assert fit_scale(np.array(values)).scale == pytest.approx(scale)


@given(arrays)
def test_undo_takes_back_apply(values: np.ndarray) -> None:
    scaler = RobustScaler.fit({"a": values})
    back = scaler.undo("a", scaler.apply("a", values))
    size = np.abs(values).max(initial=1.0)
    np.testing.assert_allclose(back, values, atol=1e-12 * size, rtol=0)


@given(st.dictionaries(st.text(), arrays, max_size=4))
def test_a_trip_through_json_is_exact(training: dict[str, np.ndarray]) -> None:
    scaler = RobustScaler.fit(training)
    assert RobustScaler.from_json(json.loads(json.dumps(scaler.to_json()))) == scaler


def test_series_never_seen_take_the_pooled_scale() -> None:
    scaler = RobustScaler.fit(
        {"a": np.array([0.0, 1.0, 2.0]), "b": np.array([10.0, 11.0, 12.0]), "c": np.array([np.nan])}
    )
    assert set(scaler.series) == {"a", "b"}
    together = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    assert scaler.scale_of("c") == scaler.scale_of("new") == scaler.pooled
    assert scaler.pooled.location == 6.0
    assert scaler.pooled.scale == pytest.approx(stats.iqr(together) / 1.349)
    assert scaler.apply("new", np.array([6.0, np.nan])).tolist()[0] == 0.0
    assert np.isnan(scaler.apply("new", np.array([np.nan]))).all()


def test_shape_is_kept() -> None:
    scaler = RobustScaler({"a": Scale(1.0, 2.0)}, Scale(0.0, 1.0))
    assert (
        scaler.undo("a", np.ones((2, 3, 4), dtype=np.float32)).tolist()
        == np.full((2, 3, 4), 3.0).tolist()
    )


@pytest.mark.parametrize("scale", [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_unusable_scales_are_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="above zero"):
        Scale(*scale)


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"series": {}},
        {"series": {}, "pooled": [0.0, 1.0], "more": 1},
        {"series": [], "pooled": [0.0, 1.0]},
        {"series": {1: [0.0, 1.0]}, "pooled": [0.0, 1.0]},
        {"series": {"a": [0.0]}, "pooled": [0.0, 1.0]},
        {"series": {"a": [0.0, 0.0]}, "pooled": [0.0, 1.0]},
        {"series": {"a": [0.0, "1"]}, "pooled": [0.0, 1.0]},
        {"series": {"a": [0.0, True]}, "pooled": [0.0, 1.0]},
        {"series": {}, "pooled": [float("nan"), 1.0]},
        {"series": {}, "pooled": [0.0, 10**400]},
        {"series": {}, "pooled": "01"},
    ],
)
def test_foreign_scalers_are_refused(content: object) -> None:
    with pytest.raises(BundleError, match="expected"):
        RobustScaler.from_json(content)
