"""What a stream does with rows that are late, doubled, far apart, unreadable or of nobody."""

import gc
import json
import math
import re
import sys
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from streams import traced

import throughtime as tt
from throughtime.errors import DataError, NotStreamableError, OptionError
from throughtime.stream import Stream
from throughtime.stream.cells import read_number


def row(hour, y=1.0, key="key 0", **more):
    moment = datetime(2024, 2, 1) + timedelta(hours=hour)
    return {"unique_id": key, "ds": str(moment), "y": y, **more}


def refusal(stream, bad, **options):
    with pytest.raises(DataError) as caught:
        stream.push(bad, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert "expected" in message
    assert "came" in message
    return message


def test_an_answer_is_json_with_the_promised_fields(run, wide_run):
    answer = Stream(run).push(row(0))
    assert list(answer) == ["unique_id", "ds", "y", "expected", "prediction", "lower", "upper"]
    assert (answer["unique_id"], answer["ds"], answer["y"]) == ("key 0", "2024-02-01 00:00:00", 1.0)
    assert answer["expected"] is None
    assert answer["lower"] <= answer["prediction"] <= answer["upper"]
    wide = Stream(wide_run).push(row(0, temperature=1, load=None, holiday="0"))
    assert [each["horizon"] for each in wide["ahead"]] == [1, 2, 3]
    assert set(wide["ahead"][0]) == {"horizon", "prediction", "lower", "upper"}
    assert wide["prediction"] == wide["ahead"][0]["prediction"]
    assert json.loads(json.dumps(wide, allow_nan=False)) == wide


def test_what_comes_next_was_predicted_before(run):
    stream = Stream(run)
    before = stream.push(row(0))
    after = stream.push(row(1, 2.0))
    assert after["expected"] == before["prediction"]
    assert "note" not in after


def test_late_and_doubled_rows_are_dropped_and_said(run):
    stream = Stream(run)
    stream.push(row(5))
    before = stream.push(row(6))
    for bad, note in (
        (row(3, 99.0), "late row dropped"),
        (row(6, 99.0), "duplicate row dropped: a row of this time has been read"),
        (
            row(6, 99.0) | {"ds": "2024-02-01T06:29:59"},
            "row dropped: less than half a step after the one before",
        ),
    ):
        answer = stream.push(bad)
        assert answer["note"] == note
        assert answer["y"] == 99.0
        assert answer["expected"] is None
        assert answer["prediction"] == before["prediction"]
    clean = Stream(run)
    clean.push(row(5))
    clean.push(row(6))
    assert stream.push(row(7)) == clean.push(row(7))


def test_gaps_are_filled_up_to_the_longest_and_then_the_state_starts_afresh(run):
    stream = Stream(run)
    stream.push(row(0))
    assert stream.push(row(2))["note"] == "1 missing step filled"
    filled = stream.push(row(9))
    assert filled["note"] == "6 missing steps filled"
    assert filled["expected"] is not None
    afresh = stream.push(row(410))
    assert afresh["note"] == "state starts afresh after a gap of 400 steps"
    assert afresh["expected"] is None
    first = Stream(run).push(row(410))
    assert {name: afresh[name] for name in first} == first


def test_a_missing_value_is_held_and_said(run, wide_run):
    stream = Stream(run)
    stream.push(row(0))
    for hour, missing in enumerate((None, math.nan, "", " NA ", "null", np.float64("nan")), 1):
        answer = stream.push(row(hour, missing))
        assert answer["y"] is None
        assert answer["note"] == "y missing"
        assert answer["expected"] is not None
    wide = Stream(wide_run).push(row(0, temperature=3, holiday=""))
    assert wide["note"].startswith("load, holiday missing; ")


def test_the_future_of_a_covariate_is_held_unless_the_row_says_it(wide_run):
    def made(**more):
        return Stream(wide_run).push(row(0, temperature=20.0, load=0, holiday=0, **more))

    held = made()
    assert held.pop("note") == "future of temperature, holiday not given: held"
    said = {f"temperature@+{k}": 20.0 for k in (1, 2, 3)}
    other = made(**said)
    assert other.pop("note") == "future of holiday not given: held"
    assert other == held
    said |= {f"holiday@+{k}": 0 for k in (1, 2, 3)}
    assert made(**said) == held
    assert made(**{**said, "temperature@+2": "35"})["ahead"] != held["ahead"]
    assert "unknown column" in made(**{"temperature@+4": 1.0})["note"]
    assert "unknown column" in made(**{"load@+1": 1.0})["note"]


def test_a_future_that_is_not_given_is_said_once_a_key(wide_run, tmp_path):
    stream = Stream(wide_run)
    given = {"temperature": 20.0, "load": 0, "holiday": 0}
    for key in ("key 0", "key 1"):
        first = stream.push({**row(0, **given), "unique_id": key})
        assert first["note"] == "future of temperature, holiday not given: held"
        assert "note" not in stream.push({**row(1, **given), "unique_id": key})
    stream.save(tmp_path / "state")
    again = Stream.load(wide_run, tmp_path / "state")
    assert "note" not in again.push({**row(2, **given), "unique_id": "key 0"})


def test_an_unknown_column_is_said_once_and_endless_ones_are_not_collected(run):
    stream = Stream(run)
    assert stream.push(row(0, foo=1))["note"] == "unknown column foo ignored"
    assert "note" not in stream.push(row(1, foo=1))
    for hour in range(2, 60):
        stream.push(row(hour, **{f"new {hour}": 1}))
    assert "note" not in stream.push(row(60, another=1))


def test_a_new_series_is_read_on_the_pooled_scale(run):
    stream = Stream(run)
    note = "series never seen in training: pooled scale"
    assert stream.push(row(0, key="stranger"))["note"] == note
    assert "note" not in stream.push(row(1, key="stranger"))
    assert stream.keys == ("stranger",)


def test_keys_do_not_touch_each_other_and_can_be_forgotten(run):
    alone = [Stream(run).push(row(0)), None]
    together = Stream(run)
    assert together.push(row(0)) == alone[0]
    together.push(row(7, 50.0, key="key 1"))
    other = Stream(run)
    other.push(row(0))
    assert together.push(row(1)) == other.push(row(1))
    assert together.keys == ("key 0", "key 1")
    together.reset("key 0")
    assert together.keys == ("key 1",)
    assert together.push(row(0)) == alone[0]
    with pytest.raises(OptionError, match="expected a key among 'key 1', 'key 0', got 'nobody'"):
        together.reset("nobody")


def test_the_key_column_can_be_another(run):
    stream = Stream(run, key="meter")
    answer = stream.push({"meter": 7, "ds": "2024-02-01 00:00:00", "y": 1})
    assert answer["unique_id"] == "7"
    assert answer["note"] == "series never seen in training: pooled scale"
    with pytest.raises(OptionError, match="got 'y', which is read as something else"):
        Stream(run, key="y")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": "abc"}, "a number in column 'y', came 'abc'"),
        ({"y": "1 2"}, "a number in column 'y', came '1 2'"),
        ({"y": "inf"}, "a number in column 'y', came 'inf'"),
        ({"y": math.inf}, "a finite number in column 'y', came inf"),
        ({"y": 10**400}, "a finite number in column 'y', came 1000"),
        ({"y": [1]}, r"a number in column 'y', came \[1\]"),
        ({"y": "x" * 10**6}, "a number in column 'y', came 'xxx"),
        ({"ds": None}, "a time in column 'ds', came an empty cell"),
        ({"ds": "  "}, "a time in column 'ds', came an empty cell"),
        ({"ds": math.nan}, "a time in column 'ds', came an empty cell"),
        ({"ds": "yesterday"}, "a time like those of column 'ds'"),
        ({"ds": "2024-13-01"}, "a time like those of column 'ds'"),
        ({"ds": True}, "a time in column 'ds', came True"),
        ({"ds": {"a": 1}}, "a time in column 'ds', came {"),
        ({"ds": "1" * 10**6}, "a time in column 'ds', came '111"),
        ({"unique_id": ""}, "a key of 1 to 256 characters in column 'unique_id', came ''"),
        ({"unique_id": None}, "a key in column 'unique_id', came None"),
        ({"unique_id": "k" * 257}, "a key of 1 to 256 characters"),
        ({"unique_id": "\ud800"}, "a key of 1 to 256 characters"),
        ({"unique_id": [1]}, r"a key in column 'unique_id', came \[1\]"),
    ],
)
def test_a_bad_row_is_refused_in_one_line_and_changes_nothing(run, change, said):
    stream, clean = Stream(run), Stream(run)
    stream.push(row(0))
    clean.push(row(0))
    assert re.match(f"row 17: expected .*{said}", refusal(stream, row(1) | change, number=17))
    assert refusal(stream, row(1) | change).startswith("row 3: ")
    assert stream.push(row(3)) == clean.push(row(3))
    assert stream.keys == clean.keys


