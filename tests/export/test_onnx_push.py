"""Rows with their times: the runner that is shipped answers each as `Stream` does."""

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from c_exports import train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_exports import put
from streamed import MAX_GAP, START, odd_rows, same_answers, table

import throughtime as tt
from throughtime.data.words import EMPTY

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from throughtime.export.onnx.shipped import runner_rows
from throughtime.export.onnx.shipped.runner import ForecastStreams

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A run with everything that a row can have, its export, and the table it was trained on."""
    folder = tmp_path_factory.mktemp("onnx_push")
    frame = table(keys=2, covariates=True)
    run = train(
        folder / "run",
        frame,
        layer="lstm:5x2",
        dropout=0.3,
        horizon=3,
        learned_initial_state=True,
        reading={"max_gap": MAX_GAP, "step": "1h", "known_future": ("temperature",)},
    )
    return run, put(run, folder / "onnx"), frame


def answer_of(push, row):
    """What becomes of a row: its answer, or why it can't be read."""
    try:
        return push(row)
    except ValueError as error:
        return str(error)


def compare(run, folder, rows, *, key=None, alter=None):
    """Push rows to both; return what the runner answered, and where they differ."""
    stream, streams = tt.Stream(run, key=key), ForecastStreams(folder, series=[], key=key)
    if alter is not None:
        alter(streams)
    found, apart = [], []
    for place, row in enumerate(rows):
        got = answer_of(streams.push, row)
        wanted = answer_of(stream.push, row)
        if isinstance(wanted, str):
            wanted = wanted.removeprefix(f"row {place + 1}: ")
        scale = max(1.0, run.task.scaler.pooled.scale)
        if not same_answers(got, wanted, scale):
            apart.append((row, got, wanted))
        found.append(got)
    assert tuple(streams.names) == stream.keys
    return found, apart


def test_rows_of_several_series_are_answered_as_by_a_stream(wide):
    run, folder, frame = wide
    answers, apart = compare(run, folder, odd_rows(frame))
    assert not apart, apart[0]
    notes = " ".join(each["note"] for each in answers if isinstance(each, dict) and "note" in each)
    for words in (
        "late row dropped",
        "duplicate row dropped",
        "less than half a step",
        "missing step filled",
        "missing steps filled",
        "afresh after a gap of",
        "never seen in training",
        "future of temperature not given",
        "y missing",
        "load missing",
        "unknown column surprise",
    ):
        assert words in notes, words


FAULTS = {
    "gaps are not filled": lambda reader: setattr(
        reader, "admit", lambda last, time: (type(reader).admit(reader, last, time)[0], 0)
    ),
    "long gaps go on": lambda reader: reader._about.update(max_gap=10**6),
    "gaps always start afresh": lambda reader: reader._about.update(max_gap=0),
    "half a step counts down": lambda reader: reader._about.update(step=reader._about["step"] + 2),
    "late rows are read": lambda reader: setattr(
        reader, "admit", lambda last, time: ("next" if last else "restart", 0)
    ),
    "fillers know no future": lambda reader: setattr(
        reader, "future_of_missing", lambda row, steps: [[np.nan] * 3 for _ in row.future]
    ),
    "fillers are a step off": lambda reader: setattr(
        reader,
        "future_of_missing",
        lambda row, steps: type(reader).future_of_missing(reader, row, steps + 1),
    ),
    "covariates are swapped": lambda reader: reader._about["covariates"].reverse(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault, wide):
    run, folder, frame = wide
    rows = list(odd_rows(frame))
    half = {"unique_id": "half"}
    halves = [rows[0] | half | {"ds": (START + k * HOUR / 2).isoformat()} for k in range(8)]
    _, apart = compare(run, folder, rows + halves, alter=lambda made: FAULTS[fault](made._reader))
    assert apart


def test_a_state_that_is_not_reset_is_seen(wide):
    run, folder, frame = wide

    def alter(streams):
        made = streams._made

        def never_again(graph, fed, index):
            return made(graph, fed | {"reset": fed["reset"] & ~streams.kept["begun"][index]}, index)

        streams._made = never_again

    _, apart = compare(run, folder, odd_rows(frame), alter=alter)
    assert apart


MINUTES = st.integers(-90, 600)
CELLS = st.one_of(
    st.none(),
    st.floats(-1e9, 1e9),
    st.sampled_from(["", "NA", "1.5", " 2 ", "1e400", "inf", "x", True, 10**400, Decimal("1.25")]),
    st.just(float("nan")),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"unique_id": st.sampled_from(["key 0", "key 1", "new", 7, ""]), "y": CELLS},
        optional={"load": CELLS, "temperature": CELLS, "temperature@+2": CELLS, "more": CELLS},
    ),
    max_size=25,
)


