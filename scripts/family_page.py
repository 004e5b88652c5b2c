"""Write docs/family.md, the page of all layers, from the registry and from what was measured.

    python scripts/family_page.py

Whether a layer's step is exported and its forward compiled is what `tests/exported.py` prints,
which is run here. Times are the part `family` of benchmarks/results/kernels.json, by
`python benchmarks/kernels.py`. What layers can do is benchmarks/results/claims.jsonl, by
`python -m benchmarks.battery claims`, and what each is good and bad at is battery.jsonl beside it,
by `python -m benchmarks.battery all`.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from throughtime import layers
from throughtime.layers.registry import maker_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.battery import verdicts  # noqa: E402
from benchmarks.battery.cells import Record  # noqa: E402

PAGE = ROOT / "docs" / "family.md"
CLAIMS = ROOT / "benchmarks" / "results" / "claims.jsonl"
TIMES = ROOT / "benchmarks" / "results" / "kernels.json"
FEATURES, UNITS = 1, 128

HEAD = """# The family

Every layer by name, under one contract: state in and out, lengths, resets, chunks, steps. Take one
by `--layer NAME:SIZExDEPTH`, by `tt.layers.make(name, input_size, hidden_size)`, or by its class;
[several, and what is around them](concepts.md#layers-in-one-line), in one line.
This page is written by `python scripts/family_page.py`.

- *Parameters* and *state*, in floats a lane, are those of F = 1 and H = 128. For a comparison under
  equal budgets, `tt.layers.size_for(name, F, parameters=...)` or `floats=...` finds H.
- *Training* is forward and backward at (16, 784, 1, 128), beside torch.nn, the same layer with the
  scan over logarithms, or a Python loop over its own step (`throughtime bench family`).
- *Step exported*: `torch.export` of `step`, saved, loaded and run at other batch sizes. *Compiled*:
  `torch.compile(fullgraph=True)` of forward and backward. Both by `tests/test_export.py`.

"""


def exported() -> set[tuple[str, str]]:
    """What was done with each layer, as (verb, name)."""
    program = [sys.executable, str(ROOT / "tests" / "exported.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return {(line.split()[0], line.split()[1]) for line in done.stdout.splitlines()}


def times() -> dict[str, str]:
    """Ours, and how much faster than what, by name."""
    if not TIMES.exists():
        return {}
    return {
        each["layer"]: f"{each['ours']:.3g} ms, {each['ratio']:.3g}x {each['peer']}"
        for each in json.loads(TIMES.read_text())["figures"]
        if each["part"] == "family" and each["ratio"]
    }


CAN_DO = """## What they can do, and what not

Each line is one small model of two layers with H = 64, trained from three seeds: the share of right
answers on sequences drawn apart, and updates until 99 % were right. Learning rates are picked from
the same three by the same rule for every layer, and what fails had at least the budget of what
solves (`python -m benchmarks.battery claims`).

- *parity*: the number of ones so far, odd or even. Trained on T <= 40, tested on steps 40 to 256.
  A layer has to turn a state around: non-linear ones can, linear ones with eigenvalues below zero.
- *recall*: eight pairs of key and value, then the keys in another order. A layer has to look up.
- *long_recall*: the first symbol, after 399 others. A layer has to hold.

| task | layer | accuracy | updates |
|---|---|---|---|
"""


def can_do() -> str:
    """The runs behind the claims, a line for each layer and task."""
    if not CLAIMS.exists():
        return ""
    runs: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for line in CLAIMS.read_text().splitlines():
        run = json.loads(line)
        options = "".join(f", `{name}={value}`" for name, value in run["options"].items())
        runs.setdefault((run["task"], f"`{run['layer']}`{options}"), {})[run["seed"]] = run
    rows = []
    for (task, layer), seeds in runs.items():
        found = [seeds[seed] for seed in sorted(seeds)]
        accuracy = ", ".join(f"{each['accuracy']:.3f}" for each in found)
        after = ", ".join(str(each["solved_after"] or "not solved") for each in found)
        if not any(each["solved"] for each in found):
            after = f"not solved in {found[0]['updates']}"
        rows.append(f"| {task} | {layer} | {accuracy} | {after} |\n")
    return CAN_DO + "".join(rows) + "\n"


GOOD_AT = """## What each is good and bad at

Every layer on every task, one seed, two layers with H = 64 (`python -m benchmarks.battery all`,
which goes on where it was stopped): the share of right answers, or for language the nats a
character, after the updates of one budget. In bold what is solved, 99 % or what the task asks for,
with the updates until then; a dash is not run. Parameters and state, in floats a lane, and seconds
of processor for a thousand updates are the medians of a row.

"""


def good_at() -> str:
    """The matrix of layers and tasks, as far as it was run."""
    if not verdicts.MATRIX.exists():
        return ""
    runs = verdicts.read_matrix()
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    found: dict[str, dict[str, Record]] = {}
    for run in runs:
        # A layer whose window or memory follows the task is one row.
        options = ", ".join(
            name if name in ("window", "memory") else f"{name}={value}"
            for name, value in run["options"].items()
        )
        title = f"`{run['layer']}`" + (f" ({options})" if options else "")
        found.setdefault(title, {})[run["task"]] = run
    order = {name: place for place, name in enumerate(layers.names())}
    titles = sorted(found, key=lambda title: (order.get(title.split("`")[1], 99), title))
    heads = ["layer", "parameters", "state", "seconds", *(task.replace("_", " ") for task in tasks)]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for title in titles:
        own = found[title]
        paces = median(1000 * run["seconds"] / run["updates"] for run in own.values())
        sizes = [
            f"{int(median(run[name] for run in own.values())):,}"
            for name in ("parameters", "state_floats")
        ]
        cells = [_cell(own.get(task)) for task in tasks]
        rows.append(f"| {' | '.join([title, *sizes, f'{paces:.0f}', *cells])} |")
    return GOOD_AT + "\n".join(rows) + "\n\n"


def _cell(run: Record | None) -> str:
    if run is None:
        return "-"
    text = f"{run['loss'] if run['task'] == 'language' else run['accuracy']:.2f}"
    return f"**{text}** {run['solved_after'] or ''}".rstrip() if run["solved"] else text


def page() -> str:
    done, taken = exported(), times()
    rows = ["| name | class | parameters | state | training | step exported | compiled |"]
    rows.append("|---|---|---|---|---|---|---|")
    classes = []
    for name in layers.names():
        layer = layers.make(name, FEATURES, UNITS)
        kind = maker_of(name).__name__
        classes.append(kind)
        yes = ["yes" if (verb, name) in done else "no" for verb in ("exported", "compiled")]
        sizes = f"{layers.parameter_count(layer):,} | {layers.state_floats(layer):,}"
        rows.append(
            f"| `{name}` | [{kind}](#throughtime.layers.{kind}) | {sizes} | "
            f"{taken.get(name, '')} | {' | '.join(yes)} |"
        )
    sections = [
        f"::: throughtime.layers.{kind}\n    options:\n      members: false\n" for kind in classes
    ]
    return HEAD + "\n".join(rows) + "\n\n" + can_do() + good_at() + "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)}: {len(layers.names())} layers")