@pytest.mark.parametrize(
    ("column", "role"), [("ds", "time"), ("y", "target"), ("unique_id", "key")]
)
def test_a_row_without_a_needed_column_is_refused(run, column, role):
    bad = row(0)
    del bad[column]
    assert f"expected the {role} column {column!r}, came " in refusal(Stream(run), bad)


def test_whole_number_times(tmp_path):
    run = tt.fit("demo:sunspots", layer="rnn:4", budget="1steps", out=tmp_path / "run", show=False)
    stream = Stream(run)
    assert stream.push({"year": 1700, "sunspots": 5})["ds"] == "1700"
    assert stream.push({"year": "1701.0", "sunspots": "1e1"})["ds"] == "1701.0"
    assert stream.push({"year": 1702.0, "sunspots": True})["ds"] == "1702"
    assert stream.push({"year": np.int64(1703), "sunspots": Decimal("4.5")})["y"] == 4.5
    assert "note" not in stream.push({"year": np.float64(1704), "sunspots": np.float32(0.5)})
    assert stream.keys == ("series",)
    for year in (1705.5, datetime(1705, 1, 1), 10**30, "1e30", "next"):
        refusal(stream, {"year": year, "sunspots": 1})


def test_times_in_every_spelling_of_the_table_are_one_moment(run):
    spellings = ("2024-02-01 00:00:00", "2024-02-01T00:00:00Z", "2024-02-01 01:00:00+01:00")
    moments = (*spellings, " 2024-02-01 ", datetime(2024, 2, 1), datetime(2024, 2, 1).date())
    answers = [Stream(run).push(row(0) | {"ds": moment}) for moment in moments]
    assert len({answer["prediction"] for answer in answers}) == 1
    assert [answer["ds"] for answer in answers[:4]] == [*spellings, "2024-02-01"]
    assert answers[4]["ds"] == "2024-02-01 00:00:00"