@given(rows=ROWS, minutes=st.lists(MINUTES, min_size=25, max_size=25))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_rows_are_answered_as_by_a_stream(wide, rows, minutes):
    run, folder, _ = wide
    time, timed = START, []
    for row, minute in zip(rows, minutes, strict=False):
        time = time + timedelta(minutes=minute)
        timed.append(row | {"ds": time.isoformat()})
    _, apart = compare(run, folder, timed)
    assert not apart, apart[0]


TIMES = [
    *("2024-01-01", "2024-01", "2024-01-01T10:00:00Z", "2024-01-01 10:00+02:00", " 2024-02-01 "),
    *("", None, float("nan"), "now", "2024-13-01", "9999-12-31 23:59:59.999999", "2024", "x" * 101),
    *(0, 1, -5, 1.0, 1.5, True, "12", "1.0", "1.5", "1e3", "1_0", "+7", 2**63, -(2**63) - 1, 1e300),
    *(date(2024, 2, 3), datetime(2024, 2, 3, 4), datetime(2024, 2, 3, tzinfo=timezone(HOUR))),
    *(1704067200, 1704067200.5, "1704067200", np.int64(1704067300), "03.02.2024 05:00", [1], b"x"),
]
FORMATS = {
    "iso": [f"2024-01-{day:02d} 00:00" for day in range(1, 31)],
    "months": [f"{2020 + k // 12}-{1 + k % 12:02d}" for k in range(40)],
    "quarters": [f"{2000 + k // 4}-{1 + 3 * (k % 4):02d}-01" for k in range(40)],
    "pattern": [f"{1 + k // 24:02d}.02.2024 {k % 24:02d}:00" for k in range(60)],
    "seconds": [1704067200 + 60 * k for k in range(60)],
    "milliseconds": [1704067200000 + 250 * k for k in range(60)],
    "numbers": list(range(-10, 60)),
    "irregular": np.cumsum(np.arange(60) % 7 + 1).tolist(),
}


@pytest.fixture(scope="module", params=FORMATS)
def timed(request, tmp_path_factory):
    """A run of each way in which a column may tell the time."""
    folder = tmp_path_factory.mktemp("onnx_times")
    times = FORMATS[request.param]
    frame = pl.DataFrame({"ds": times, "y": np.sin(np.arange(len(times)) / 3)})
    run = train(folder / "run", frame, layer="gru:3", reading={"max_gap": 4})
    return run, put(run, folder / "onnx"), times


def test_times_are_read_as_by_a_stream(timed):
    run, folder, times = timed
    rows = [
        {"ds": each, "y": 0.5, "sensor": f"{place} from {first}"}
        for first in (times[0], times[-1])
        for place, value in enumerate(TIMES)
        for each in (first, value, times[-1])
    ]
    _, apart = compare(run, folder, rows, key="sensor")
    assert not apart, apart[0]
    moved = [*times[:9], *times[11:14], times[2], *times[20:]]
    answers, apart = compare(run, folder, [{"ds": each, "y": 0.5} for each in moved])
    assert not apart, apart[0]
    assert any("filled" in each.get("note", "") for each in answers) == run.task.format.regular


