import io
import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

from throughtime.data import read_table
from throughtime.data.sequences import TableFormat
from throughtime.errors import DataError, OptionError

HALF_HOUR = 1_800_000_000


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(count, start="2014-07-01", unit="30m", columns="timestamp,value", value=None):
    size = {"30m": timedelta(minutes=30), "1d": timedelta(days=1)}[unit]
    begin = datetime.fromisoformat(start)
    values = [value(i) if value else i % 7 for i in range(count)]
    lines = [f"{begin + i * size},{values[i]}" for i in range(count)]
    return "\n".join([columns, *lines]) + "\n"


def frame(count=20, **columns):
    return pl.DataFrame({"ds": range(count), "y": [float(i % 6) for i in range(count)]} | columns)


def test_a_plain_table_is_read_and_summed_up_in_one_line(tmp_path):
    table = read_table(write(tmp_path, rows(480, value=lambda i: round(np.sin(i / 48 * 6.283), 4))))
    assert table.findings.lines == (
        "1 series, 480 rows, every 30 min, 2014-07-01 00:00:00 to 2014-07-10 23:30:00; "
        "gaps 0, duplicates 0, missing 0; guessed season 48 (a day)",
        "time 'timestamp', target 'value'",
    )
    assert table.format == TableFormat(
        time="timestamp",
        target="value",
        key=None,
        covariates=(),
        known_future=(),
        step_us=HALF_HOUR,
        time_kind="timestamp",
        season=48,
        max_gap=48,
        duplicates="last",
    )
    one = table.series[0]
    assert one.unique_id == "series"
    assert (one.time.dtype, one.y.dtype, one.filler.dtype) == (np.int64, np.float64, np.bool_)
    assert one.covariates.shape == (480, 0)
    assert one.restarts.tolist() == [True] + [False] * 479


def test_long_format_keeps_the_order_and_spelling_of_keys():
    keys = ["007"] * 10 + ["NA"] * 10 + ["1"] * 10
    data = frame(30, unique_id=keys).with_columns(ds=pl.Series([*range(10)] * 3))
    content = data.write_csv()
    table = read_table(data)
    assert [one.unique_id for one in table.series] == ["007", "NA", "1"]
    assert [len(one) for one in table.series] == [10, 10, 10]
    assert all(one.restarts[0] and not one.restarts[1:].any() for one in table.series)
    assert "007" in content


def test_csv_keys_stay_text(tmp_path):
    text = "unique_id,ds,y\n" + "".join(
        f"{k},{t},{t % 3}\n" for k in ("007", "NA") for t in range(8)
    )
    table = read_table(write(tmp_path, text))
    assert [one.unique_id for one in table.series] == ["007", "NA"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("unique_id", "ds", "y"), ("ds", "y", "unique_id")),
        (("item_id", "timestamp", "target"), ("timestamp", "target", "item_id")),
        (("item_id", "Date", "VALUE"), ("Date", "VALUE", "item_id")),
        (("store", "ds", "sales"), ("ds", "sales", "store")),
        (("shop_id", "ds", "sales"), ("ds", "sales", "shop_id")),
    ],
)
def test_columns_are_recognised_by_name(names, expected):
    data = pl.DataFrame({names[0]: ["a"] * 10 + ["b"] * 10, names[1]: [*range(10)] * 2})
    data = data.with_columns(pl.Series(names[2], np.arange(20.0)), pl.Series("heat", np.ones(20)))
    if names[0] == "shop_id":
        data = data.with_columns(shop_id=pl.Series([7] * 10 + [8] * 10))
    format = read_table(data).format
    assert (format.time, format.target, format.key) == expected
    assert format.covariates == ("heat",)


def test_columns_are_recognised_by_content(tmp_path):
    text = "when,load,heat,note\n"
    text += "".join(f"2024-01-{d:02},{d % 4},{d % 3},ok\n" for d in range(1, 20))
    table = read_table(write(tmp_path, text))
    assert (table.format.time, table.format.target) == ("when", "load")
    assert table.format.covariates == ("heat",)
    assert "left out: 'note' (not numbers)" in table.findings.lines
    assert table.series[0].covariates[:4, 0].tolist() == [1, 2, 0, 1]


