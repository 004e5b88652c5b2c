"""The gate: no export is done before it gives the numbers of the run that it was made of.

An export is run over what the bundle recorded when the run was trained, over lanes of other number
and other lengths, cut into chunks and with restarts, and over one lane for 50,000 steps. Only the
bundle is needed for that, no data. How an export is run is the business of each kind: the gate
knows it as a `Runner`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.check.comparison import Comparison
from throughtime.errors import BundleError, ThroughtimeError
from throughtime.export.rounding import Rounding, close
from throughtime.run import Run
from throughtime.state import State

LONG_STEPS = 50_000
"""Steps of the long run."""

BATCHES = ((1, 40), (3, 97), (8, 33))
"""Lanes and steps of the batches that differ from what was recorded."""

_CHUNK = 1000
CUT = 7
_PIECE = 64


class MismatchError(ThroughtimeError, AssertionError):
    """An export gives other numbers than the run that it was made of."""


@runtime_checkable
class Runner(Protocol):
    """An export, running some lanes with the state of each carried from call to call."""

    def begin(self, lanes: int) -> None:
        """Have so many lanes, all before their first step."""

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps.

        Args:
            inputs: (B, T, F) float32 or (B, T) int64.
            present: (B, T) bool, steps that are there; the state stays as it is at the others.
            resets: (B, T) bool, steps before which a lane starts afresh.

        Returns:
            Outputs (B, T, O), anything where a step is not there.
        """

    def state(self) -> Mapping[str, Tensor]:
        """Return the leaves (B, ...) of the lanes' states, by the names of `states.names`."""

    def answer(self, sample: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what comes of raw data: those parts of `Task.answer` that the export makes."""


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        max_error: the largest |a - b| / (1 + |b|) of outputs and states, in scaled units.
        steps: how many steps were compared.
        note: what must be known about it, or empty.
    """

    max_error: float
    steps: int
    note: str = ""

    def __str__(self) -> str:
        text = f"largest error {self.max_error:.1e} over {self.steps:,} steps"
        return f"{text}; {self.note}" if self.note else text


@torch.no_grad()
def verify(run: Run, runner: Runner, *, steps: int = LONG_STEPS) -> Verdict:
    """Demand that an export gives the numbers of a run.

    Args:
        run: the run.
        runner: the export.
        steps: of the long run.

    Returns:
        How far it lies from the run.

    Raises:
        MismatchError: it lies further away than 1e-5, relative to 1 + |value|. The message names
            the first step that does.
    """
    run.model.eval()
    gate = _Gate(run, runner)
    count = gate.recorded()
    for lanes, length in BATCHES:
        count += gate.batch(lanes, length)
    gate.answer()
    count += gate.long(steps)
    return Verdict(gate.comparison.largest or 0.0, count, gate.rounding.note)


class _Gate:
    """One verification; each method is a part of it and returns how many steps it compared."""

    def __init__(self, run: Run, runner: Runner) -> None:
        wanted = ("inputs", "lengths", "outputs")
        if missing := [name for name in wanted if name not in run.parity]:
            raise BundleError(
                f"expected {', '.join(missing)} in parity.safetensors of {run.path}, got none; "
                "train again"
            )
        self.run = run
        self.runner = runner
        self.comparison = Comparison("export")
        self.rounding = Rounding(run)

    def recorded(self) -> int:
        """Hold against what was recorded at training: outputs and end states of each lane."""
        parity = self.run.parity
        inputs, lengths = parity["inputs"], parity["lengths"]
        present = torch.arange(inputs.shape[1]) < lengths[:, None]
        self.runner.begin(len(inputs))
        outputs = self.runner.run(inputs, present, torch.zeros_like(present))
        what = "recorded outputs"
        if close(outputs, parity["outputs"], lengths):
            self.comparison.outputs(outputs, parity["outputs"], lengths, what=what)
            wanted = {name: parity[f"state.{name}"] for name in self.runner.state()}
            self._hold_states(wanted, lengths, " recorded")
        else:
            exact, _ = self.rounding.exact(inputs, lengths=lengths)
            three = (outputs, parity["outputs"], exact)
            self.rounding.judge(self.comparison, three, lengths, 0, what)
        demand(self.comparison)
        return int(lengths.sum())

    def batch(self, lanes: int, length: int) -> int:
        """Hold other lanes of other lengths, with restarts and in chunks, against one forward."""
        inputs, lengths, resets = drawn_batch(self.run, lanes, length)
        present = torch.arange(length) < lengths[:, None]
        self.runner.begin(lanes)
        cuts = [slice(start, start + CUT) for start in range(0, length, CUT)]
        outputs = torch.cat(
            [self.runner.run(inputs[:, c], present[:, c], resets[:, c]) for c in cuts], dim=1
        )
        wanted, end = self.run.model(inputs, lengths=lengths, resets=resets)
        what = f"outputs of {lanes} lanes"
        if close(outputs, wanted, lengths):
            self.comparison.outputs(outputs, wanted, lengths, what=what)
            leaves = dict(zip(states.names(end), states.leaves(end), strict=True))
            self._hold_states(leaves, lengths, f" of {lanes} lanes")
        else:
            exact, _ = self.rounding.exact(inputs, lengths=lengths, resets=resets)
            self.rounding.judge(self.comparison, (outputs, wanted, exact), lengths, 0, what)
        demand(self.comparison)
        return int(lengths.sum())

    def answer(self) -> None:
        """Hold what comes of raw data against what task and model made of it at training."""
        parity = self.run.parity
        data = {name: part for name, part in parity.items() if name.startswith("data.")}
        sample = {name.removeprefix("data."): part for name, part in data.items()}
        comparison = Comparison("export")
        for name, got in self.runner.answer(sample).items() if sample else ():
            wanted = parity[f"answer.{name}"]
            if wanted.is_floating_point():
                # In units of the spread, so that those of the data play no part.
                center, spread = wanted.mean(), float(wanted.std(correction=0)) or 1.0
                got, wanted = (got - center) / spread, (wanted - center) / spread
            # Where a model enlarges rounding, the first row is the one that has none yet.
            rows = torch.tensor([len(wanted) if self.rounding.largest is None else 1])
            what = f"{name} of the raw data recorded at training"
            comparison.outputs(got[None], wanted[None], rows, what=what)
        demand(comparison)

    def long(self, steps: int) -> int:
        """Hold one lane, with its state carried all the way, against the same of the model."""
        pieces = material(self.run, torch.Generator().manual_seed(0))
        state: State | None = None
        exact_state: State | None = None
        asked = False
        seen: list[Tensor] = []
        self.runner.begin(1)
        for start in range(0, steps, _CHUNK):
            inputs = take(pieces, min(_CHUNK, steps - start))[None]
            present = torch.ones(inputs.shape[:2], dtype=torch.bool)
            outputs = self.runner.run(inputs, present, torch.zeros_like(present))
            wanted, state = self.run.model(inputs, state)
            length, what = torch.tensor([inputs.shape[1]]), "outputs of a long run"
            if not asked and close(outputs, wanted, length):
                self.comparison.outputs(outputs, wanted, length, start=start, what=what)
                seen.append(inputs)
                continue
            if not asked and seen:
                _, exact_state = self.rounding.exact(torch.cat(seen, dim=1))
            asked = True
            exact, exact_state = self.rounding.exact(inputs, exact_state)
            three = (outputs, wanted, exact)
            self.rounding.judge(self.comparison, three, length, start, what)
            demand(self.comparison)
        return steps

    def _hold_states(self, wanted: Mapping[str, Tensor], lengths: Tensor, how: str) -> None:
        for name, leaf in self.runner.state().items():
            self.comparison.leaf(name, leaf, wanted[name], lengths, how=how)


def drawn_batch(run: Run, lanes: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs (B, T, ...) of lanes, their lengths (B,) and resets (B, T), drawn anew."""
    generator = torch.Generator().manual_seed(lanes)
    pieces = material(run, generator)
    inputs = torch.stack([take(pieces, length) for _ in range(lanes)])
    lengths = torch.randint(1, length + 1, (lanes,), generator=generator)
    lengths[0] = length
    present = torch.arange(length) < lengths[:, None]
    resets = (torch.rand(lanes, length, generator=generator) < 0.05) & present
    return inputs, lengths, resets


def material(run: Run, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield pieces of what was recorded, for ever: in another order, and some of them altered."""
    inputs, lengths = run.parity["inputs"], run.parity["lengths"]

    def draw(most: int) -> int:
        return int(torch.randint(most, (1,), generator=generator))

    while True:
        lane = draw(len(inputs))
        length = int(lengths[lane])
        start = draw(length)
        piece = inputs[lane, start : min(start + 1 + draw(_PIECE), length)].clone()
        altered = torch.rand(len(piece), generator=generator) < 0.1
        if piece.is_floating_point():
            noise = torch.randn(piece.shape, generator=generator)
            piece = piece + noise * altered[:, None]
        else:
            symbols = int(run.config.model.symbols or 1)
            drawn = torch.randint(symbols, piece.shape, generator=generator)
            piece = torch.where(altered, drawn, piece)
        yield piece


def take(pieces: Iterator[Tensor], steps: int) -> Tensor:
    """Return so many steps (T, ...) of pieces."""
    found, count = [], 0
    while count < steps:
        found.append(next(pieces))
        count += len(found[-1])
    return torch.cat(found)[:steps]


def demand(comparison: Comparison, of: str = "the run") -> None:
    """Raise what a comparison found.

    Raises:
        MismatchError: it found something.
    """
    if comparison.passed:
        return
    where = ""
    if comparison.place is not None:
        lane, step = comparison.place
        where = f" first at step {step} of lane {lane}"
    how = f" to {comparison.tolerance:.0e}" if comparison.tolerance else ", bit by bit"
    raise MismatchError(
        f"expected the numbers of {of}{how}, got {comparison.finding}"
        f"{where}, by {comparison.largest:.1e}; nothing was exported"
    )
