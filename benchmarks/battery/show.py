"""What people see: where a run is, tables at the end, and one line when a name is wrong."""

import difflib
import statistics
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.battery.cells import Cell, Record
from benchmarks.battery.claims import Verdict
from benchmarks.battery.train import Result
from throughtime.errors import OptionError


class Progress:
    """Lines on standard error: what each cell came to, and about how long the rest takes.

    Args:
        planned: how many cells there are to run.
    """

    def __init__(self, planned: int) -> None:
        self.planned, self.done = planned, 0
        self.began = time.perf_counter()
        if planned:
            say(f"0/{planned} begins")

    def end(self, cell: Cell, result: Result) -> None:
        """Say what a cell came to."""
        self.done += 1
        each = (time.perf_counter() - self.began) / self.done
        left = self.planned - self.done
        rest = f", about {_time(each * left)} left" if left else ""
        came = f"accuracy {result.accuracy:.3f} after {result.updates} updates"
        say(f"{self.done}/{self.planned} {_named(cell)}: {came} in {_time(result.seconds)}{rest}")


def _named(cell: Cell) -> str:
    return f"{cell.task}: {cell.title}, seed {cell.seed}"


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def check_names(what: str, asked: Sequence[str], there: Sequence[str]) -> None:
    """Refuse names that are not there.

    Raises:
        OptionError: with all that there are, and the nearest.
    """
    for name in asked:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1, cutoff=0)
            raise OptionError(
                f"expected a {what} among {', '.join(there)}, got {name!r}; "
                f"the nearest is {near[0]!r}"
            )


def table(records: Sequence[Record]) -> Table:
    """Return the table of finished cells; seeds of one pair are one line, with medians."""
    out = Table(title="Battery")
    for heading in ("task", "layer"):
        out.add_column(heading)
    for heading in ("accuracy", "solved", "updates", "rate", "parameters", "state", "seconds"):
        out.add_column(heading, justify="right")
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        title = Cell(record["task"], record["layer"], record["options"]).title
        pairs.setdefault((record["task"], title), []).append(record)
    for (task, title), same in pairs.items():
        updates = [each["solved_after"] for each in same if each["solved_after"] is not None]
        out.add_row(
            task,
            title,
            f"{statistics.median(each['accuracy'] for each in same):.3f}",
            f"{sum(each['solved'] for each in same)}/{len(same)}",
            f"{statistics.median(updates):.0f}" if updates else "-",
            "/".join(sorted({f"{each['rate']:g}" for each in same})),
            f"{same[0]['parameters']}",
            f"{same[0]['state_floats']}",
            f"{statistics.median(each['seconds'] for each in same):.0f}",
        )
    return out


def verdicts(found: Sequence[Verdict]) -> None:
    """Print a line for each claim."""
    for verdict in found:
        word = "shown    " if verdict.shown else "NOT SHOWN"
        print(f"{word} {verdict.claim.text}: {verdict.text}")
    print(f"{sum(verdict.shown for verdict in found)} of {len(found)} claims shown")


def print_table(records: Sequence[Record]) -> None:
    """Print the table, however narrow the terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table(records))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
