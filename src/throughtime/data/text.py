"""Text files as documents, and documents as symbol numbers.

A `Text` is what was read; a `Vocabulary` says which number stands for which symbol. Cutting a text
into training and validation parts is in `splits`, turning numbers into windows is not done here.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from throughtime.data.findings import Findings
from throughtime.errors import BundleError, DataError, OptionError

Mode = Literal["characters", "bytes"]

UNKNOWN = "\ufffd"
"""U+FFFD, Unicode's own replacement character: stands for every symbol never seen in training."""

MINIMUM_SYMBOLS = 100
MAXIMUM_VOCABULARY = 65_536
_MAXIMUM_JSON = 20 * MAXIMUM_VOCABULARY
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Text:
    """One or several documents of text.

    Attributes:
        name: file name, or `demo:NAME`.
        documents: the text itself. In bytes mode each character is one byte, U+0000 to U+00FF.
        independent: True if nothing carries over from one document to the next.
        findings: what was found and what was changed on reading.
    """

    name: str
    documents: tuple[str, ...]
    independent: bool
    findings: Findings


@dataclass(frozen=True)
class Vocabulary:
    r"""The symbols of a text and their numbers, 0 to `len(vocabulary) - 1`.

    In characters mode number 0 is always the unknown symbol U+FFFD, so that text with characters
    that training never saw can still be encoded. In bytes mode there are exactly 256 symbols, the
    characters U+0000 to U+00FF, and nothing is unknown.

    Attributes:
        symbols: one character each; the position is the number.
        mode: "characters" or "bytes".
        unknown: number of the unknown symbol, None in bytes mode.

    Raises:
        OptionError: the symbols are not what the mode requires.

    Example:
        >>> vocabulary = Vocabulary.from_documents(["banana"])
        >>> vocabulary.encode("abc").tolist()
        [1, 2, 0]
        >>> vocabulary.decode([2, 1, 3])
        'ban'
    """

    symbols: tuple[str, ...]
    mode: Mode
    unknown: int | None

    def __post_init__(self) -> None:
        fault = _fault(self.symbols, self.mode, self.unknown)
        if fault:
            raise OptionError(f"{fault}; build it with Vocabulary.from_documents")

    @classmethod
    def from_documents(cls, documents: Sequence[str], mode: str = "characters") -> "Vocabulary":
        """Collect the symbols of the training part, in order of their code points.

        Args:
            documents: the training part only; a symbol found nowhere in it encodes as unknown.
            mode: "characters" or "bytes"; in bytes mode the documents are not looked at.

        Raises:
            DataError: there are more than 65,535 different characters.
            OptionError: the mode is neither of the two.
        """
        _check_mode(mode)
        if mode == "bytes":
            return cls(tuple(map(chr, range(256))), "bytes", None)
        found: set[str] = set()
        found.update(*documents)
        symbols = sorted(s for s in found if s != UNKNOWN and ord(s) not in _SURROGATES)
        if len(symbols) >= MAXIMUM_VOCABULARY:
            raise DataError(
                f"expected fewer than {MAXIMUM_VOCABULARY:,} different characters, found "
                f"{len(symbols):,}; read the text in bytes mode"
            )
        return cls((UNKNOWN, *symbols), "characters", 0)

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _codes(self) -> npt.NDArray[np.uint32]:
        return np.array([ord(symbol) for symbol in self.symbols], dtype="<u4")

    @cached_property
    def _numbers(self) -> npt.NDArray[np.int64]:
        """Number of each code point up to the largest known; the last entry is for all others."""
        absent = -1 if self.unknown is None else self.unknown
        numbers = np.full(int(self._codes.max()) + 2, absent, dtype=np.int64)
        numbers[self._codes] = np.arange(len(self.symbols))
        return numbers

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Numbers (T,) of the T characters of `text`.

        Raises:
            DataError: in bytes mode, a character is not one byte.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        numbers = self._numbers.take(codes, mode="clip")
        if self.unknown is None and numbers.size and numbers.min() < 0:
            place = int(np.argmin(numbers))
            raise DataError(
                f"expected characters U+0000 to U+00FF, one for each byte, got {text[place]!r} at "
                f"position {place}; pass text.encode('utf-8').decode('latin-1')"
            )
        return numbers

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of the numbers `ids` (T,).

        Raises:
            DataError: a number is not one of this vocabulary's.
        """
        numbers = np.asarray(ids)
        if numbers.size == 0:
            return ""
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise DataError(
                f"expected whole numbers of shape (T,), got {numbers.dtype} of shape "
                f"{numbers.shape}; pass one row of symbol numbers"
            )
        if numbers.min() < 0 or numbers.max() >= len(self):
            raise DataError(
                f"expected symbol numbers 0 to {len(self) - 1}, got {numbers.min()} to "
                f"{numbers.max()}; use the vocabulary that the text was encoded with"
            )
        return str(self._codes[numbers].tobytes(), "utf-32-le")

    def to_json(self) -> str:
        """The vocabulary as the text of a JSON file."""
        content = {"mode": self.mode, "unknown": self.unknown, "symbols": list(self.symbols)}
        return json.dumps(content)

    @classmethod
    def from_json(cls, content: str) -> "Vocabulary":
        """Read what `to_json` wrote, trusting nothing.

        Raises:
            BundleError: the text is too large, not JSON, or not a vocabulary.
        """
        if len(content) > _MAXIMUM_JSON:
            raise BundleError(
                f"expected a vocabulary of at most {_MAXIMUM_JSON:,} characters, got "
                f"{len(content):,}; the file is not one that throughtime wrote"
            )
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"expected a vocabulary in JSON, got what does not parse ({error}); "
                "restore the file or train again"
            ) from None
        fault = _json_fault(fields)
        if fault:
            raise BundleError(f"{fault}; restore the vocabulary file or train again")
        return cls(tuple(fields["symbols"]), fields["mode"], fields["unknown"])


def _check_mode(mode: str) -> None:
    if mode not in ("characters", "bytes"):
        raise OptionError(f"expected mode 'characters' or 'bytes', got {mode!r}; name one of them")


def _fault(symbols: tuple[str, ...], mode: str, unknown: int | None) -> str:
    """What is wrong with a vocabulary, or an empty text."""
    if mode == "bytes":
        if symbols != tuple(map(chr, range(256))) or unknown is not None:
            return "expected the 256 bytes and no unknown symbol for a vocabulary in bytes mode"
        return ""
    if mode != "characters":
        return f"expected mode 'characters' or 'bytes', got {mode!r}"
    if not 1 <= len(symbols) <= MAXIMUM_VOCABULARY:
        return f"expected 1 to {MAXIMUM_VOCABULARY:,} symbols, got {len(symbols):,}"
    wrong = next((s for s in symbols if len(s) != 1 or ord(s) in _SURROGATES), None)
    if wrong is not None:
        return f"expected symbols of one character each, got {wrong[:20]!r}"
    if len(set(symbols)) != len(symbols):
        return f"expected {len(symbols)} different symbols, got {len(set(symbols))}"
    if unknown != 0 or symbols[0] != UNKNOWN:
        return f"expected symbol 0 to be the unknown symbol, got {symbols[0]!r} and {unknown}"
    return ""


def _json_fault(fields: object) -> str:
    if not isinstance(fields, dict) or set(fields) != {"mode", "unknown", "symbols"}:
        shown = sorted(map(str, fields))[:9] if isinstance(fields, dict) else type(fields).__name__
        return f"expected the fields mode, symbols and unknown, got {shown}"
    symbols, mode, unknown = fields["symbols"], fields["mode"], fields["unknown"]
    if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
        return "expected a list of characters as symbols"
    if not isinstance(mode, str):
        return f"expected mode 'characters' or 'bytes', got {mode!r:.40}"
    if not (unknown is None or type(unknown) is int):
        return f"expected unknown to be a whole number or null, got {unknown!r:.40}"
    return _fault(tuple(symbols), mode, unknown)


def read_text(source: str | os.PathLike[str], *, mode: str = "characters") -> Text:
    r"""Read a text file, or one of the demos, whole.

    In characters mode the file must be UTF-8. A byte order mark at its start is left out, and the
    line endings `\r\n` and `\r` become `\n`, so that a text has the same symbols whichever system
    saved it; both are counted in the findings. In bytes mode nothing is changed, every byte is one
    symbol, and any file can be read.

    Args:
        source: a path, or `demo:NAME`.
        mode: "characters" or "bytes".

    Returns:
        One document for a file; a demo may have several.

    Raises:
        DataError: there is no such file, it can't be read, it is empty or shorter than 100
            symbols, or, in characters mode, it is binary or not UTF-8.
        OptionError: the mode is neither of the two.

    Example:
        >>> from pathlib import Path
        >>> path = Path("poem.txt")
        >>> _ = path.write_text("so much depends upon a red wheel barrow\n" * 3)
        >>> read_text(path).findings.counts["symbols"]
        120
        >>> path.unlink()
    """
    _check_mode(mode)
    if isinstance(source, str) and source.startswith("demo:"):
        return _read_demo(source, mode)
    path = Path(source)
    content = _read_bytes(path)
    counts: dict[str, int] = {}
    notes: list[str] = []
    if mode == "bytes":
        text = content.decode("latin-1")
    else:
        text = _decode(content, path)
        if text.startswith("\ufeff"):
            text = text[1:]
            counts["byte_order_marks"] = 1
            notes.append("a byte order mark at the start was left out")
        returns = text.count("\r")
        if returns:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
            counts["line_endings_changed"] = returns
            notes.append(f"{returns:,} line endings with a carriage return became a plain newline")
    noun = "bytes" if mode == "bytes" else "characters"
    if len(text) < MINIMUM_SYMBOLS:
        raise DataError(
            f"expected at least {MINIMUM_SYMBOLS} {noun} of text to learn from, got {len(text)} "
            f"in {_shown(path)}; give a longer file"
        )
    counts = {"symbols": len(text), "distinct": len(set(text)), "documents": 1} | counts
    head = f"{path.name}: {len(text):,} {noun}, {counts['distinct']:,} different"
    lines = (head, *(f"{path.name}: {note}" for note in notes))
    return Text(path.name, (text,), independent=False, findings=Findings(counts, lines))


def _read_demo(source: str, mode: str) -> Text:
    from throughtime.data.demos import open_demo

    text = open_demo(source)
    if not isinstance(text, Text):
        raise DataError(f"expected a text, got {source}, which is a table; read it as a table")
    if mode == "characters":
        return text
    documents = tuple(document.encode().decode("latin-1") for document in text.documents)
    counts = dict(text.findings.counts)
    counts["symbols"] = sum(map(len, documents))
    counts["distinct"] = len(set().union(*documents))
    line = f"{text.name}: {counts['symbols']:,} bytes, {counts['distinct']:,} different"
    findings = Findings(counts, (*text.findings.lines, line))
    return Text(text.name, documents, text.independent, findings)


def _shown(path: Path) -> str:
    """A path as a message shows it: one line, however long or odd it is."""
    name = str(path)
    return repr(name if len(name) <= 200 else name[:200] + "...")


def _read_bytes(path: Path) -> bytes:
    shown = _shown(path)
    try:
        if path.is_dir():
            raise DataError(f"expected a text file, got the directory {shown}; name a file in it")
        if path.exists() and not path.is_file():
            raise DataError(f"expected a text file, got {shown}, a device or pipe; save it first")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"expected a text file, found none at {shown}; check the path") from None
    except PermissionError:
        raise DataError(
            f"expected a file that may be read, got no permission for {shown}; change its mode"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"expected a text file, can't read {shown} ({reason})") from None
    if not content:
        raise DataError(f"expected text, got the empty file {shown}; give a file with text in it")
    return content


def _decode(content: bytes, path: Path) -> str:
    """Strict UTF-8; the message of a refusal says what the file seems to be."""
    shown = _shown(path)
    for mark, encoding in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if content.startswith(mark):
            raise DataError(
                f"expected UTF-8, got {encoding} (byte order mark at byte 0) in {shown}; "
                f"convert it with `iconv -f {encoding} -t UTF-8`"
            )
    nul = content.find(b"\0")
    if nul >= 0:
        raise DataError(
            f"expected text, got a NUL byte at byte {nul} of {shown}, which looks binary; "
            "read it in bytes mode"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8, got byte 0x{content[error.start]:02x} at byte {error.start} of "
            f"{shown} ({error.reason}); convert it, for example with "
            "`iconv -f LATIN1 -t UTF-8`, or read it in bytes mode"
        ) from None
