"""Which column is the time, the target, the key, a covariate; and cells as numbers.

Guesses go by name first, then by content, and each becomes a line to print. Times are read in
`clock`; the rows themselves are put in order in `tables`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from throughtime.data import clock
from throughtime.data.words import EMPTY
from throughtime.errors import DataError, OptionError

TIME_NAMES = (
    "ds",
    "timestamp",
    "datetime",
    "date_time",
    "date",
    "time",
    "month",
    "year",
    "step",
    "time_idx",
    "t",
)
TARGET_NAMES = ("y", "target", "value")
KEY_NAMES = ("unique_id", "item_id", "series_id")
LABEL_NAMES = ("fault", "label", "labels", "anomaly", "is_anomaly")
_SAMPLE = 10_000


@dataclass(frozen=True)
class Roles:
    """Which column does what.

    Attributes:
        time: the time column.
        target: the column that is forecast.
        key: the column that tells the series apart, or None.
        covariates: the other columns that are read.
        time_format: how times are written.
        lines: what was guessed.
    """

    time: str
    target: str
    key: str | None
    covariates: tuple[str, ...]
    time_format: str
    lines: tuple[str, ...]


def require(frame: pl.DataFrame, name: str, role: str, source: str) -> str:
    """Check that a column is there.

    Args:
        frame: the table.
        name: the column's name.
        role: what it is for, for the message.
        source: where the table came from, for the message.

    Returns:
        The name.

    Raises:
        DataError: there is no such column.
    """
    if name in frame.columns:
        return name
    by_folded = {column.casefold(): column for column in frame.columns}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    hint = f"did you mean {by_folded[near[0]]!r}?" if near else "name one of these"
    raise DataError(
        f"expected the {role} column {name!r} in {source}, came the columns "
        f"{', '.join(map(repr, frame.columns))}: {hint}"
    )


def guess_roles(
    frame: pl.DataFrame,
    source: str,
    *,
    time: str | None,
    target: str | None,
    key: str | None,
    covariates: Sequence[str] | None,
    known_future: Sequence[str],
    time_format: str | None,
) -> Roles:
    """Decide which column does what; what is given is checked and taken.

    Args:
        frame: the table.
        source: where it came from, for messages.
        time: the time column, or None to guess.
        target: the target column, or None to guess.
        key: the key column, or None to guess.
        covariates: the covariates, or None to guess.
        known_future: covariates whose future is known.
        time_format: how times are written, or None to guess.

    Returns:
        The roles.

    Raises:
        DataError: a column is missing, or none can be recognised as time or as target.
        OptionError: a column is given two roles.
    """
    lines: list[str] = []
    named = (("time", time), ("target", target), ("key", key))
    for role, name in named:
        if name is not None:
            require(frame, name, role, source)
    future = tuple(known_future)
    listed = None if covariates is None else (*covariates, *future)
    for name in (*(listed or ()), *future):
        require(frame, name, "covariate", source)
    taken = {name for _, name in named if name is not None} | set(listed or ())

    guessed_time = time if time is not None else _time_column(frame, taken, source)
    taken.add(guessed_time)
    pattern, note = _time_format(frame[guessed_time], time_format, source)
    lines += [note] if note else []

    guessed_key = key
    if key is None:
        guessed_key = _by_name(frame, KEY_NAMES, taken)
    if guessed_key is None and key is None:
        guessed_key = _separating_column(frame, guessed_time, taken)
        if guessed_key is not None:
            lines.append(f"times repeat, and column {guessed_key!r} tells the series apart")
    taken |= {guessed_key} if guessed_key is not None else set()

    guessed_target = target
    if target is None:
        guessed_target = _by_name(frame, TARGET_NAMES, taken)
    numeric = [
        name
        for name in frame.columns
        if name not in taken and name != guessed_target and is_numeric(frame[name])
    ]
    if guessed_target is None:
        usable = [name for name in numeric if name.casefold() not in LABEL_NAMES]
        if not usable:
            raise DataError(
                f"expected a column of numbers in {source}, came the columns "
                f"{', '.join(map(repr, frame.columns))}: add one, or name the target"
            )
        guessed_target = usable[0]
        numeric.remove(guessed_target)

    if listed is None:
        rest = [name for name in frame.columns if name not in {*taken, guessed_target}]
        chosen, left = _covariates(frame, rest, numeric, future)
        lines += left
    else:
        chosen = tuple(dict.fromkeys(listed))
    roles = [guessed_time, guessed_target, *chosen]
    roles += [guessed_key] if guessed_key is not None else []
    for name in roles:
        if roles.count(name) > 1:
            raise OptionError(
                f"expected one role for each column, came {name!r} in two: name another"
            )
    lines.insert(0, _roles_line(guessed_time, guessed_target, guessed_key, chosen))
    return Roles(guessed_time, guessed_target, guessed_key, chosen, pattern, tuple(lines))


def _roles_line(time: str, target: str, key: str | None, covariates: tuple[str, ...]) -> str:
    parts = [f"time {time!r}", f"target {target!r}"]
    parts += [f"key {key!r}"] if key is not None else []
    parts += ["covariates " + " ".join(map(repr, covariates))] if covariates else []
    return ", ".join(parts)


def _by_name(frame: pl.DataFrame, names: Sequence[str], taken: set[str]) -> str | None:
    folded = {column.casefold(): column for column in reversed(frame.columns)}
    for name in names:
        if name in folded and folded[name] not in taken:
            return folded[name]
    return None


def _time_column(frame: pl.DataFrame, taken: set[str], source: str) -> str:
    named = _by_name(frame, TIME_NAMES, taken)
    if named is not None:
        return named
    free = [name for name in frame.columns if name not in taken]
    for name in free:
        if frame[name].dtype.is_temporal() and not isinstance(frame[name].dtype, pl.Duration):
            return name
    for name in free:
        if frame[name].dtype == pl.String and clock.text_format(frame[name]) is not None:
            return name
    for name in free:
        if name.casefold() in TARGET_NAMES:
            continue
        whole = clock.read_times(frame[name], "integer") if is_numeric(frame[name]) else None
        if whole is not None and not whole.null_count() and len(whole) > 1:
            steps = np.diff(whole.to_numpy())
            if (steps > 0).all():
                return name
    raise DataError(
        f"expected a column of times in {source}, came the columns "
        f"{', '.join(map(repr, frame.columns))}, none with times or rising whole numbers: "
        "name the time column, or add one that counts the steps"
    )


def _time_format(column: pl.Series, given: str | None, source: str) -> tuple[str, str | None]:
    if given is not None:
        return given, None
    if column.dtype.is_temporal():
        return "iso", None
    if is_numeric(column):
        whole = clock.read_times(column, "integer")
        name = clock.number_format(whole)
        counted = {"epoch_s": "seconds", "epoch_ms": "milliseconds", "epoch_us": "microseconds"}
        if name == "integer":
            return name, None
        if name == "%Y%m%d":
            return name, f"the numbers in {column.name!r} are read as days, like 20140731"
        unit = counted.get(name, "nanoseconds")
        return name, f"the numbers in {column.name!r} are read as {unit} since 1970"
    guessed = clock.text_format(column) if column.dtype == pl.String else None
    if guessed is None:
        values = column.drop_nulls()
        came = repr(values[0]) if len(values) else "empty cells"
        raise DataError(
            f"expected times in column {column.name!r} of {source}, came {came}: write them as "
            "2014-07-01 00:00:00, or name another time column"
        )
    if guessed == "iso":
        return guessed, None
    other = clock.other_order(column, guessed)
    doubt = f"; {other!r} would fit as well: --time-format takes it" if other else ""
    return guessed, f"times in {column.name!r} are read as {guessed!r}{doubt}"


def _separating_column(frame: pl.DataFrame, time: str, taken: set[str]) -> str | None:
    if not frame[time].is_duplicated().any():
        return None
    for name in frame.columns:
        column = frame[name]
        textual = column.dtype in (pl.String, pl.Categorical, pl.Enum) and not is_numeric(column)
        named = name.casefold() == "id" or name.casefold().endswith("_id")
        if name in taken or not (textual or named) or column.null_count():
            continue
        if not frame.select(time, name).is_duplicated().any():
            return name
    return None


def _covariates(
    frame: pl.DataFrame, rest: list[str], numeric: list[str], future: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    lines = []
    labels = [name for name in numeric if name.casefold() in LABEL_NAMES and name not in future]
    if labels:
        lines.append(f"left out: {_list(labels)} (a label, not known when the row comes)")
    counters = [name for name in numeric if name == "" or name.startswith("Unnamed: ")]
    if counters:
        lines.append(f"left out: {_list(counters)} (a column without a name)")
    chosen = [name for name in numeric if name not in labels and name not in counters]
    text = [name for name in rest if name not in numeric and not _is_empty(frame[name])]
    if text:
        lines.append(f"left out: {_list(text)} (not numbers)")
    empty = [name for name in rest if name not in numeric and _is_empty(frame[name])]
    if empty:
        lines.append(f"left out: {_list(empty)} (empty)")
    return tuple(chosen), lines


def _is_empty(column: pl.Series) -> bool:
    return not len(_filled(column).drop_nulls())


def _list(names: Sequence[str]) -> str:
    return " ".join(map(repr, names))


def _filled(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column
    text = column.str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(EMPTY).fill_null(True), None)


def is_numeric(column: pl.Series) -> bool:
    """Tell whether a column is one of numbers: at least half of its filled cells are.

    Args:
        column: any column; of text, the first ten thousand filled cells are looked at.

    Returns:
        Whether it is. A column without any filled cell is not.
    """
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.null_count() < len(column)
    if column.dtype != pl.String:
        return False
    filled = _filled(column.head(_SAMPLE)).drop_nulls()
    if not len(filled):
        filled = _filled(column).drop_nulls().head(_SAMPLE)
    read = len(filled) - _cast(filled).null_count()
    return bool(len(filled)) and 2 * read >= len(filled)


def _cast(text: pl.Series) -> pl.Series:
    numbers = text.cast(pl.Float64, strict=False)
    if len(text) and numbers.null_count() == len(text):
        folded = text.str.to_lowercase()
        if folded.is_in(["true", "false"]).all():
            return (folded == "true").cast(pl.Float64)
    return numbers


def to_numbers(column: pl.Series, source: str) -> np.ndarray:
    """Turn a column into numbers.

    Args:
        column: numbers, booleans, or text that holds numbers. Empty cells and the usual words
            for missing (`NA`, `NaN`, `null`, `?` ...) are missing.
        source: where it came from, for messages.

    Returns:
        (N,) float64, NaN where missing.

    Raises:
        DataError: a cell holds text or an infinite number.
    """
    if column.dtype == pl.String:
        filled = _filled(column)
        present = filled.is_not_null().to_numpy()
        read = _cast(filled.drop_nulls())
        if read.null_count():
            wrong = int(np.flatnonzero(present)[read.is_null().arg_true()[0]])
            raise DataError(
                f"expected numbers in column {column.name!r} of {source}, came "
                f"{column[wrong]!r} in row {wrong + 1}: mend it or leave it empty"
            )
        values = np.full(len(column), np.nan)
        values[present] = read.to_numpy()
    elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    else:
        raise DataError(
            f"expected numbers in column {column.name!r} of {source}, came {column.dtype}: "
            "convert it or name another column"
        )
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"expected finite numbers in column {column.name!r} of {source}, came "
            f"{values[infinite[0]]} in row {infinite[0] + 1}: mend it or leave it empty"
        )
    return values
