import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.findings import Findings
from throughtime.data.text import Text, Vocabulary, read_text
from throughtime.errors import BundleError, DataError, OptionError

LINE = "so much depends upon a red wheel barrow\n"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_text_of_known_characters_survives_encoding(text: str) -> None:
    vocabulary = Vocabulary.from_documents([text, "x"])
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert not (ids == vocabulary.unknown).any()


@given(train=st.text(max_size=20), new=st.text(st.characters(), max_size=20))
def test_new_text_never_fails(train: str, new: str) -> None:
    vocabulary = Vocabulary.from_documents([train])
    # the oracle is a dictionary look-up, one character at a time
    numbers = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    assert vocabulary.encode(new).tolist() == [numbers.get(character, 0) for character in new]


def test_numbers_follow_code_points_and_zero_is_unknown() -> None:
    vocabulary = Vocabulary.from_documents(["ba", "\U0001f600b"])
    assert vocabulary.symbols == ("\ufffd", "a", "b", "\U0001f600")
    assert vocabulary.encode("z\ud800\ufffda").tolist() == [0, 0, 0, 1]


def test_the_replacement_character_and_lone_surrogates_in_training_are_the_unknown_symbol() -> None:
    assert Vocabulary.from_documents(["a\ufffd\ud800"]).symbols == ("\ufffd", "a")


@given(st.binary())
def test_bytes_mode_takes_any_bytes(content: bytes) -> None:
    vocabulary = Vocabulary.from_documents([], mode="bytes")
    ids = vocabulary.encode(content.decode("latin-1"))
    assert ids.tolist() == list(content)
    assert vocabulary.decode(ids).encode("latin-1") == content


def test_bytes_mode_refuses_wider_characters() -> None:
    vocabulary = Vocabulary.from_documents([], mode="bytes")
    with pytest.raises(DataError, match=r"got '€' at position 2"):
        vocabulary.encode("12€")


@pytest.mark.parametrize("ids", [[-1], [3], np.array([[0]]), np.array([0.5])])
def test_decode_refuses_what_is_no_symbol_number(ids: list[int] | np.ndarray) -> None:
    with pytest.raises(DataError, match="expected"):
        Vocabulary.from_documents(["ab"]).decode(ids)


def test_too_many_characters_are_refused() -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + 65_536)))
    with pytest.raises(DataError, match="bytes mode"):
        Vocabulary.from_documents([text])
    largest = Vocabulary.from_documents([text[1:]])
    assert len(largest) == 65_536
    assert Vocabulary.from_json(largest.to_json()) == largest


@pytest.mark.parametrize("mode", ["characters", "bytes"])
def test_json_gives_the_same_vocabulary(mode: str) -> None:
    vocabulary = Vocabulary.from_documents(['a"\\\n\U0001f600é\x00'], mode=mode)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


GOOD = {"mode": "characters", "unknown": 0, "symbols": ["\ufffd", "a"]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 100_000,
        "[]",
        json.dumps({"mode": "characters", "unknown": 0}),
        json.dumps(GOOD | {"more": 1}),
        json.dumps(GOOD | {"mode": "words"}),
        json.dumps(GOOD | {"mode": ["characters"]}),
        json.dumps(GOOD | {"mode": "bytes"}),
        json.dumps(GOOD | {"unknown": None}),
        json.dumps(GOOD | {"unknown": False}),
        json.dumps(GOOD | {"unknown": 1}),
        json.dumps(GOOD | {"symbols": []}),
        json.dumps(GOOD | {"symbols": "\ufffda"}),
        json.dumps(GOOD | {"symbols": ["\ufffd", 1]}),
        json.dumps(GOOD | {"symbols": ["\ufffd", "ab"]}),
        json.dumps(GOOD | {"symbols": ["\ufffd", "a", "a"]}),
        json.dumps(GOOD | {"symbols": ["\ufffd", "\ud800"]}),
        json.dumps(GOOD) + " " * (1 << 21),
    ],
)
def test_foreign_json_is_refused_in_one_line(content: str) -> None:
    with pytest.raises(BundleError) as caught:
        Vocabulary.from_json(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_vocabulary_made_by_hand_is_checked() -> None:
    with pytest.raises(OptionError, match="unknown symbol"):
        Vocabulary(("a", "b"), "characters", None)


def test_line_endings_and_byte_order_mark_are_made_uniform_and_said(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + b"one\r\ntwo\rthree\n" * 10
    text = read_text(write(tmp_path / "t.txt", content))
    assert text.documents == ("one\ntwo\nthree\n" * 10,)
    assert (text.name, text.independent) == ("t.txt", False)
    assert text.findings.counts == {
        "symbols": 140,
        "distinct": 8,
        "documents": 1,
        "byte_order_marks": 1,
        "line_endings_changed": 20,
    }
    assert text.findings.lines == (
        "t.txt: 140 characters, 8 different",
        "t.txt: a byte order mark at the start was left out",
        "t.txt: 20 line endings with a carriage return became a plain newline",
    )


def test_bytes_mode_reads_any_file_unchanged(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\r\n" + bytes(range(256))
    text = read_text(str(write(tmp_path / "t.bin", content)), mode="bytes")
    assert text.documents[0].encode("latin-1") == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the empty file"),
        (b"\xef\xbb\xbf", "got 0 in"),
        (b"short", "at least 100 characters of text to learn from, got 5"),
        (b"x" * 200 + b"\0" + b"x" * 200, "NUL byte at byte 200 .* bytes mode"),
        ((LINE * 9 + "caf\u00e9" + LINE).encode("latin-1"), "0xe9 at byte 363 .*iconv"),
        ((LINE * 9).encode("utf-16"), "UTF-16 .*iconv -f UTF-16"),
        ((LINE * 9).encode("utf-32"), "UTF-32 .*iconv -f UTF-32"),
        ((LINE * 9 + "é").encode()[:-1], "0xc3 at byte 360"),
    ],
)
def test_unusable_files_are_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "odd\nname.txt", content)
    with pytest.raises(DataError, match=message) as caught:
        read_text(path)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none at"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="the directory"):
        read_text(tmp_path)
    for source in (LINE * 100, "nul\0in the path"):
        with pytest.raises(DataError, match="expected a text file") as caught:
            read_text(source)
        assert len(str(caught.value)) < 400


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.txt", LINE.encode() * 9)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="no permission"):
        read_text(path)


def test_a_wrong_mode_is_refused() -> None:
    with pytest.raises(OptionError, match="'words'"):
        read_text("any", mode="words")
    with pytest.raises(OptionError, match="'words'"):
        Vocabulary.from_documents(["any"], mode="words")


def test_demos_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Text("demo:two", ("aé", "b"), True, Findings({"symbols": 3}, ("two documents",)))
    demos = ModuleType("throughtime.data.demos")
    demos.open_demo = lambda name: text if name == "demo:two" else object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "throughtime.data.demos", demos)
    assert read_text("demo:two") is text
    raw = read_text("demo:two", mode="bytes")
    assert raw.documents == ("a\u00c3\u00a9", "b")
    assert raw.findings.counts["symbols"] == 4
    assert raw.independent
    with pytest.raises(DataError, match="which is a table"):
        read_text("demo:rows")
