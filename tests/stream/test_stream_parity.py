"""A stream gives on each row what the whole series run at once gives, and so what was scored."""

import numpy as np
import polars as pl
import pytest
from streams import arriving, close, table, train

import throughtime as tt
from throughtime.data.splits import split_rows
from throughtime.stream import Stream


def middle(levels, quantiles):
    return quantiles[..., list(levels).index(0.5)]


def check_rows(run, frame):
    """Compare every answer with the forecasts of whole series; return answers by place."""
    read = run.task.read(frame)
    offline = [made.quantiles for made in run.task.forecasts(run.model, read)]
    levels = run.task.options.levels
    stream = Stream(run)
    answers = [{} for _ in read.series]
    for row, number, place in arriving(frame, read):
        answer = stream.push(row)
        answers[number][place] = answer
        made = offline[number]
        if read.series[number].restarts[place]:
            assert answer["expected"] is None
        else:
            assert close(answer["expected"], middle(levels, made[place - 1, 0]))
        ahead = answer.get("ahead", [{"horizon": 1, **answer}])
        assert [each["horizon"] for each in ahead] == [*range(1, len(made[place]) + 1)]
        for each, quantiles in zip(ahead, made[place], strict=True):
            assert close(each["prediction"], middle(levels, quantiles))
            assert close(each["lower"], quantiles[0])
            assert close(each["upper"], quantiles[-1])
    assert set(stream.keys) == {series.unique_id for series in read.series}
    return read, answers


def mean_error(run, read, answers):
    """The mean absolute error of the test rows, from nothing but a stream's answers."""
    errors = []
    for series, given in zip(read.series, answers, strict=True):
        test = split_rows(len(series), run.task.options.fractions)[2]
        segment = np.cumsum(series.restarts)
        for place, answer in given.items():
            for each in answer.get("ahead", [{"horizon": 1, **answer}]):
                target = place + each["horizon"]
                if test.start <= target < test.stop and segment[target] == segment[place]:
                    errors.append(abs(each["prediction"] - series.y[target]))
    return float(np.nanmean(errors))


def test_gaps_empty_cells_keys_and_restarts(run, frame):
    read, answers = check_rows(run, frame)
    counts = read.findings.counts
    assert min(counts[name] for name in ("fillers", "restarts", "missing")) > 3
    errors = [
        abs(answer["expected"] - answer["y"])
        for series, given in zip(read.series, answers, strict=True)
        for place, answer in given.items()
        if place >= split_rows(len(series), run.task.options.fractions)[2].start
        if answer["expected"] is not None and answer["y"] is not None
    ]
    scored = run.evaluate(frame)["splits"]["test"]["mae"]
    assert close(float(np.mean(errors)), scored)


def test_covariates_of_known_future_three_steps_ahead_in_a_stack_with_dropout(wide_run, wide_frame):
    read, _ = check_rows(wide_run, wide_frame)
    assert read.findings.counts["fillers"] > 3
    assert read.format.known_future == ("temperature", "holiday")


def test_convolutions_blocks_and_a_learned_beginning(frame, tmp_path):
    layer = "rg_lru:6:conv:block+gru:5:conv"
    run = train(frame, tmp_path / "run", layer=layer, learned_initial_state=True)
    assert run.model.layers.layers[1].layers[1].initial.any(), "learned"
    check_rows(run, frame)


def test_three_steps_ahead_are_scored_as_evaluated(tmp_path):
    frame = table(keys=2, gaps=False, seed=3)
    run = train(frame, tmp_path / "run", layer="rnn:4x2", horizon=3, head="gaussian")
    read, answers = check_rows(run, frame)
    scored = run.evaluate(frame)["splits"]["test"]["mae"]
    assert close(mean_error(run, read, answers), scored)


@pytest.mark.parametrize(("step", "rows"), [("1mo", 60), ("irregular", 80)])
def test_months_and_irregular_times(tmp_path, step, rows):
    random = np.random.default_rng(5)
    if step == "1mo":
        times = pl.datetime_range(
            pl.datetime(2010, 1, 31), pl.datetime(2030, 1, 31), "1mo", eager=True
        )
    else:
        times = pl.datetime_range(
            pl.datetime(2024, 1, 1), pl.datetime(2025, 1, 1), "7m", eager=True
        ).sample(rows + 20, seed=1)
    times = times.sort().head(rows).gather(np.flatnonzero(random.random(rows) > 0.1).tolist())
    y = np.sin(np.arange(len(times)) / 3) + 0.1 * random.standard_normal(len(times))
    frame = pl.DataFrame({"ds": times.dt.to_string(), "y": y})
    run = train(frame, tmp_path / "run", layer="gru:4", reading={"step": step})
    check_rows(run, frame)


def test_text_gives_the_surprise_that_was_evaluated(text_run):
    text = text_run.task.read(text_run.config.source)
    whole = text.documents[0]
    rest = whole[split_rows(len(whole), text_run.task.options.fractions)[1].start - 1 :]
    scored = text_run.evaluate()["splits"]["validation"]["nats"]
    for cuts in ([], [1], [7, 8, 30], range(1, len(rest), 5)):
        stream = Stream(text_run)
        pieces = np.split(np.array(list(rest)), list(cuts))
        answers = [stream.push({"text": "".join(piece)}) for piece in pieces]
        assert sum(answer["symbols"] for answer in answers) == len(rest) - 1
        total = sum(answer["symbols"] * (answer["nats"] or 0.0) for answer in answers)
        assert close(total / (len(rest) - 1), scored)


def test_text_is_scored_by_probabilities_that_sum_to_one(text_run):
    stream = Stream(text_run)
    stream.push({"text": "the quic"})
    symbols = text_run.task.vocabulary.symbols
    lane = stream._lanes["series"]
    chances = 0.0
    for symbol in symbols:
        stream._lanes["series"] = lane
        chances += np.exp(-stream.push({"text": symbol})["nats"])
    assert chances == pytest.approx(1, abs=1e-5)


def test_independent_documents_are_read_each_by_itself(tmp_path):
    run = tt.fit("demo:reber", layer="rnn:4", budget="1steps", out=tmp_path / "run", show=False)
    stream = Stream(run)
    document = run.task.read("demo:reber").documents[0]
    first, again = stream.push({"text": document}), stream.push({"text": document + "\n"})
    assert first == again
    assert first["symbols"] == len(document) - 1
    assert stream.keys == ()