KEYS = [
    " a ",
    "a",
    "",
    None,
    3,
    3.5,
    True,
    float("nan"),
    "x" * 257,
    "\ud800",
    [1],
    date(2024, 1, 1),
]


def test_any_column_may_tell_streams_apart(timed):
    run, folder, times = timed
    rows = [{"ds": times[0], "y": 1, "sensor": key} for key in KEYS]
    _, apart = compare(run, folder, [*rows, {"ds": times[0], "y": 1}], key="sensor")
    assert not apart, apart[0]
    for make in (lambda: ForecastStreams(folder, key="y"), lambda: tt.Stream(run, key="y")):
        with pytest.raises(ValueError, match="expected a column that tells the streams apart"):
            make()


NUMBERS = [
    *EMPTY, *(word.upper() for word in EMPTY), "+nan", "-NaN", "true", "FALSE", "yes", "1", "+1.",
    ".5", "1e5", "1e", "1,5", "1_0", "0x1", "\u0661", " 7\t", "1e400", "-1e400", "inf", "-inf",
    "1 2", None, True, 3, 10**400, -(10**400), 1.5, float("nan"), float("inf"), Decimal("1.25"),
    Decimal("NaN"), np.float32(0.5), [1], {}, b"1", 1j,
]  # fmt: skip


def test_cells_are_read_as_by_a_stream(timed):
    run, folder, times = timed
    rows = [{"ds": times[0], "y": value, "sensor": k} for k, value in enumerate(NUMBERS)]
    _, apart = compare(run, folder, rows, key="sensor")
    assert not apart, apart[0]
    assert runner_rows.MISSING == EMPTY


def test_streams_that_were_saved_go_on(wide, tmp_path):
    _, folder, frame = wide
    rows = list(odd_rows(frame))
    whole, cut = (ForecastStreams(folder, series=[]) for _ in range(2))
    for row in rows[:150]:
        assert json.dumps(answer_of(whole.push, row)) == json.dumps(answer_of(cut.push, row))
    cut.save(tmp_path / "kept.npz")
    again = ForecastStreams(folder)
    again.load(tmp_path / "kept.npz")
    assert again.names == whole.names
    for row in rows[150:]:
        assert answer_of(again.push, row) == answer_of(whole.push, row)


def test_a_save_that_fails_leaves_the_old_file(wide, tmp_path, monkeypatch):
    _, folder, _ = wide
    streams, path = ForecastStreams(folder), tmp_path / "kept.npz"
    streams.save(path)
    before = path.read_bytes()

    def fill_the_disk(file, **_):
        file.write(before[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        streams.save(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_stream_that_is_reset_begins_again(wide):
    _, folder, frame = wide
    rows = [row for row in odd_rows(frame) if row["unique_id"] == "key 0"][:30]
    streams = ForecastStreams(folder, series=[])
    first = [answer_of(streams.push, row) for row in rows]
    streams.reset([streams.names.index("key 0")])
    again = [answer_of(streams.push, row) for row in rows]
    for one, other in zip(first, again, strict=True):
        if isinstance(one, dict):
            one.pop("note", None)
            other.pop("note", None)
        assert one == other


def test_a_saved_file_of_anything_else_is_refused(wide, timed, tmp_path):
    _, folder, _ = wide
    _, other, _ = timed
    streams, foreign = ForecastStreams(folder), ForecastStreams(other)
    files = {name: tmp_path / name for name in ("empty", "text", "array", "foreign", "part")}
    files["empty"].touch()
    files["text"].write_text("streams")
    np.save(tmp_path / "array.npy", np.zeros(3))
    files["array"] = tmp_path / "array.npy"
    foreign.save(files["foreign"])
    streams.kept.pop("time")
    streams.save(files["part"])
    for path in [*files.values(), tmp_path / "absent"]:
        fresh = ForecastStreams(folder)
        with pytest.raises(ValueError, match=r"^expected .*streams"):
            fresh.load(path)
        assert fresh.kept["fresh"].all()
