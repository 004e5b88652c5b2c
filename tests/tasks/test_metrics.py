import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats  # type: ignore[import-untyped]

from throughtime.errors import OptionError, ShapeError
from throughtime.tasks import metrics

Y = np.array([1.0, np.nan, 4.0, -2.0, 0.0])
F = np.array([2.0, 5.0, 4.0, 2.0, 0.0])
NINE = np.arange(1, 10) / 10
finite = st.floats(-1e6, 1e6)


def test_point_errors_worked_by_hand() -> None:
    assert metrics.mae(Y, F) == (1 + 0 + 4 + 0) / 4
    assert metrics.mse(Y, F) == (1 + 0 + 16 + 0) / 4
    assert metrics.mse_scaled(Y, F, 2.0) == 17 / 4 / 4
    # 2*1/3, 0, 2*4/4, and 0 for 0/0
    assert metrics.smape(Y, F) == pytest.approx(100 * (2 / 3 + 0 + 2 + 0) / 4)
    assert metrics.mase(Y, F, 0.5) == 2.5


def test_scales_may_differ_from_row_to_row_and_unusable_ones_are_left_out() -> None:
    scale = np.array([1.0, 1.0, 2.0, 4.0, np.nan])
    assert metrics.mase(Y, F, scale) == (1 / 1 + 0 / 2 + 4 / 4) / 3
    assert metrics.mse_scaled(Y, F, scale) == (1 / 1 + 0 / 4 + 16 / 16) / 3


def test_a_missing_forecast_is_not_hidden() -> None:
    forecast = np.array([np.nan, 5.0, 4.0, 2.0, 0.0])
    assert math.isnan(metrics.mae(Y, forecast))
    assert math.isnan(metrics.coverage(Y, forecast, forecast))


def test_nothing_to_score_is_nan_without_a_warning() -> None:
    y = np.full(2, np.nan)
    found = metrics.forecast_metrics(y, np.zeros((2, 9)), NINE, 1.0, 1.0, mean=np.zeros(2))
    assert all(math.isnan(value) for value in found.values())


def test_mase_scale_worked_by_hand() -> None:
    train = np.array([1.0, 2.0, 4.0, np.nan, 3.0, 3.0])
    assert metrics.mase_scale(train, 1) == (1 + 2 + 0) / 3
    assert metrics.mase_scale(train, 2) == (3 + 1) / 2
    assert metrics.mase_scale(train, 6) == metrics.mase_scale(train, 1)
    for none in (np.ones(9), np.zeros(0), np.ones(1), np.full(3, np.nan)):
        assert math.isnan(metrics.mase_scale(none, 2))
    with pytest.raises(OptionError, match="at least 1"):
        metrics.mase_scale(train, 0)


def test_mase_scale_takes_no_difference_across_a_restart() -> None:
    train = np.array([1.0, 2.0, 4.0, 90.0, 93.0])
    restarts = np.array([True, False, False, True, False])
    assert metrics.mase_scale(train, 1, restarts=restarts) == (1 + 2 + 3) / 3
    assert metrics.mase_scale(train, 2, restarts=restarts) == 3
    # no piece is long enough for a season of three, so the lag is 1
    assert metrics.mase_scale(train, 3, restarts=restarts) == 2


def test_targets_are_the_values_whose_forecast_was_made_in_the_same_segment() -> None:
    own = metrics.Split(np.arange(5.0), slice(0, 2), slice(2, 3), np.arange(5) % 3 == 0)
    nan = np.nan
    wanted = [[nan, nan], [1, nan], [2, 2], [nan, nan], [4, nan]]
    np.testing.assert_array_equal(own.targets(slice(None), 2), wanted)
    np.testing.assert_array_equal(own.targets(slice(2, 4), 2), wanted[2:4])


def test_mase_of_the_seasonal_naive_forecast_inside_training_is_one() -> None:
    train = np.random.default_rng(0).normal(size=60)
    scale = metrics.mase_scale(train, 12)
    assert metrics.mase(train[12:], train[:-12], scale) == pytest.approx(1.0)


def test_training_std() -> None:
    assert metrics.training_std(np.array([1.0, np.nan, 3.0])) == 1.0
    assert math.isnan(metrics.training_std(np.ones(4)))
    assert math.isnan(metrics.training_std(np.full(2, np.nan)))


def test_pinball_worked_by_hand() -> None:
    y = np.array([10.0, 10.0, np.nan])
    quantiles = np.array([[8.0, 12.0], [11.0, 10.0], [0.0, 0.0]])
    levels = np.array([0.1, 0.9])
    # 0.1 * 2 and 0.9 * 1; 0.1 * 2 and 0
    np.testing.assert_allclose(metrics.pinball(y, quantiles, levels), [1.1 / 2, 0.2 / 2])


