"""The gate of an export in whole numbers: equal bits, in place of nearly equal numbers.

The twin takes the place of the run. What is run is what every export is run over: see
`throughtime.export.gate`.
"""

import torch
from torch import Tensor

from throughtime.check.comparison import Comparison
from throughtime.export.c.int8.standing import Standing
from throughtime.export.c.int8.twin import Twin
from throughtime.export.gate import (
    BATCHES,
    CUT,
    Runner,
    Verdict,
    demand,
    drawn_batch,
    material,
    take,
)
from throughtime.run import Run

LANES, STEPS = 64, 200
"""Lanes side by side, for many steps in little time."""

LONG_STEPS = 2000
"""Steps of one lane, with its state carried all the way."""


def verify_twin(run: Run, runner: Runner, twin: Twin, *, steps: int = LONG_STEPS) -> Verdict:
    """Demand that an export gives the bits of its twin.

    Args:
        run: the run that both were made of.
        runner: the export.
        twin: the twin.
        steps: of the long run.

    Raises:
        MismatchError: it gives others. The message names the first step that does.
    """
    gate = _Gate(run, runner, twin)
    count = gate.recorded()
    for lanes, length in BATCHES:
        count += gate.batch(lanes, length)
    gate.answer()
    count += gate.stream(1, steps, "a long run")
    count += gate.stream(LANES, STEPS, "many lanes")
    return Verdict(0.0, count, "the bits are those of its twin in Python")


class _Gate:
    """One verification; each method is a part of it and returns how many steps it compared."""

    def __init__(self, run: Run, runner: Runner, twin: Twin) -> None:
        self.run = run
        self.runner = runner
        self.twin = twin
        self.comparison = Comparison("export", tolerance=0.0)

    def recorded(self) -> int:
        """Run what was recorded at training."""
        inputs, lengths = self.run.parity["inputs"], self.run.parity["lengths"]
        present = torch.arange(inputs.shape[1]) < lengths[:, None]
        self._both(inputs, present, torch.zeros_like(present), "recorded steps", cut=len(inputs[0]))
        return int(lengths.sum())

    def batch(self, lanes: int, length: int) -> int:
        """Run lanes of other lengths, with restarts, in chunks; the twin has them in one."""
        inputs, lengths, resets = drawn_batch(self.run, lanes, length)
        present = torch.arange(length) < lengths[:, None]
        self._both(inputs, present, resets, f"{lanes} lanes", cut=CUT)
        return int(lengths.sum())

    def answer(self) -> None:
        """Hold what comes of raw data against what the task makes of the twin."""
        parity = self.run.parity
        data = {name: part for name, part in parity.items() if name.startswith("data.")}
        sample = {name.removeprefix("data."): part for name, part in data.items()}
        if not sample:
            return
        wanted = self.run.task.answer(Standing(self.run.model, self.twin), sample)
        comparison = Comparison("export", 0.0 if "symbols" in wanted else 1e-6)
        for name, got in self.runner.answer(sample).items():
            expected = wanted[name]
            if expected.is_floating_point():
                # In units of the spread; a compiler may round the way back to the data's units in
                # two ways.
                center, spread = expected.mean(), float(expected.std(correction=0)) or 1.0
                got, expected = (got - center) / spread, (expected - center) / spread
            what = f"{name} of the raw data recorded at training"
            comparison.outputs(got[None], expected[None], torch.tensor([len(got)]), what=what)
        demand(comparison, "the twin")

    def stream(self, lanes: int, steps: int, what: str) -> int:
        """Run some lanes, with their states carried all the way."""
        pieces = material(self.run, torch.Generator().manual_seed(lanes))
        inputs = torch.stack([take(pieces, steps) for _ in range(lanes)])
        present = torch.ones(inputs.shape[:2], dtype=torch.bool)
        self._both(inputs, present, torch.zeros_like(present), what, cut=steps)
        return lanes * steps

    def _both(
        self, inputs: Tensor, present: Tensor, resets: Tensor, what: str, *, cut: int
    ) -> None:
        lanes, steps = present.shape
        self.runner.begin(lanes)
        self.twin.begin(lanes)
        cuts = [slice(start, start + cut) for start in range(0, steps, cut)]
        outputs = torch.cat(
            [self.runner.run(inputs[:, c], present[:, c], resets[:, c]) for c in cuts], dim=1
        )
        wanted = self.twin.run(inputs, present, resets)
        lengths = present.sum(1)
        self.comparison.outputs(outputs, wanted, lengths, what=f"outputs of {what}")
        ends = self.twin.state()
        for name, leaf in self.runner.state().items():
            self.comparison.leaf(name, leaf.long(), ends[name], lengths, how=f" of {what}")
        demand(self.comparison, "the twin")
