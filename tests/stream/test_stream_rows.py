"""Rows come out of a pipe one by one, the moment they are in it, whatever else is in it."""

import io
import json
import os
import subprocess
import sys
import time

import pytest
from streams import traced

from throughtime.errors import DataError
from throughtime.stream.rows import LONGEST, read_rows, read_text_lines


def read(content, **options):
    file = io.BytesIO(content) if isinstance(content, bytes) else io.StringIO(content)
    return list(read_rows(file, **options))


def rows(content, **options):
    """The rows, with errors as their text."""
    return [row if isinstance(row, dict) else str(row) for _, row in read(content, **options)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n \r\n"])
def test_tables_and_json_lines_are_told_apart_by_their_first_byte(mark):
    assert rows(mark + b"ds,y\n1,2\n3,4\n") == [{"ds": "1", "y": "2"}, {"ds": "3", "y": "4"}]
    assert rows(mark + b'{"ds": 1, "y": null}\n{"y": 2.5}\n') == [{"ds": 1, "y": None}, {"y": 2.5}]


def test_text_files_are_read_by_the_buffer_beneath():
    file = io.TextIOWrapper(io.BytesIO(b"ds,y\n1,\xff\n2,3\n"), encoding="utf-8")
    (_, wrong), (_, right) = read_rows(file)
    assert isinstance(wrong, DataError)
    assert right == {"ds": "2", "y": "3"}
    assert rows("ds,y\r\n1,é\r\n") == [{"ds": "1", "y": "é"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_quotes_and_short_rows(delimiter):
    table = 'name,"the ds",y\n"a ""b""",1,2\n"x",3\n\n,,\nlast,5,6'.replace(",", delimiter)
    assert rows(table) == [
        {"name": 'a "b"', "the ds": "1", "y": "2"},
        {"name": "x", "the ds": "3", "y": None},
        {"name": "last", "the ds": "5", "y": "6"},
    ]


def test_a_decimal_comma_is_one_where_commas_do_not_separate():
    assert rows("ds;y\n1;2,5\n2;-3,0\n3;a,b\n") == [
        {"ds": "1", "y": "2.5"},
        {"ds": "2", "y": "-3.0"},
        {"ds": "3", "y": "a,b"},
    ]
    assert rows("ds\ty\n1\t1,5\n")[0]["y"] == "1.5"


def test_a_wrong_line_is_an_error_row_and_the_next_is_read():
    wrong = [b"1,2,3", b'1,"open', b'1,"a"b', b"1,\xff", b"1,\x00", b"1," + b"9" * 300_000]
    found = read(b"ds,y\n" + b"".join(b"%s\n7,8\n" % line for line in wrong))
    assert [number for number, _ in found] == [*range(1, 13)]
    for _, error in found[::2]:
        assert isinstance(error, DataError)
        assert str(error).isprintable()
        assert len(str(error)) < 400
    assert all(row == {"ds": "7", "y": "8"} for _, row in found[1::2])


def test_a_wrong_json_line_is_an_error_row_and_the_next_is_read():
    wrong = ["[1]", "3", "{", '{"a": 1} x', "{" * 99_999, '{"a": %s}' % ("9" * 5000), "null"]
    content = '{"ds": 0}\n' + "".join(f'{line}\n{{"ds": 1}}\n\n' for line in wrong)
    found = rows(content)
    assert len(found) == 15
    assert all(row == {"ds": 1} for row in found[2::2])
    assert all(error.startswith("expected a JSON object") for error in found[1::2])


def test_a_line_too_long_is_passed_over_whole():
    found = rows(b"ds,y\n1,2\n" + b"x" * 5000 + b"\n3,4\n" + b"y" * 5000, longest=100)
    assert found[0] == {"ds": "1", "y": "2"}
    assert found[1] == "expected a line of at most 100 bytes, came a longer one"
    assert found[2] == {"ds": "3", "y": "4"}
    assert found[3] == found[1]
    exact = b"ds,y\n" + b"1," + b"2" * 98 + b"\n"
    assert len(rows(exact, longest=100)[0]["y"]) == 98


class Endless(io.RawIOBase):
    """A pipe in which the second line never ends, up to a hundred megabytes."""

    def __init__(self):
        self.left = 100 * 2**20
        self.begun = False

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.begun:
            self.begun = True
            buffer[:5] = b"ds,y\n"
            return 5
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        return count


def test_an_endless_line_takes_no_more_memory_than_the_longest():
    with traced() as memory:
        found = list(read_rows(io.BufferedReader(Endless())))
        peak = memory()[1]
    assert [type(row) for _, row in found] == [DataError]
    assert peak < 6 * LONGEST


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "came nothing"),
        (b"\n \n", "came nothing"),
        (b"\xef\xbb\xbf", "came nothing"),
        (b"just text\n", "came the single column 'just text'"),
        (b"1,2\n3,4\n", "expected column names in the first row"),
        (b"ds,ds\n", "each column name once"),
        (b"\xff\xfed\x00s\x00", "expected UTF-8, came the byte 0xff"),
        (b"\x1f\x8b\x08\x00", "expected UTF-8"),
        (b"PK\x03\x04\x00,\x00", "a zero byte"),
        (b"x" * (LONGEST + 1), "expected a line of at most"),
    ],
)
def test_an_input_that_is_no_table_is_refused_in_one_line(content, said):
    with pytest.raises(DataError) as caught:
        read(content)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_header_alone_is_no_row():
    assert read(b"ds,y\n") == []


def test_lines_of_text_keep_their_bytes():
    found = list(read_text_lines(io.BytesIO(b"{a\r\n\n\xffb")))
    assert found == [(1, {"text": b"{a\r\n"}), (2, {"text": b"\n"}), (3, {"text": b"\xffb"})]
    with pytest.raises(DataError, match="came nothing"):
        list(read_text_lines(io.StringIO("")))


@pytest.mark.parametrize("lines", [["ds,y", "1,2", "2,3"], ['{"ds": 1}', '{"ds": 2}', "{"]])
def test_a_live_pipe_gives_each_row_at_once(lines):
    reader, writer = os.pipe()
    answers = []
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as pipe:
        pipe.write(f"{lines[0]}\n{lines[1]}\n".encode())
        found = read_rows(source)
        answers.append(next(found))
        pipe.write(f"{lines[2]}\n".encode())
        answers.append(next(found))
    assert [number for number, _ in answers] == [1, 2]


def test_another_process_gets_its_answer_before_it_says_more():
    program = (
        "import json, sys\n"
        "from throughtime.stream.rows import read_rows\n"
        "for number, row in read_rows(sys.stdin):\n"
        "    print(json.dumps([number, dict(row)]), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        process.stdin.write(b"ds,y\n")
        for number in range(1, 4):
            process.stdin.write(b"%d,2\n" % number)
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == [number, {"ds": str(number), "y": "2"}]
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(20) == 0