@given(st.lists(finite, min_size=3, max_size=40), st.sampled_from([0.1, 0.25, 0.5, 0.8]))
def test_the_pinball_loss_is_least_at_the_quantile(values: list[float], level: float) -> None:
    y = np.array(values)
    levels = np.array([level])

    def loss(at: float) -> float:
        return float(metrics.pinball(y, np.full((y.size, 1), at), levels)[0])

    best = loss(float(np.quantile(y, level, method="inverted_cdf")))
    assert all(best <= loss(at) + 1e-9 * (1 + abs(at)) for at in values)


def test_crps_from_many_quantiles_is_the_integral_that_defines_it() -> None:
    levels = (np.arange(999) + 0.5) / 999
    for y in (-4.0, 2.0, 3.3):

        def difference(x: float, y: float = y) -> float:
            return float((stats.norm.cdf(x, 2.0, 3.0) - (x >= y)) ** 2)

        exact = sum(integrate.quad(difference, *ends)[0] for ends in ((-np.inf, y), (y, np.inf)))
        quantiles = stats.norm.ppf(levels, 2.0, 3.0)[None]
        assert metrics.crps(np.array([y]), quantiles, levels) == pytest.approx(exact, rel=2e-3)


def test_coverage_counts_both_ends() -> None:
    lower, upper = np.array([1.0, 0, 5.0, -3.0, 1.0]), np.array([2.0, 0, 6.0, -2.0, 2.0])
    assert metrics.coverage(Y, lower, upper) == 2 / 4


def test_forecast_metrics_scores_median_and_mean_apart() -> None:
    rng = np.random.default_rng(3)
    y = np.append(rng.normal(size=300), np.nan)
    quantiles = np.sort(rng.normal(size=(301, 9)), axis=1)
    mean, scale = rng.normal(size=301), rng.uniform(1, 2, 301)
    found = metrics.forecast_metrics(y, quantiles, NINE, scale, 2.0, mean=mean)
    assert list(found) == ["mae", "mse", "mse_scaled", "mase", "smape", "crps", "coverage"]
    # the same again without the helpers, on the rows that have a target
    y, q, mean, scale = y[:300], quantiles[:300], mean[:300], scale[:300]
    error = np.abs(y - q[:, 4])
    pinball = np.where(y[:, None] >= q, NINE * (y[:, None] - q), (1 - NINE) * (q - y[:, None]))
    assert found == pytest.approx(
        {
            "mae": error.mean(),
            "mse": ((y - mean) ** 2).mean(),
            "mse_scaled": ((y - mean) ** 2).mean() / 4,
            "mase": (error / scale).mean(),
            "smape": (200 * error / (np.abs(y) + np.abs(q[:, 4]))).mean(),
            "crps": 2 * pinball.mean(),
            "coverage": ((q[:, 0] <= y) & (y <= q[:, -1])).mean(),
        }
    )


def test_the_median_lies_between_the_middle_levels() -> None:
    found = metrics.forecast_metrics(
        np.array([3.0]), np.array([[1.0, 2.0]]), np.array([0.25, 0.75]), 1.0, 1.0, mean=np.ones(1)
    )
    assert found["mae"] == 1.5


def test_a_median_that_is_given_is_scored_in_place_of_the_quantiles() -> None:
    y, quantiles, levels = np.array([3.0, 5.0]), np.zeros((2, 3)), np.array([0.1, 0.5, 0.9])
    own = np.array([2.0, 5.0])
    found = metrics.forecast_metrics(y, quantiles, levels, 0.5, 1.0, mean=own, median=own)
    assert (found["mae"], found["mase"], found["mse"]) == (0.5, 1.0, 0.5)
    assert found["smape"] == pytest.approx(100 * 2 / 5 / 2)
    assert found["coverage"] == 0.0


@pytest.mark.parametrize("levels", [[0.1, 0.5, 0.8], [0.1, 0.2, 0.8, 0.9], [0.9, 0.5, 0.1], [0, 1]])
def test_levels_that_would_mislead_are_refused(levels: list[float]) -> None:
    quantiles = np.zeros((5, len(levels)))
    with pytest.raises(OptionError, match="levels"):
        metrics.forecast_metrics(Y, quantiles, np.array(levels), 1.0, 1.0, mean=F)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="flatten"):
        metrics.mae(Y, F[:, None])
    with pytest.raises(ShapeError, match=r"\(5, 8\)"):
        metrics.crps(Y, np.zeros((5, 8)), NINE)
    with pytest.raises(ShapeError, match="expected"):
        metrics.mase(Y, F, np.ones(4))


def test_nats_bits_and_perplexity() -> None:
    found = metrics.nats(np.log(np.array([[0.5, 0.125], [0.25, np.nan]])))
    assert found == pytest.approx(2 * math.log(2))
    assert metrics.language_metrics(found) == pytest.approx(
        {"nats": found, "bits": 2.0, "perplexity": 4.0}
    )
    assert metrics.language_metrics(1e4)["perplexity"] == math.inf
