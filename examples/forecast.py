"""Train a forecaster, compare it with its baselines, and stream rows through it."""

import tempfile
from pathlib import Path

import throughtime as tt
from throughtime.data import open_demo

with tempfile.TemporaryDirectory() as folder:
    run = tt.fit("demo:sunspots", budget="150steps", out=Path(folder) / "run", show=False)
    figures = run.evaluate()
    print("this model", round(figures["splits"]["test"]["mae"], 1))
    for name, values in figures["baselines"].items():
        print(name, round(values["mae"], 1))

    stream = tt.Stream(run)
    for row in open_demo("demo:sunspots").iter_rows(named=True):
        answer = stream.push(row)
    print("next year", answer["prediction"], "between", answer["lower"], "and", answer["upper"])
