"""Ratios, bars, medians over processes, and the estimate of what is left."""

import json

import pytest
from fakes import case, figure
from hypothesis import given
from hypothesis import strategies as st

from throughtime.bench import PARTS, Bar, Figure, run
from throughtime.bench import text as texts
from throughtime.bench.figure import over_processes
from throughtime.bench.parts import chosen
from throughtime.bench.whole import progress
from throughtime.errors import OptionError


def test_a_speedup_is_theirs_over_ours_and_a_share_ours_over_theirs():
    assert figure().measured(2.0, 6.0).ratio == 3.0
    assert figure(reads="share").measured(2.0, 8.0).ratio == 0.25
    assert figure().measured(2.0, None).ratio is None


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("ratio", "at least", 3.0), True),
        (Bar("ratio", "at least", 3.1), False),
        (Bar("ours", "at most", 2.0), True),
        (Bar("ours", "at most", 1.9), False),
        (Bar("ratio", "at most", 2.9), False),
    ],
)
def test_a_bar_is_met_from_its_value_on(bar: Bar, met: bool):
    planned = figure("a", bar)
    assert planned.measured(2.0, 6.0).met is met
    assert planned.met is False
    assert planned.without("not there").missed == (bar,)


def test_without_bars_there_is_nothing_to_meet():
    assert figure().measured(1.0, 2.0).met is None
    assert figure().missed == ()


@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.floats(0.1, 9.0)), min_size=1, max_size=5))
def test_medians_over_processes_are_those_of_the_ratios(times: list[tuple[float, float]]):
    found = [
        figure().measured(ours, theirs, difference=ours, more={"p99": theirs})
        for ours, theirs in times
    ]
    whole = over_processes(found)
    ratios = sorted(theirs / ours for ours, theirs in times)
    middle = len(ratios) // 2
    assert whole.ratio is not None
    if len(ratios) % 2:
        assert whole.ratio == ratios[middle]
    else:
        assert whole.ratio == pytest.approx((ratios[middle - 1] + ratios[middle]) / 2)
    assert whole.difference == max(ours for ours, _ in times)
    assert whole.processes == len(times)
    assert set(whole.more) == {"p99"}


def test_one_wrong_process_makes_a_figure_wrong():
    right = figure().measured(1.0, 2.0)
    wrong = figure().without("differs", wrong=True)
    whole = over_processes([right, wrong, right])
    assert whole.wrong
    assert whole.ratio is None
    assert whole.note == "differs"


def test_a_process_that_lacks_a_peer_leaves_it_to_the_others():
    right, without = figure().measured(1.0, 2.0), figure().without("not there")
    assert over_processes([without, right]) == right
    assert over_processes([without, without]).note == "not there"


def test_a_figure_comes_back_from_json():
    for one in (
        figure("a", Bar("ratio", "at least", 2.0), size=(1, 2, 3)).measured(
            1.0, 2.0, difference=0.5, backend="native", more={"p99": 3.0}
        ),
        figure().without("why", wrong=True),
    ):
        assert Figure.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_figures_are_written_with_three_digits_and_units():
    asked = Bar("ratio", "at least", 2.5)
    one = figure("a", asked).measured(1.2345, 246.9)
    written = [texts.amount(one, one.ours), texts.amount(one, one.theirs)]
    assert [*written, texts.ratio(one, one.ratio)] == ["1.23 ms", "247 ms", "200x"]
    assert (texts.bar(one, asked), texts.verdict(one)) == (">= 2.5x", "met")
    share = figure("a", Bar("ours", "at most", 8.0), unit="us", reads="share").measured(9.0, 18.0)
    assert texts.ratio(share, share.ratio) == "0.50"
    assert texts.missed(share, share.asked[0]) == "train gru a / nn.GRU: 9 µs, asked <= 8 µs"
    nothing = figure("a", asked).without("gone")
    assert texts.missed(nothing, asked).endswith("not measured (gone), asked >= 2.5x")
    assert texts.verdict(nothing) == "not measured"


@pytest.mark.parametrize("quick", [True, False])
def test_every_part_has_cases_and_every_figure_a_name_of_its_own(quick: bool):
    figures = [planned for case in chosen((), (), quick=quick) for planned in case.plan]
    assert {planned.part for planned in figures} == set(PARTS)
    names = [planned.name for planned in figures]
    assert len(set(names)) == len(names)


def test_parts_and_layers_are_chosen_by_name():
    cases = chosen(["step", "train"], ["lstm"], quick=False)
    assert {case.plan[0].part for case in cases} == {"step", "train"}
    assert {case.plan[0].layer for case in cases} == {"lstm"}
    assert [case.plan[0].part for case in chosen(["linear"], (), quick=True)] == ["linear"]


@pytest.mark.parametrize(
    ("parts", "layers", "words"),
    [
        (["trian"], [], "did you mean 'train'"),
        ([], ["gru:64"], "a layer among rnn, lstm, gru, "),
        (["linear"], ["gru"], "a part that measures gru, got linear"),
        (["step"], ["rnn"], "a part that measures rnn, got step"),
    ],
)
def test_names_that_are_not_there(parts: list[str], layers: list[str], words: str):
    with pytest.raises(OptionError, match=words):
        run(parts, layers=layers, quick=True)


def test_no_processes():
    with pytest.raises(OptionError, match="1 process or more, got 0"):
        run(processes=0)


def test_the_time_left_follows_what_this_machine_took():
    first = progress([2.0, 6.0], 0, 0.0, "a")
    assert (first.share, first.seconds_left) == (0.0, 8.0)
    second = progress([2.0, 6.0], 1, 10.0, "b")
    assert (second.share, second.seconds_left) == (0.25, 30.0)


def test_a_title_names_the_case_where_there_is_one():
    one = case(figure("a"))
    assert one.title == "train gru a"
    two = type(one)((figure("a"), figure("b")), one.measure, 1.0)
    assert two.title == "train gru"