def test_words_are_numbers_as_the_reader_has_them():
    from throughtime.data.columns import to_numbers

    words = ("1", " -2.5e3 ", ".5", "7.", "+4", "NaN", "n/a", "?", "-", "", "true", "False")
    for word in words:
        expected = float(to_numbers(pl.Series("y", [word]), "a test")[0])
        assert read_number(word, "y") == pytest.approx(expected, abs=0, nan_ok=True), word


def test_absurd_values_leave_numbers(run):
    stream = Stream(run)
    for hour, y in enumerate((1e308, -1e308, 1e308, 0.0)):
        answer = stream.push(row(hour, y))
        json.dumps(answer, allow_nan=False)
    assert answer["prediction"] is not None


def test_a_run_that_needs_the_future_is_refused(run, monkeypatch):
    monkeypatch.setattr(type(run.model.layers), "streamable", False)
    with pytest.raises(NotStreamableError, match="needs the future"):
        Stream(run)


def test_text_rows_that_are_none_are_refused(text_run):
    stream = Stream(text_run)
    assert "the text column 'text'" in refusal(stream, {"words": "abc"})
    assert "expected text in column 'text', came 3" in refusal(stream, {"text": 3})
    assert "UTF-8" in refusal(stream, {"text": b"\xff"})
    assert stream.push({"text": "\ufeff"}) == {"unique_id": "series", "symbols": 0, "nats": None}
    assert stream.push({"text": "t"})["symbols"] == 0
    answer = stream.push({"text": b"he\r\nX\xe2\x98\x83"})
    assert answer["symbols"] == 5
    assert answer["note"] == "symbols unknown to the vocabulary: 2"
    assert answer["nats"] > 0


def test_texts_with_keys_are_kept_apart(text_run):
    stream = Stream(text_run, key="book")
    one = [stream.push({"book": "a", "text": text}) for text in ("the ", "quick")]
    two = [stream.push({"book": "b", "text": text}) for text in ("the ", "quick")]
    assert [{**answer, "unique_id": "a"} for answer in two] == one
    assert stream.keys == ("a", "b")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(run, tmp_path):
    stream = Stream(run)
    start = datetime(2024, 2, 1)

    def push(hours):
        for hour in hours:
            moment = str(start + timedelta(hours=hour))
            stream.push({"unique_id": "key 0", "ds": moment, "y": 1, "foo": hour})
            if hour == 200:
                stream.push({"unique_id": "key 1", "ds": moment, "y": 1})

    def measure(name):
        stream.save(tmp_path / name)
        gc.collect()
        return sys.getallocatedblocks(), (tmp_path / name).stat().st_size

    push(range(500))
    blocks, size = measure("before")
    push(range(500, 20_500))
    grown, same = measure("after")
    assert same == size
    assert grown - blocks < 500, "a row keeps at least a block if it keeps anything"


def test_a_row_allocates_nothing_that_stays(run):
    stream = Stream(run)
    for hour in range(100):
        stream.push(row(hour))
    with traced() as memory:
        stream.push(row(100))
        before = memory()[0]
        for hour in range(101, 400):
            stream.push(row(hour))
        grown = memory()[0] - before
    assert grown < 5_000
