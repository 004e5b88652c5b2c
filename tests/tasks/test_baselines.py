import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.errors import OptionError, ShapeError
from throughtime.tasks.baselines import (
    PENALTIES,
    Baseline,
    default_baselines,
    default_lags,
    last_value,
    ridge,
    seasonal_naive,
)
from throughtime.tasks.metrics import Split
from throughtime.tasks.scaling import fit_scale

TAXI = Path(__file__).parents[2].parent / "shared" / "data" / "nab" / "nyc_taxi.csv"


def split(y: np.ndarray) -> Split:
    train, validation = int(0.7 * y.size), int(0.85 * y.size)
    return Split(y, slice(0, train), slice(train, validation))


def rhythm(length: int, season: int, seed: int = 0, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = 10 * np.sin(2 * np.pi * np.arange(length) / season) + rng.normal(size=length)
    y[rng.random(length) < missing] = np.nan
    return y


def makers(horizon: int) -> list[Baseline]:
    splits = [split(rhythm(120, 12, seed, missing=0.1)) for seed in (0, 1)]
    return list(default_baselines(splits, season=12, horizon=horizon))


@given(
    values=st.lists(st.one_of(st.just(np.nan), st.floats(-9, 9)), min_size=1, max_size=40),
    horizon=st.integers(1, 4),
)
def test_last_value_by_hand(values: list[float], horizon: int) -> None:
    own = split(np.array(values))
    mean = last_value([own], horizon=horizon).mean[0]
    first = fit_scale(own.y[own.train]).location
    for t in range(len(values)):
        for k in range(horizon):
            seen = [v for v in values[: max(t - k, 0)] if not np.isnan(v)]
            assert mean[t, k] == (seen[-1] if seen else first)


@given(
    values=st.lists(st.one_of(st.just(np.nan), st.floats(-9, 9)), min_size=1, max_size=40),
    horizon=st.integers(1, 7),
    season=st.integers(1, 5),
)
def test_seasonal_naive_by_hand(values: list[float], horizon: int, season: int) -> None:
    own = split(np.array(values))
    mean = seasonal_naive([own], season, horizon=horizon).mean[0]
    held = last_value([own], horizon=horizon).mean[0]
    for t in range(len(values)):
        for k in range(horizon):
            back = range(t - season, -1, -season)
            seen = [values[s] for s in back if s <= t - k - 1 and not np.isnan(values[s])]
            assert mean[t, k] == (seen[0] if seen else held[t, k])


@pytest.mark.parametrize("missing", [0.0, 0.05])
@pytest.mark.parametrize("horizon", [1, 3])
def test_ridge_solves_the_problem_it_states(horizon: int, missing: float) -> None:
    lags = 6
    splits = [
        split(5 + rhythm(150, 10, 0, missing)),
        split(rhythm(90, 10, 1, missing)[:-1] * 100),
        split(np.full(30, np.nan)),
    ]
    means = ridge(splits, lags, horizon=horizon).mean

    def rows(own: Split, part: slice, k: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Design and target of one part, one row at a time, in scaled units."""
        scale = fit_scale(own.y[own.train])
        y = (own.y - scale.location) / scale.scale
        x, target, places = [], [], []
        for t in range(*part.indices(y.size)):
            window = y[: max(t - k, 0)].copy()
            for place in range(1, window.size):
                if np.isnan(window[place]):
                    window[place] = window[place - 1]
            if window.size >= lags and not np.isnan(window[-lags:]).any():
                x.append([*window[-lags:], 1.0])
                target.append(y[t])
                places.append(t)
        return np.array(x).reshape(-1, lags + 1), np.array(target), places

    for k in range(horizon):
        fit = [rows(own, own.train, k) for own in splits]
        judge = []
        for own in splits:
            u, v, places = rows(own, own.validation, k)
            # judged are the rows whose forecast was made inside the part or just before it
            inside = np.array(places, dtype=int) >= own.validation.start + k
            judge.append((u[inside], v[inside]))
        x, y = np.concatenate([f[0] for f in fit]), np.concatenate([f[1] for f in fit])
        x, y = x[~np.isnan(y)], y[~np.isnan(y)]
        best, weights = np.inf, np.zeros(lags + 1)
        for penalty in PENALTIES:
            # least squares on the rows and, below them, the penalty as rows of its own
            below = np.sqrt(penalty * len(y)) * np.eye(lags + 1)[:lags]
            found = np.linalg.lstsq(
                np.concatenate([x, below]), np.concatenate([y, np.zeros(lags)]), rcond=None
            )[0]
            error = sum(float(np.nansum((v - u @ found) ** 2)) for u, v in judge)
            if error < best:
                best, weights = error, found
        for own, mean in zip(splits[:2], means, strict=False):
            x, _, places = rows(own, slice(0, own.y.size), k)
            scale = fit_scale(own.y[own.train])
            expected = x @ weights * scale.scale + scale.location
            np.testing.assert_allclose(mean[places, k], expected, rtol=1e-6, atol=1e-6)
            before = np.setdiff1d(np.arange(own.y.size), places)
            held = last_value([own], horizon=horizon).mean[0]
            np.testing.assert_array_equal(mean[before, k], held[before, k])


def test_ridge_recovers_a_linear_recurrence() -> None:
    y = np.cos(0.3 * np.arange(400)) + 2.0  # y[t] - 2 = 2 cos(0.3) (y[t-1] - 2) - (y[t-2] - 2)
    own = split(y)
    mean = ridge([own], 4, horizon=5).mean[0]
    np.testing.assert_allclose(mean[10:], np.tile(y[10:, None], (1, 5)), atol=1e-3)


@pytest.mark.parametrize("horizon", [1, 5])
def test_no_forecast_sees_its_future(horizon: int) -> None:
    y = rhythm(120, 12)
    changed = y.copy()
    changed[104:] += 1e3  # behind the rows that are learned from
    pairs = zip(
        default_baselines([split(y)], season=12, horizon=horizon),
        default_baselines([split(changed)], season=12, horizon=horizon),
        strict=True,
    )
    for before, after in pairs:
        same = before.mean[0] == after.mean[0]
        for k in range(horizon):
            assert same[: 104 + k + 1, k].all(), before.name
        # the change is seen, a season later at the latest
        assert not same[104:].all(axis=0).any(), before.name


def test_every_row_has_a_forecast_and_increasing_quantiles() -> None:
    splits = [split(rhythm(120, 12, seed, missing=0.1)) for seed in (0, 1)]
    for baseline in makers(horizon=3):
        for index in (0, 1):
            assert baseline.mean[index].shape == (120, 3)
            assert np.isfinite(baseline.mean[index]).all()
            quantiles = baseline.quantiles(splits, index, slice(100, 120))
            assert quantiles.shape == (20, 3, 9)
            assert (np.diff(quantiles, axis=2) >= 0).all()


def test_intervals_cover_what_they_should() -> None:
    rng = np.random.default_rng(0)
    # the second series has too few validation rows for quantiles of its own
    splits = [split(rng.normal(size=20_000)), split(50 * rng.normal(size=300))]
    baseline = last_value(splits)
    for own, index in zip(splits, (0, 1), strict=True):
        score = Baseline(
            baseline.name,
            baseline.mean[index : index + 1],
            baseline.early_errors[index : index + 1],
            baseline.errors[index : index + 1],
            baseline.levels,
        ).score([own], [slice(own.validation.stop, None)])
        assert score["coverage"] == pytest.approx(0.8, abs=0.1 if index else 0.04)


def test_score_flattens_series_and_steps() -> None:
    rows = slice(0, 10), slice(10, 15)
    splits = [Split(np.arange(20.0), *rows), Split(3 * np.arange(20.0), *rows)]
    baseline = last_value(splits, horizon=2)
    score = baseline.score(splits, [slice(15, 20), slice(10, 15)])
    # errors of 1 and 2 steps, in series that climb by 1 and by 3
    assert score["mse"] == pytest.approx((1 + 4 + 9 + 36) / 4)
    assert score["mse_scaled"] == pytest.approx((1 + 4) / 2 / np.arange(10).var())
    # the forecast itself, not what its errors of before would make of it
    assert score["mae"] == pytest.approx((1 + 2 + 3 + 6) / 4)
    assert score["mase"] == pytest.approx((1 + 2) / 2)
    # while the intervals are made of the same errors, so they are exactly right
    assert score["crps"] == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_the_last_value_is_the_mean_step() -> None:
    y = np.cumsum(np.random.default_rng(0).normal(1.0, 1.0, size=300))  # it drifts
    own = split(y)
    for rows in (own.validation, slice(own.validation.stop, y.size)):
        steps = np.abs(y[rows] - y[rows.start - 1 : rows.stop - 1])
        score = last_value([own]).score([own], [rows])
        assert score["mae"] == pytest.approx(steps.mean())
        assert score["mase"] == pytest.approx(steps.mean() / np.abs(np.diff(y[own.train])).mean())


def test_intervals_are_made_of_rows_before_those_they_are_scored_on() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=2000)
    own = split(y)
    louder = y.copy()
    louder[own.validation] *= 9
    for before, after in zip(
        default_baselines([own]), default_baselines([split(louder)]), strict=True
    ):
        a, b = before.score([own], [own.validation]), after.score([split(louder)], [own.validation])
        assert b["coverage"] < 0.5 < a["coverage"], before.name
        np.testing.assert_array_equal(before.early_errors[0].shape, (1, 9))
        assert np.isfinite(list(a.values())).all()
        assert (after.errors[0][0, -1] > 3 * before.errors[0][0, -1]).all()


def broken(length: int, season: int, gap: int, seed: int = 0) -> tuple[Split, np.ndarray]:
    """A rhythm with `gap` steps cut out of it in the training, validation and test part."""
    position = np.arange(length + 3 * gap)
    cuts = [int(share * length) + number * gap for number, share in enumerate((0.4, 0.78, 0.9))]
    for cut in cuts:
        position = position[(position < cut) | (position >= cut + gap)]
    y = 10 * np.sin(2 * np.pi * position / season)
    y = y + 0.1 * np.random.default_rng(seed).normal(size=length)
    restarts = np.diff(position, prepend=-2) > 1
    plain = split(y)
    return Split(y, plain.train, plain.validation, restarts, position), restarts


@given(gap=st.integers(1, 30), season=st.integers(2, 9), horizon=st.integers(1, 12))
def test_the_season_keeps_its_phase_across_a_gap(gap: int, season: int, horizon: int) -> None:
    own, _ = broken(60, season, gap)
    own.y[::7] = np.nan
    mean = seasonal_naive([own], season, horizon=horizon).mean[0]
    held = last_value([own], horizon=horizon).mean[0]
    assert own.position is not None
    for t in range(60):
        for k in range(horizon):
            seen = [
                own.y[s]
                for s in range(max(t - k, 0))
                if (own.position[t] - own.position[s]) % season == 0 and not np.isnan(own.y[s])
            ]
            assert mean[t, k] == (seen[-1] if seen else held[t, k])


@pytest.mark.parametrize("horizon", [1, 4])
def test_no_pair_across_a_restart_is_scored(horizon: int) -> None:
    own, restarts = broken(200, 12, 30)
    wild = own.y.copy()
    wild[restarts & (np.arange(200) >= 140)] = 1e9  # a first row can be forecast from nothing
    other = Split(wild, own.train, own.validation, own.restarts, own.position)
    made = last_value([own], horizon=horizon)
    for rows in (own.validation, slice(own.validation.stop, None)):
        assert made.score([own], [rows]) == made.score([other], [rows])
        errors = [
            abs(own.y[t] - made.mean[0][t, k])
            for t in range(*rows.indices(200))
            for k in range(horizon)
            if not restarts[t - k : t + 1].any()
        ]
        score = made.score([own], [rows])
        assert score["mae"] == pytest.approx(np.mean(errors))
        steps = [abs(own.y[t] - own.y[t - 1]) for t in range(140) if not restarts[t]]
        assert score["mase"] == pytest.approx(np.mean(errors) / np.mean(steps))


def test_the_lags_of_ridge_lie_on_one_side_of_a_restart() -> None:
    own, restarts = broken(200, 12, 29)
    lags, horizon = 6, 2
    mean = ridge([own], lags, horizon=horizon).mean[0]
    held = last_value([own], horizon=horizon).mean[0]
    edges = np.append(np.flatnonzero(restarts), 200)
    assert len(edges) == 5
    for start, stop in pairwise(edges.tolist()):
        for k in range(horizon):
            first = start + lags + k
            np.testing.assert_array_equal(mean[start:first, k], held[start:first, k])
            # a rhythm is a linear recurrence, so what has its lags is right
            assert np.abs(mean[first:stop, k] - own.y[first:stop]).max() < 1.5
    # a restart that says nothing new: the pieces are those of two series with the same scale
    y = rhythm(60, 12)
    y = np.concatenate([y, y])
    pieces = Split(y, slice(0, 120), slice(120, 120), np.arange(120) % 60 == 0)
    twice = ridge([pieces], lags).mean[0]
    alone = ridge([Split(y[:60], slice(0, 60), slice(60, 60))], lags).mean[0]
    np.testing.assert_allclose(twice[lags:60], alone[lags:], rtol=1e-6)
    np.testing.assert_allclose(twice[60 + lags :], alone[lags:], rtol=1e-6)


def test_default_lags_and_names() -> None:
    assert default_lags([7224, 10]) == (48, 336)
    assert default_lags([4 * 336]) == (48, 336)
    assert default_lags([4 * 336 - 1]) == (48,)
    assert default_lags([20]) == (5,)
    assert default_lags([]) == default_lags([0]) == (1,)
    assert [b.name for b in makers(1)] == ["last_value", "seasonal_naive(12)", "ridge(21)"]


@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_tiny_series_do_not_fail(length: int) -> None:
    for baseline in default_baselines([split(np.arange(float(length)))], season=3, horizon=2):
        assert baseline.mean[0].shape == (length, 2)
        assert np.isfinite(baseline.mean[0]).all()


def test_constant_series_are_forecast_exactly() -> None:
    for baseline in default_baselines([split(np.full(200, 7.0))], season=7):
        np.testing.assert_allclose(baseline.mean[0], 7.0)


def test_wrong_use_is_refused() -> None:
    own = split(np.arange(9.0))
    with pytest.raises(OptionError, match="at least one series"):
        last_value([])
    with pytest.raises(OptionError, match="horizon and a season of at least 1, got 1 and 0"):
        seasonal_naive([own], 0)
    with pytest.raises(OptionError, match="got 0 and 4"):
        ridge([own], 4, horizon=0)
    with pytest.raises(ShapeError, match="got y as int64"):
        split(np.arange(9))
    with pytest.raises(ShapeError, match=r"got restarts as bool of shape \(8,\)"):
        Split(own.y, own.train, own.validation, np.zeros(8, dtype=bool))
    with pytest.raises(ShapeError, match="got position as float64"):
        Split(own.y, own.train, own.validation, position=own.y)


@pytest.mark.skipif(not TAXI.exists(), reason="needs ../shared/data/nab/nyc_taxi.csv")
def test_known_figures_on_taxi_rides() -> None:
    y = np.loadtxt(TAXI, delimiter=",", skiprows=1, usecols=1)
    train, validation = round(0.7 * y.size), round(0.85 * y.size)
    own = Split(y, slice(0, train), slice(train, validation))
    began = time.perf_counter()
    found = {
        baseline.name: baseline.score([own], [slice(validation, None)], season=48)
        for baseline in default_baselines([own], season=48)
    }
    assert time.perf_counter() - began < 10  # a fraction of a second on an idle machine
    assert found["last_value"]["mse_scaled"] == pytest.approx(0.0585, rel=0.01)
    assert found["ridge(48)"]["mse_scaled"] == pytest.approx(0.0237, rel=0.01)
    assert found["ridge(336)"]["mse_scaled"] == pytest.approx(0.0210, rel=0.01)
    assert all(0.7 < score["coverage"] < 0.9 for score in found.values())