def test_given_columns_win_over_names():
    data = frame(other=np.arange(20.0), when=np.arange(100, 120))
    format = read_table(data, time="when", target="other", covariates=()).format
    assert (format.time, format.target, format.covariates) == ("when", "other", ())
    format = read_table(data, covariates=["when"], known_future=["other"]).format
    assert format.covariates == ("when", "other")
    assert format.known_future == ("other",)


def test_labels_and_counters_are_not_fed_to_a_model():
    data = frame(fault=[0, 1] * 10, heat=[0.5, 1.5] * 10).with_columns(
        pl.Series("", np.arange(20)), pl.Series("Unnamed: 0", np.arange(20))
    )
    table = read_table(data)
    assert table.format.covariates == ("heat",)
    assert any("'fault'" in line and "label" in line for line in table.findings)
    assert read_table(data, covariates=["fault"]).format.covariates == ("fault",)


def test_truth_values_are_numbers(tmp_path):
    text = "ds,y,holiday\n" + "".join(f"{i},{i % 4},{i % 2 == 0}\n" for i in range(12))
    assert read_table(write(tmp_path, text)).series[0].covariates[:3, 0].tolist() == [1, 0, 1]
    typed = read_table(frame(holiday=[True, False] * 10))
    assert typed.series[0].covariates[:3, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_delimiters_are_found_and_said(tmp_path, delimiter, word):
    path = write(tmp_path, rows(20).replace(",", delimiter))
    table = read_table(path)
    assert table.findings.lines[0] == f"columns are separated by {word}"
    assert table.series[0].y.tolist() == [i % 7 for i in range(20)]


def test_decimal_commas_are_read_only_where_commas_do_not_separate(tmp_path):
    text = "ds;y;n\n" + "".join(f"{i};{i},5;{i % 3}.5\n" for i in range(12))
    table = read_table(write(tmp_path, text))
    assert table.series[0].y[:2].tolist() == [0.5, 1.5]
    assert table.series[0].covariates[:2, 0].tolist() == [0.5, 1.5]
    assert "1,5 is read as 1.5 in 'y'" in table.findings.lines
    quoted = "ds,y\n" + "".join(f'{i},"{i},500"\n' for i in range(12))
    with pytest.raises(DataError, match="number"):
        read_table(write(tmp_path, quoted))


def test_line_endings_byte_order_marks_spaces_and_blank_lines_do_not_matter(tmp_path):
    plain = read_table(write(tmp_path, rows(30)))
    messy = "\ufeff" + rows(30).replace(",", " , ").replace("\n", "\r\n").replace(
        "\r\n", "\r\n\r\n", 2
    )
    path = tmp_path / "messy.csv"
    path.write_bytes(messy.encode())
    table = read_table(path)
    assert table.format == plain.format
    np.testing.assert_array_equal(table.series[0].time, plain.series[0].time)
    np.testing.assert_array_equal(table.series[0].y, plain.series[0].y)


def test_carriage_returns_alone_end_lines_too(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes(rows(20).replace("\n", "\r").encode())
    assert read_table(path).series[0].y.tolist() == [i % 7 for i in range(20)]


def test_csv_parquet_polars_and_pandas_give_the_same_table(tmp_path):
    data = pl.DataFrame(
        {
            "unique_id": ["a"] * 15 + ["b"] * 15,
            "ds": [datetime(2024, 1, 1) + timedelta(hours=h) for h in range(15)] * 2,
            "y": [None if h == 4 else h % 4 / 3 for h in range(30)],
            "heat": [h % 5 for h in range(30)],
        }
    )
    data.write_csv(tmp_path / "x.csv")
    data.write_parquet(tmp_path / "x.parquet")
    data.to_pandas().to_csv(tmp_path / "y.csv", index=False)
    expected = read_table(data)
    sources = [tmp_path / "x.csv", str(tmp_path / "x.parquet"), tmp_path / "y.csv"]
    for source in (*sources, data.to_pandas()):
        table = read_table(source)
        assert table.format == expected.format
        assert table.findings == expected.findings
        for one, other in zip(table.series, expected.series, strict=True):
            assert one.unique_id == other.unique_id
            for name in ("time", "y", "covariates", "filler", "restarts"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_parquet_is_known_by_its_content(tmp_path):
    frame().write_parquet(tmp_path / "data.csv")
    assert len(read_table(tmp_path / "data.csv").series[0]) == 20


@pytest.mark.parametrize("name", [None, "when"])
def test_a_pandas_time_index_is_the_time_column(name):
    index = pd.date_range("2024-01-01", periods=24, freq="h", name=name)
    table = read_table(pd.DataFrame({"load": np.arange(24.0) % 5}, index=index))
    assert table.format.time == (name or "index")
    assert table.format.step_us == 2 * HALF_HOUR
    assert "row labels" in table.findings.lines[0]


def test_a_pandas_period_index_is_monthly():
    index = pd.period_range("2020-01", periods=30, freq="M", name="month")
    table = read_table(pd.DataFrame({"load": np.arange(30.0) % 5}, index=index))
    assert table.format.step_months == 1


def test_an_empty_covariate_is_left_out_and_said(tmp_path):
    text = "ds,y,heat,cold\n" + "".join(f"{i},{i % 4},,{i}\n" for i in range(12))
    table = read_table(write(tmp_path, text))
    assert table.format.covariates == ("cold",)
    assert "left out: 'heat' (empty)" in table.findings.lines
    named = read_table(write(tmp_path, text), covariates=["heat", "cold"], known_future=["heat"])
    assert named.format.covariates == ("cold",)
    assert named.format.known_future == ()
    floats = read_table(frame(heat=[float("nan")] * 20))
    assert floats.format.covariates == ()


def test_months_are_regular(tmp_path):
    values = "".join(
        f"{1990 + i // 12}-{i % 12 + 1:02},{np.sin(i / 12 * 6.283):.4f}\n" for i in range(120)
    )
    table = read_table(write(tmp_path, "month,passengers\n" + values))
    assert (table.format.step_months, table.format.season) == (1, 12)
    assert "every month, 1990-01-01 to 1999-12-01" in table.findings.lines[0]
    assert len(table.series[0]) == 120


def test_zones_become_utc_and_that_is_said(tmp_path):
    hours = "".join(f"2024-03-31T{h:02}:00:00+02:00,{h % 5}\n" for h in range(20))
    table = read_table(write(tmp_path, "ds,y\n" + hours))
    assert table.findings.lines[0].startswith("1 series, 20 rows, every 1 h, 2024-03-30 22:00:00")
    assert "times have a zone and were converted to UTC" in table.findings.lines


def test_a_change_of_summer_time_is_no_gap_in_a_frame_with_a_zone():
    index = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    table = read_table(pd.DataFrame({"ds": index, "y": np.arange(72.0) % 5}))
    assert table.findings.counts["gaps"] == 0
    assert len(table.series[0]) == 72


def test_a_doubtful_order_of_day_and_month_is_said_and_can_be_told(tmp_path):
    path = write(
        tmp_path, "ds,y\n" + "".join(f"0{i % 9 + 1}/0{i // 9 + 1}/2024,{i}\n" for i in range(27))
    )
    doubt = "'%d/%m/%Y' would fit as well: --time-format takes it"
    assert any(doubt in line for line in read_table(path).findings)
    told = read_table(path, time_format="%d/%m/%Y")
    assert told.format.time_format == "%d/%m/%Y"
    assert told.series[0].time[1] - told.series[0].time[0] == 24 * 2 * HALF_HOUR


def test_a_season_is_guessed_from_the_training_share_alone():
    y = np.random.default_rng(0).normal(size=400)
    y[160:] = 10 * np.sin(np.arange(240) * 2 * np.pi / 12)
    table = pl.DataFrame({"ds": np.arange(400), "y": y})
    assert read_table(table).format.season == 12
    assert read_table(table, training_share=0.4).format.season == 1
    with pytest.raises(OptionError, match=r"training share above 0, up to 1, came 1\.5"):
        read_table(table, training_share=1.5)


def test_step_season_and_gap_can_be_told():
    table = read_table(frame(20), step=2, season=3, max_gap=5)
    assert (table.format.step_us, table.format.season, table.format.max_gap) == (2, 3, 5)
    assert "season 3" in table.findings.lines[0]
    assert "guessed" not in table.findings.lines[0]
    assert read_table(frame(20), step="irregular").format.step_us is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"season": 0}, "season of at least 1"),
        ({"max_gap": -1}, "0 or more"),
        ({"step": 0}, "positive whole number"),
        ({"target": "ds", "time": "ds"}, "one role"),
        ({"covariates": ["y"], "target": "y"}, "one role"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        read_table(frame(), **options)


def test_a_step_far_too_small_is_refused():
    times = np.arange(600) * 10**5
    data = pl.DataFrame({"ds": times, "y": times % 3}).cast({"y": pl.Float64})
    with pytest.raises(DataError, match="missing steps to fill"):
        read_table(data, step=1, max_gap=10**5)


def test_new_data_is_read_by_the_format_of_the_old(tmp_path):
    old = "ds,y,heat\n" + "".join(
        f"{d % 28 + 1:02}/0{d // 28 + 1}/2024,{d % 7},{d}\n" for d in range(80)
    )
    trained = read_table(write(tmp_path, old), known_future=["heat"])
    new = "heat,y,ds\n,5,01/04/2024\n3,5,04/04/2024\n"
    table = read_table(write(tmp_path, new, "new.csv"), format=trained.format)
    one = table.series[0]
    assert table.format == trained.format
    assert one.filler.tolist() == [False, True, True, False]
    np.testing.assert_array_equal(one.covariates[:, 0], [np.nan, np.nan, np.nan, 3])
    assert (one.time[-1] - one.time[0]) == 3 * 24 * 2 * HALF_HOUR
    assert f"season {trained.format.season}" in table.findings.lines[0]


def test_new_data_without_a_column_or_with_other_times_is_refused():
    format = read_table(frame(heat=np.arange(20.0))).format
    with pytest.raises(DataError, match="covariate column 'heat'"):
        read_table(frame(), format=format)
    days = frame(heat=np.arange(20.0)).with_columns(ds=pl.lit(datetime(2024, 1, 1)))
    with pytest.raises(DataError, match="expected integer times"):
        read_table(days, format=format)


def test_a_format_survives_json():
    format = read_table(frame(heat=np.arange(20.0)), known_future=["heat"]).format
    assert TableFormat.from_json(format.to_json()) == format
    with pytest.raises(DataError, match="fields of a table format"):
        TableFormat.from_json(format.to_json() | {"colour": 1})


def test_the_tables_of_a_process_need_neither_torch_nor_pandas():
    code = (
        "import sys, throughtime.data as data\n"
        "assert 'polars' not in sys.modules\n"
        "data.read_table('demo:sunspots')\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_large_table_keeps_all_its_rows():
    count, keys = 2000, 50
    buffer = io.BytesIO()
    pl.DataFrame(
        {
            "unique_id": np.repeat(np.arange(keys), count).astype(str).tolist(),
            "ds": np.tile(np.arange(count), keys),
            "y": np.arange(count * keys, dtype=np.float64),
        }
    ).sample(fraction=1, shuffle=True, seed=0).write_parquet(buffer)
    buffer.seek(0)
    table = read_table(pl.read_parquet(buffer))
    assert len(table) == keys
    for one in table.series:
        np.testing.assert_array_equal(one.y, int(one.unique_id) * count + np.arange(count))
