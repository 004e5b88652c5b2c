"""What is printed for people and programs: tables of figures, JSON."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.failures import PROGRAM
from throughtime.cli.options import command_line
from throughtime.formats import finite

if TYPE_CHECKING:
    from throughtime.run import Run

MAIN_FIGURES = {
    "forecast": ("mae", "mse_scaled", "mase", "crps", "coverage"),
    "language": ("nats", "bits", "perplexity"),
}
"""The figures that fit beside one another on a screen, by task; `--json` has all of them."""

_HIGHER_IS_NO_BETTER = ("coverage",)


def print_json(content: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document; numbers that JSON has no word for become null.

    Args:
        content: JSON values.
        indent: columns that each level goes in; None for one line, where there are many numbers.
    """
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    print(text)


def print_figures(results: dict[str, Any]) -> None:
    """Print the figures of the model and of the baselines for each part of the data.

    Args:
        results: as `Run.evaluate` returns them.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    names = MAIN_FIGURES[results["task"]]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for part, model in results["splits"].items():
        rows = {"this model": model, **results["baselines_by_split"][part]}
        best = {name: _best(name, rows) for name in names}
        for place, (who, figures) in enumerate(rows.items()):
            cells = [
                f"[bold]{_number(figures[name])}[/bold]"
                if figures[name] == best[name]
                else _number(figures[name])
                for name in names
            ]
            last = place == len(rows) - 1
            table.add_row("" if place else part, who, *cells, end_section=last)
    Console(file=sys.stdout, highlight=False, width=wide(100)).print(table)


def print_run(run: "Run", *, as_json: bool) -> None:
    """Print the figures of a finished run, where it is and what to do with it."""
    from throughtime.run import RESULTS_FILE

    results = json.loads((run.path / RESULTS_FILE).read_text())
    if as_json:
        print_json({"run": str(run.path), **results})
        return
    training = results["training"]
    print_figures(results)
    print()
    steps, best = training["steps"], training["best_step"]
    kept = f"the best of {steps} steps at step {best}" if best else f"the last of {steps} steps"
    print(f"{run.config.model.layer}, {training['parameters']:,} parameters, {kept}, in {run.path}")
    print("next:")
    for words in _next(run):
        print("  " + command_line(PROGRAM, *words))


def _next(run: "Run") -> list[tuple[str | Path, ...]]:
    if run.config.task["name"] == "language":
        return [("check", run.path), ("generate", run.path, "--length", "300")]
    source = run.config.source or "DATA"
    return [("check", run.path), ("predict", run.path, source), ("stream", run.path)]


def _best(name: str, rows: dict[str, dict[str, float | None]]) -> float | None:
    values = [value for row in rows.values() if (value := row[name]) is not None]
    return None if not values or name in _HIGHER_IS_NO_BETTER else min(values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def wide(columns: int) -> int | None:
    """Return a fixed width where nobody is looking, so that no line is folded."""
    return None if sys.stdout.isatty() else columns
