import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from statsmodels.datasets import sunspots

from throughtime.data import open_demo, read_table, reber_optimum
from throughtime.data.demo_meter import FAULT_WEEKS, PER_DAY, WEEKS
from throughtime.data.demo_reber import END, GRAPH, make_reber, make_string
from throughtime.data.demos import describe, names
from throughtime.data.text import Text
from throughtime.errors import OptionError


def test_every_demo_is_described_and_opens():
    assert names() == ("sunspots", "meter", "python", "reber")
    for demo in describe():
        assert "\n" not in demo.description
        opened = open_demo(demo.source)
        assert isinstance(opened, pl.DataFrame if demo.task == "forecast" else Text)
        if isinstance(opened, pl.DataFrame):
            assert {*demo.covariates, *demo.labels} <= set(opened.columns)


def test_an_unknown_demo_is_refused():
    with pytest.raises(OptionError, match="sunspots, meter, python, reber, came 'moon'"):
        open_demo("demo:moon")


def test_sunspots_are_those_of_statsmodels():
    data = sunspots.load_pandas().data
    frame = open_demo("demo:sunspots")
    assert frame["year"].to_list() == data["YEAR"].astype(int).tolist()
    assert frame["sunspots"].to_list() == data["SUNACTIVITY"].tolist()


def test_sunspots_are_a_regular_series_with_the_known_cycle():
    table = read_table("demo:sunspots")
    assert len(table.series[0]) == 309
    assert (table.format.time_kind, table.format.step_us) == ("integer", 1)
    assert table.format.season in (10, 11)


def test_the_meter_is_a_function_of_its_seed():
    assert open_demo("demo:meter", 3).equals(open_demo("demo:meter", 3))
    assert not open_demo("demo:meter", 3).equals(open_demo("demo:meter", 4))


@pytest.mark.parametrize("seed", range(5))
def test_the_meter_has_rhythm_trend_and_labelled_faults(seed):
    frame = open_demo("demo:meter", seed)
    assert frame.height == WEEKS * 7 * PER_DAY
    assert frame["ds"].diff().drop_nulls().n_unique() == 1
    fault = frame["fault"].to_numpy()
    healthy = np.where(fault == 0, frame["y"].to_numpy(), np.nan)
    assert np.nanmin(healthy) > 0
    by_hour = np.nanmean(healthy.reshape(-1, PER_DAY), axis=0)
    assert by_hour[38] > 2 * by_hour[6]
    by_week = np.nanmean(healthy.reshape(WEEKS, -1), axis=1)
    assert by_week[-4:].mean() > by_week[:4].mean()
    starts = np.flatnonzero(np.diff(fault) > 0)
    assert [int(start) // (7 * PER_DAY) + 1 for start in starts] == [*FAULT_WEEKS]
    assert set(np.unique(fault)) == {0, 1, 2, 3, 4}
    assert not fault[: 14 * PER_DAY].any()
    assert fault[-2 * 7 * PER_DAY :].any()
    assert 0.01 < (fault > 0).mean() < 0.1


def test_the_label_of_the_meter_is_not_read():
    table = read_table("demo:meter")
    assert (table.format.key, table.format.covariates) == ("unique_id", ())
    assert "left out: 'fault' (a label, not known when the row comes)" in table.findings.lines
    assert table.format.season == 48
    chosen = read_table("demo:meter", covariates=["fault"])
    assert chosen.format.covariates == ("fault",)
    frame = read_table(open_demo("demo:meter"))
    assert frame.format.covariates == ()


def test_the_python_text_is_bounded_and_starts_with_the_first_file():
    text = open_demo("demo:python")
    assert len(text.documents) == 1
    assert 100_000 < len(text.documents[0]) <= 1_000_000
    assert not text.independent
    assert "def " in text.documents[0]


def accepted(string):
    """Walk through the graph by hand; the branch symbol must come back before the last E."""
    inner = {
        ("1", "T"): "2",
        ("1", "P"): "3",
        ("2", "S"): "2",
        ("2", "X"): "4",
        ("3", "T"): "3",
        ("3", "V"): "5",
        ("4", "X"): "3",
        ("4", "S"): "6",
        ("5", "P"): "4",
        ("5", "V"): "6",
    }
    if string[0] != "B" or string[2] != "B" or string[-3] != "E" or string[-1] != "E":
        return False
    if string[1] not in "TP" or string[1] != string[-2]:
        return False
    node = "1"
    for symbol in string[3:-3]:
        if (node, symbol) not in inner:
            return False
        node = inner[node, symbol]
    return node == "6"


def test_reber_strings_are_of_the_grammar():
    assert accepted("BTBTXSETE")
    assert not accepted("BTBTXSEPE")
    text = make_reber(2000, seed=1)
    assert text.independent
    assert len(text.documents) == 2000
    assert all(accepted(string) for string in text.documents)
    assert text == make_reber(2000, seed=1)
    assert text.documents != make_reber(2000, seed=2).documents
    branches = Counter(string[1] for string in text.documents)
    assert abs(branches["T"] - 1000) < 5 * math.sqrt(2000 / 4)


def test_the_optimum_agrees_with_a_long_walk():
    random = np.random.default_rng(0)
    surprise = predicted = 0.0
    totals = []
    for _ in range(20_000):
        string = make_string(random)
        node, own = "start", 0.0
        for position, symbol in enumerate(string):
            edges = dict(GRAPH[node])
            if position:
                own += math.log(len(edges))
            node = edges[symbol]
        assert node == END
        surprise += own
        predicted += len(string) - 1
        totals.append((own, len(string) - 1))
    measured = surprise / predicted
    own, length = np.array(totals).T
    # the standard error of a ratio of means
    error = np.std(own - measured * length) / math.sqrt(len(totals)) / length.mean()
    assert abs(measured - reber_optimum()) < 5 * error
    assert error < 1e-3


def test_the_optimum_of_the_outer_branch_is_one_choice_and_that_of_the_inner_graph_is_exact():
    # first-step analysis by hand: expected fair choices and symbols from each inner node
    # 2: c2 = 1 + (c2 + c4)/2, 3: c3 = 1 + (c3 + c5)/2, 4: c4 = 1 + c3/2, 5: c5 = 1 + c4/2
    matrix = np.array(
        [[0.5, 0, -0.5, 0], [0, 0.5, 0, -0.5], [0, -0.5, 1, 0], [0, 0, -0.5, 1]], dtype=float
    )
    inner = np.linalg.solve(matrix, np.ones(4))
    choices = 1 + (inner[0] + inner[1]) / 2
    symbols = 1 + 1 + choices + 1 + 1 + 1
    assert reber_optimum() == pytest.approx((1 + choices) * math.log(2) / symbols, rel=1e-12)
