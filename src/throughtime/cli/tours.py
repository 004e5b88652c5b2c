"""What `throughtime demo` shows: the commands of each tour, and curves of what they wrote.

A command is printed as people type it and then run in this process, so that what is printed is what
runs.
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from throughtime.cli.failures import PROGRAM
from throughtime.cli.options import command_line
from throughtime.cli.plot import curves

if TYPE_CHECKING:
    import polars as pl

    from throughtime.data.demos import Demo

RUN = "run"
"""The run directory below the folder of a tour."""

_WIDTH = 72


@dataclass(frozen=True)
class _Tour:
    """How a demo is trained, so that a tour takes about a minute, and what it writes."""

    training: tuple[str, ...]
    budget: str
    prompts: tuple[tuple[str, ...], ...] = ()
    remark: str = ""


_TOURS = {
    "sunspots": _Tour(("--layer", "gru:32", "--horizon", "11"), "20s"),
    "meter": _Tour(("--horizon", "48"), "40s"),
    "python": _Tour(
        ("--layer", "gru:192"),
        "60s",
        (
            ("--prompt", "def ", "--length", "300", "--temperature", "0.5"),
            ("--prompt", "import ", "--length", "200", "--temperature", "0.8"),
        ),
        "After ten minutes instead of one it knows many more words; try --budget 10min.",
    ),
    "reber": _Tour(
        ("--layer", "lstm:32", "--embedding", "16", "--learning-rate", "0.01"),
        "40s",
        (
            ("--prompt", "BTBPVPXTTVVE", "--length", "2", "--temperature", "0"),
            ("--prompt", "BPBPVPXTTVVE", "--length", "2", "--temperature", "0"),
        ),
        "In this grammar the second symbol of a string must come back as the last but one,\n"
        "however much lies between: only a model that remembers it gets both right.",
    ),
}


@dataclass
class _Guide:
    """Prints commands, runs them, and remembers them."""

    commands: list[str] = field(default_factory=list)

    def run(self, *words: str | Path, rows: Path | None = None, into: Path | None = None) -> None:
        """Print a command as people type it, and run it.

        Args:
            words: verb and arguments.
            rows: what it reads from standard input.
            into: where its standard output goes.

        Raises:
            typer.Exit: when it does not succeed.
        """
        from throughtime.cli.app import main

        line = command_line(PROGRAM, *words)
        line += f" < {command_line(rows)}" if rows is not None else ""
        line += f" > {command_line(into)}" if into is not None else ""
        self.commands.append(line)
        print(f"$ {line}", flush=True)
        with contextlib.ExitStack() as stack:
            if into is not None:
                file = stack.enter_context(into.open("w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(file))
            if rows is not None:
                stack.callback(setattr, sys, "stdin", sys.stdin)
                sys.stdin = stack.enter_context(rows.open(encoding="utf-8"))
            code = main([str(word) for word in words])
        if code != 0:
            raise typer.Exit(code)
        print(flush=True)


def guide(demo: "Demo", folder: Path, *, budget: str | None, seed: int) -> list[str]:
    """Lead through a demo, and return the commands that were run.

    Args:
        demo: which one.
        folder: where to write; made here.
        budget: how long to train; the tour's own when None.
        seed: of everything random.

    Raises:
        typer.Exit: when a command does not succeed.
    """
    tour = _TOURS[demo.name]
    guide = _Guide()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{demo.source}: {demo.description}\n")
    training = (*tour.training, "--budget", budget or tour.budget, "--seed", str(seed))
    if demo.task == "forecast":
        _forecast(guide, demo, folder, training)
        ideas: tuple[str, ...] = (
            f"{PROGRAM} train your.csv --horizon 24 --out runs/mine",
            f"tail -n +1 -f your.csv | {PROGRAM} stream runs/mine --load kept --save kept",
        )
    else:
        _generate(guide, demo, tour, folder, training)
        ideas = (
            f"{PROGRAM} train your.txt --layer lstm:384 --budget 10min --out runs/mine",
            f"{PROGRAM} generate runs/mine --prompt 'Once ' --temperature 0.8",
        )
    print("Next, with your own data:")
    print("\n".join(f"  {line}" for line in ideas) + "\n")
    return guide.commands


def _train_and_check(guide: _Guide, demo: "Demo", folder: Path, training: tuple[str, ...]) -> Path:
    run = folder / RUN
    print("1. Train a model. What it has to beat is worked out before it begins.\n")
    guide.run("train", demo.source, *training, "--out", run)
    print("2. Check that it gives the same numbers in every way of running it.\n")
    guide.run("check", run)
    return run


def _forecast(guide: _Guide, demo: "Demo", folder: Path, training: tuple[str, ...]) -> None:
    from throughtime.data.demos import open_demo
    from throughtime.data.tables import read_table

    format = read_table(demo.source).format
    frame: Any = open_demo(demo.source)
    recent = frame.tail(_WIDTH)
    y = recent[format.target].to_list()
    print(f"Its last {len(y)} rows:")
    print(_against_time(recent, format.time, {format.target: y}) + "\n")
    rows, forecast, answers = (
        folder / name for name in ("rows.csv", "forecast.csv", "answers.jsonl")
    )
    frame.write_csv(rows)

    run = _train_and_check(guide, demo, folder, training)
    print("3. Forecast what follows the last row.\n")
    guide.run("predict", run, rows, "--out", forecast)
    _draw_forecast(forecast, format.target, y)
    print("4. Run it row by row, as on data that is still coming in.\n")
    guide.run("stream", run, rows=rows, into=answers)
    _draw_answers(answers, recent, format.time)


def _draw_forecast(forecast: Path, target: str, y: list[Any]) -> None:
    """Draw what was predicted after the last values that are known."""
    import polars as pl

    made = pl.read_csv(forecast)
    before = [_number(value) for value in y[-max(_WIDTH - made.height, 12) :]]
    levels = [name for name in made.columns if name.startswith("q")]
    rows = {target: before}
    for name in (levels[-1], levels[len(levels) // 2], levels[0]):
        rows[f"{float(name[1:]):.0%}"] = [float("nan")] * len(before) + made[name].to_list()
    print(curves(rows))
    print(f"Forecasts from {made['ds'][0]} to {made['ds'][-1]}: the truth lies below each curve")
    print("with the probability before it, as far as the model knows.\n")


def _draw_answers(answers: Path, recent: "pl.DataFrame", times: str) -> None:
    """Draw what came beside what had been expected, in the last rows."""
    lines = answers.read_text(encoding="utf-8").splitlines()
    last = [json.loads(line) for line in lines[-_WIDTH:]]
    without = {name: value for name, value in last[-1].items() if name != "ahead"}
    further = ", without the steps further `ahead`" if "ahead" in last[-1] else ""
    print(f"Its answer to the last row{further}:")
    print(json.dumps(without) + "\n")
    print("What came, and what had been expected for it one row before:")
    rows = {
        "came": [answer.get("y") for answer in last],
        "expected": [answer.get("expected") for answer in last],
    }
    print(_against_time(recent.tail(len(last)), times, rows) + "\n")


def _against_time(recent: "pl.DataFrame", times: str, rows: dict[str, list[Any]]) -> str:
    numbers = {name: [_number(value) for value in values] for name, values in rows.items()}
    return curves(numbers, first=str(recent[times][0]), last=str(recent[times][-1]))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _generate(
    guide: _Guide, demo: "Demo", tour: _Tour, folder: Path, training: tuple[str, ...]
) -> None:
    from throughtime.data.text import read_text

    print("It begins:")
    for line in "\n".join(read_text(demo.source).documents[:100])[:400].splitlines()[:6]:
        print(f"  {line}")
    print()
    run = _train_and_check(guide, demo, folder, training)
    print("3. Let it go on with a text.\n")
    for options in tour.prompts:
        guide.run("generate", run, *options)
    print(tour.remark + "\n")
