from datetime import time as clock_time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from throughtime.data import read_table
from throughtime.errors import DataError


def refused(source, *parts, **options):
    with pytest.raises(DataError) as caught:
        read_table(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    for part in parts:
        assert part in message, message


def csv(folder, text):
    path = folder / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def numbered(cell, count=20, column="y"):
    """Twenty rows whose ninth has the given cell."""
    cells = [str(i % 5) for i in range(count)]
    cells[8] = cell
    other = {"y": "heat", "heat": "y"}[column]
    return f"ds,{column},{other}\n" + "".join(f"{i},{c},{i % 3}\n" for i, c in enumerate(cells))


def test_files_that_are_none(tmp_path):
    refused(tmp_path / "absent.csv", "absent.csv", "does not exist")
    refused(str(tmp_path), "directory")
    refused("with\0zero.csv", "check the path")
    refused("/dev/null", "which is none", "save the data")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = csv(tmp_path, numbered("1"))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    refused(path, "Permission denied", "check its permissions")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty file"),
        (b" \n\n", "empty file"),
        (b"\xef\xbb\xbf", "empty file"),
        (b"ds,y\n", "header only"),
        (b"ds,y\n1,2\n", "came 1"),
        (b"ds,y\n" + b"1,2\n" * 9, "came 9"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary file (a zero byte at offset 8)"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04rest", "Excel"),
        ("ds,y\n1,2\n".encode("utf-16"), "UTF-16"),
        ("ds,y\n1,\xe9\n".encode("latin-1"), "0xe9 at offset 7"),
        (b"PAR1 not really", "damaged"),
        (b"1,2\n3,4\n", "column names"),
        (b"2014-07-01 00:00:00,5\n2014-07-01 00:30:00,6\n", "column names"),
        (b"ds,y,y\n1,2,3\n", "'y' more than once"),
        (b"ds,y\n1,2\n3,4,5\n", "2 columns in every row"),
        (b"ds,y\n1,2\n3,4,5\n", "came 3 in row 2"),
        (b'ds,y\n1,2\n3,"x\n', "2 columns in every row"),
        (b"some text\nwithout a comma, or with\n", "the single column 'some text'"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, part):
    refused(csv(tmp_path, content), part, "data.csv")


def test_a_missing_column_is_answered_with_the_nearest(tmp_path):
    path = csv(tmp_path, numbered("1"))
    refused(path, "'Heath'", "'ds', 'y', 'heat'", "did you mean 'heat'?", target="Heath")
    refused(path, "'zzz'", "name one of these", key="zzz")
    refused(path, "covariate column 'hea'", covariates=["hea"])
    refused(path, "covariate column 'hea'", known_future=["hea"])
    refused(path, "time column 'dz'", time="dz")


def test_tables_without_times_or_numbers(tmp_path):
    refused(csv(tmp_path, "a,b\n" + "x,1\n" * 20), "column of times", "'a', 'b'")
    refused(csv(tmp_path, "a,y\n" + "x,1\n" * 20), "column of times")
    refused(csv(tmp_path, "y\n" + "1\n2\n" * 20), "the single column 'y'")
    refused(csv(tmp_path, "ds,b\n" + "".join(f"{i},x\n" for i in range(20))), "column of numbers")
    refused(csv(tmp_path, "ds,b\n" + "red,1\n" * 20), "expected times in column 'ds'", "'red'")


@pytest.mark.parametrize("column", ["y", "heat"])
@pytest.mark.parametrize("cell", ["error", "1.2.3", "12 kW"])
def test_text_among_numbers_is_named_with_its_row(tmp_path, column, cell):
    refused(csv(tmp_path, numbered(cell, column=column)), repr(column), repr(cell), "row 9")


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_infinite_numbers_are_named_with_their_row(tmp_path, cell):
    refused(csv(tmp_path, numbered(cell)), "finite", "'y'", "row 9")


def test_a_typed_infinity_is_refused():
    y = np.arange(20.0)
    y[4] = np.inf
    refused(pl.DataFrame({"ds": range(20), "y": y}), "polars frame", "row 5")


def test_a_wrong_or_empty_time_is_named_with_its_row(tmp_path):
    days = [f"2024-01-{day:02}" for day in range(1, 25)]
    for cell, came in (("total", "'total'"), ("", "an empty cell"), ("2024-02-30", "'2024-02-30'")):
        rows = [*days, cell]
        path = csv(tmp_path, "ds,y\n" + "".join(f"{d},{i % 4}\n" for i, d in enumerate(rows)))
        refused(path, came, "row 25", "'ds'")
    refused(pl.DataFrame({"ds": [*map(float, range(20)), 0.5], "y": range(21)}), "0.5", "row 21")


def test_an_empty_key_is_named_with_its_row():
    data = pl.DataFrame({"unique_id": ["a"] * 15 + [None] * 5, "ds": range(20), "y": range(20)})
    refused(data, "'unique_id'", "row 16")


def test_targets_that_hold_nothing(tmp_path):
    refused(csv(tmp_path, "ds,y\n" + "".join(f"{i},\n" for i in range(20))), "20 empty cells")
    refused(
        csv(tmp_path, "ds,y\n" + "".join(f"{i},2.5\n" for i in range(20))),
        "varies",
        "2.5 in all 20 rows",
    )


def test_series_without_a_key_are_not_thrown_together():
    data = pl.DataFrame({"ds": [*range(10)] * 3, "y": range(30), "shop": [4] * 10 + [5] * 20})
    refused(data, "30 rows with 10 times", "name the key")
    assert len(read_table(data, duplicates="mean")) == 1


def test_frames_that_are_no_table():
    refused(pl.DataFrame(), "without any")
    refused(pd.DataFrame(), "without any")
    refused(pd.DataFrame([[1, 2]], columns=["y", "y"]), "each column name once")
    refused(pl.DataFrame({"ds": [], "y": []}), "header only")
    lists = pl.DataFrame({"ds": range(20), "y": [[1]] * 20})
    refused(lists, "numbers", "List", target="y")
    hours = pl.DataFrame({"ds": [clock_time(3)] * 20, "y": range(20)})
    refused(hours, "in row 1")
    refused(pd.DataFrame({"ds": range(20), "y": [{"a": 1}, 2] * 10}), "pandas frame")


def test_text_demos_and_unknown_demos_are_no_tables():
    refused("demo:reber", "came the text demo:reber")
    with pytest.raises(ValueError, match="sunspots, meter, python, reber, came 'sunspot'"):
        read_table("demo:sunspot")
