"""Reading a table: a file, a frame or a demo becomes series on a time grid.

`read_table` goes through the rooms beside it in order: `files` opens, `columns` and `clock` say
what the cells mean, `rows` and `grid` put them in order, `steps` guesses step and season. Every
guess and everything odd becomes a line of `Findings`. Text is read in `text`.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from throughtime.data import clock, columns
from throughtime.data.demos import DEMO_PREFIX, describe, open_demo
from throughtime.data.files import TableSource, open_table
from throughtime.data.findings import Findings
from throughtime.data.rows import Rows, drop_duplicates, fill_grid, sort_rows
from throughtime.data.sequences import (
    LONGEST_GAP,
    ONE_SERIES,
    Duplicates,
    Series,
    Table,
    TableFormat,
    TimeKind,
)
from throughtime.data.splits import TABLE_SPLIT
from throughtime.data.steps import (
    Season,
    Step,
    guess_season,
    guess_step,
    parse_step,
)
from throughtime.data.summary import count, name_oddities, summarise
from throughtime.errors import DataError, OptionError

LEAST_ROWS = 10
DEFAULT_MAX_GAP = 48


def read_table(
    source: TableSource,
    *,
    time: str | None = None,
    target: str | None = None,
    key: str | None = None,
    covariates: Sequence[str] | None = None,
    known_future: Sequence[str] = (),
    step: str | int | timedelta | None = None,
    season: int | None = None,
    max_gap: int | None = None,
    duplicates: Duplicates = "last",
    time_format: str | None = None,
    training_share: float = TABLE_SPLIT[0],
    format: TableFormat | None = None,
) -> Table:
    """Read a table as series on a time grid.

    Columns are guessed by name (`unique_id ds y`, `item_id timestamp target`, `date`, `value`
    ...), then by content: the first column of times, the first one of numbers as target, the
    other numbers as covariates. Rows are sorted; of several with one time the last is kept;
    missing steps of the grid are filled with rows whose `y` is NaN, up to `max_gap` in a row.

    Args:
        source: a CSV or Parquet file, a polars or pandas frame, or `demo:NAME`.
        time: the time column.
        target: the column to forecast.
        key: the column that tells the series apart.
        covariates: the other columns to read; `()` for none.
        known_future: covariates whose future is known.
        step: the grid step, such as `30min`, `1mo`, a number, or `irregular`.
        season: the season in steps, 1 for none.
        max_gap: most missing steps in a row that are filled, by default the season or 48,
            whichever is more; after a longer gap the state starts afresh.
        duplicates: which of several rows with one time is kept.
        time_format: how times are written, see `throughtime.data.clock`.
        training_share: share of each series, from its first row on, that a season is guessed from;
            later rows, which a model is judged by, are not looked at for that.
        format: a format to read by, as a trained run's; the other options are then not looked
            at, nothing is guessed, and a table may be short or constant.

    Returns:
        The table; its findings say what was found and guessed.

    Raises:
        DataError: the source is not a table that can be read so.
        OptionError: an option contradicts another or is out of range.

    Example:
        >>> table = read_table("demo:sunspots")
        >>> table.series[0].y.shape, table.format.season
        ((309,), 11)
    """
    if isinstance(source, str) and source.startswith(DEMO_PREFIX):
        name = source
        frame, lines, covariates = _open_demo(source, covariates)
    else:
        frame, name, lines = open_table(source)
    if not frame.height:
        raise DataError(f"expected rows in {name}, came a header only: give a table with rows")
    if format is not None:
        return _read_known(frame, name, format, lines)
    _check_options(season, max_gap, duplicates, training_share)
    if frame.height < LEAST_ROWS:
        raise DataError(
            f"expected at least {LEAST_ROWS} rows in {name}, came {frame.height}: give more data"
        )
    roles = columns.guess_roles(
        frame,
        name,
        time=time,
        target=target,
        key=key,
        covariates=covariates,
        known_future=known_future,
        time_format=time_format,
    )
    rows, keys, names, notes = _read_rows(
        frame, name, roles.time, roles.time_format, roles.target, roles.key, roles.covariates
    )
    time_kind = _time_kind(frame[roles.time], roles.time_format)
    ordered, unsorted = sort_rows(rows)
    ordered, dropped = drop_duplicates(ordered, duplicates)
    if roles.key is None and duplicates == "last" and dropped > len(rows) / 2:
        raise DataError(
            f"expected each time once in {name}, which has no key column, came {len(rows)} rows "
            f"with {len(ordered)} times: name the key, or keep the first or the mean of them"
        )
    _check_target(ordered.y, roles.target, name)

    provisional = max(season or 1, DEFAULT_MAX_GAP) if max_gap is None else max_gap
    guessed = (
        guess_step(ordered.time, ordered.first, time_kind, provisional)
        if step is None
        else parse_step(step, time_kind)
    )
    if season is None:
        series, _ = fill_grid(ordered, keys, guessed, provisional)
        found = guess_season(_training_segments(series, training_share), guessed, time_kind)
    else:
        found = Season(season)
    if max_gap is None:
        max_gap = max(found.length, DEFAULT_MAX_GAP)
    read_as = TableFormat(
        time=roles.time,
        target=roles.target,
        key=roles.key,
        covariates=names,
        known_future=tuple(column for column in known_future if column in names),
        step_us=guessed.size,
        time_kind=time_kind,
        season=found.length,
        max_gap=max_gap,
        duplicates=duplicates,
        step_months=guessed.months,
        time_format=roles.time_format,
    )
    season_note = _season_text(found, given=season is not None)
    after = [*roles.lines, *notes]
    after += [f"irregular: {guessed.why}"] if guessed.why else []
    return _finish(ordered, keys, read_as, unsorted, dropped, lines, season_note, after)


def _read_known(
    frame: pl.DataFrame, name: str, format: TableFormat, lines: tuple[str, ...]
) -> Table:
    columns.require(frame, format.time, "time", name)
    columns.require(frame, format.target, "target", name)
    if format.key is not None:
        columns.require(frame, format.key, "key", name)
    for column in format.covariates:
        columns.require(frame, column, "covariate", name)
    kind = _time_kind(frame[format.time], format.time_format)
    if kind != format.time_kind:
        raise DataError(
            f"expected {format.time_kind} times in column {format.time!r} of {name}, came {kind} "
            "ones: give data like those that were trained on"
        )
    rows, keys, _, notes = _read_rows(
        frame,
        name,
        format.time,
        format.time_format,
        format.target,
        format.key,
        format.covariates,
        keep_empty=True,
    )
    ordered, unsorted = sort_rows(rows)
    ordered, dropped = drop_duplicates(ordered, format.duplicates)
    return _finish(
        ordered, keys, format, unsorted, dropped, lines, f"season {format.season}", notes
    )


def _open_demo(
    source: str, covariates: Sequence[str] | None
) -> tuple[pl.DataFrame, tuple[str, ...], Sequence[str] | None]:
    frame = open_demo(source)
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"expected a table, came the text {source}: read it as text")
    demo = next(demo for demo in describe() if demo.source == source)
    if covariates is not None:
        return frame, (), covariates
    labels = " ".join(map(repr, demo.labels))
    lines = (f"left out: {labels} (a label, not known when the row comes)",) if labels else ()
    return frame, lines, demo.covariates


def _check_options(
    season: int | None, max_gap: int | None, duplicates: str, training_share: float
) -> None:
    if not 0 < training_share <= 1:
        raise OptionError(f"expected a training share above 0, up to 1, came {training_share}")
    if season is not None and season < 1:
        raise OptionError(f"expected a season of at least 1 step, came {season}: 1 means none")
    if max_gap is not None and not 0 <= max_gap <= LONGEST_GAP:
        raise OptionError(
            f"expected a longest gap of 0 or more steps, up to {LONGEST_GAP:,}, came {max_gap}: "
            "after a longer one the state starts afresh"
        )
    if duplicates not in ("last", "first", "mean", "error"):
        raise OptionError(
            f"expected duplicates last, first, mean or error, came {duplicates!r}: choose one"
        )


def _time_kind(column: pl.Series, time_format: str) -> TimeKind:
    counted = time_format == "integer" and not column.dtype.is_temporal()
    return "integer" if counted else "timestamp"


def _read_rows(
    frame: pl.DataFrame,
    source: str,
    time: str,
    time_format: str,
    target: str,
    key: str | None,
    covariates: Sequence[str],
    keep_empty: bool = False,
) -> tuple[Rows, tuple[str, ...], tuple[str, ...], list[str]]:
    notes = []
    times = clock.read_times(frame[time], time_format)
    if times.null_count():
        row = int(times.is_null().arg_true()[0])
        value = frame[time][row]
        came = "an empty cell" if value is None else repr(value)
        raise DataError(
            f"expected a time ({time_format}) in every row of column {time!r} of {source}, came "
            f"{came} in row {row + 1}: mend or remove that row"
        )
    if clock.has_zone(frame[time], time_format):
        notes.append("times have a zone and were converted to UTC")
    code, keys = _codes(frame, key, source)
    y = columns.to_numbers(frame[target], source)
    values, names, empty = [], [], []
    for column in covariates:
        numbers = columns.to_numbers(frame[column], source)
        if np.isnan(numbers).all() and not keep_empty:
            empty.append(column)
            continue
        names.append(column)
        values.append(numbers)
    if empty:
        notes.append(f"left out: {' '.join(map(repr, empty))} (empty)")
    stacked = np.stack(values, axis=1) if values else np.empty((frame.height, 0))
    return Rows(code, times.to_numpy(), y, stacked), keys, tuple(names), notes


def _codes(frame: pl.DataFrame, key: str | None, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if key is None:
        return np.zeros(frame.height, dtype=np.int64), (ONE_SERIES,)
    text = frame[key].cast(pl.String).str.strip_chars()
    empty = (text.is_null() | (text == "")).arg_true()
    if len(empty):
        raise DataError(
            f"expected a key in every row of column {key!r} of {source}, came an empty cell in "
            f"row {empty[0] + 1}: fill it"
        )
    unique = text.unique(maintain_order=True)
    code = text.cast(pl.Enum(unique)).to_physical().cast(pl.Int64).to_numpy()
    return code, tuple(unique.to_list())


def _check_target(y: np.ndarray, target: str, source: str) -> None:
    present = y[~np.isnan(y)]
    if not len(present):
        raise DataError(
            f"expected numbers in the target {target!r} of {source}, came {len(y)} empty cells: "
            "name another target"
        )
    if present.min() == present.max():
        raise DataError(
            f"expected a target that varies, came {target!r} of {source} with the value "
            f"{present[0]:g} in all {len(present)} rows: name another target"
        )


def _training_segments(series: Sequence[Series], share: float) -> list[np.ndarray]:
    segments = []
    for one in series:
        rows = max(int(len(one) * share), 1)
        cuts = np.flatnonzero(one.restarts[:rows])
        segments += np.split(one.y[:rows], cuts[1:])
    return segments


def _season_text(season: Season, *, given: bool) -> str:
    if given:
        return f"season {season.length}"
    if season.length == 1:
        return "no season found"
    name = f" ({season.name})" if season.name else ""
    return f"guessed season {season.length}{name}"


def _finish(
    rows: Rows,
    keys: tuple[str, ...],
    format: TableFormat,
    unsorted: int,
    duplicates: int,
    lines: tuple[str, ...],
    season: str,
    after: Sequence[str],
) -> Table:
    step = Step(format.step_us, format.step_months)
    series, placed = fill_grid(rows, keys, step, format.max_gap)
    counts = count(rows, series, placed, format)
    counts |= {"rows": len(rows) + duplicates, "unsorted": unsorted, "duplicates": duplicates}
    summary = summarise(counts, rows, format, season)
    odd = name_oddities(counts, rows, series, format)
    return Table(series, format, Findings(counts, (*lines, summary, *after, *odd)))
