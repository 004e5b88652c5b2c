"""The linter: everything that is looked for in a model, in order, and in a trained run of ours."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.errors import OptionError
from throughtime.inspect.context import draw_windows, longest_context
from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.carrying import find_kept_graph, find_kept_state, findings_of
from throughtime.inspect.lint.causality import find_future
from throughtime.inspect.lint.findings import Finding, LintReport, Skipped, in_order
from throughtime.inspect.lint.keeping import is_lazy, random_numbers_kept
from throughtime.inspect.lint.lags import input_gradients
from throughtime.inspect.lint.memory import (
    ASSUMED_AT_MOST,
    Measured,
    Need,
    find_exponents,
    find_forgetting,
    measure,
)
from throughtime.inspect.lint.mixing import find_leak, find_swapped, find_unbatched
from throughtime.inspect.lint.noise import Noise, find_noise
from throughtime.inspect.lint.observing import observe
from throughtime.inspect.lint.padding import find_padding
from throughtime.inspect.lint.probing import Probe, Refused
from throughtime.inspect.lint.training import Trained, find_unclipped, train
from throughtime.run import Run

TrainStep = Callable[[Any], Any]
Result = TypeVar("Result")

_LANES = 8
"""Windows of its data that a run is looked at on."""
_LONGEST = 256
"""Steps of such a window at most."""

_OF_AXES = (
    names.BATCH_AND_TIME_SWAPPED,
    names.UNBATCHED_INPUT,
    names.SAMPLES_LEAK,
    names.PADDING_CHANGES_RESULTS,
    names.READ_OUT_OF_PADDING,
    names.NOT_CAUSAL,
)
_OF_PADDING = (names.PADDING_CHANGES_RESULTS, names.READ_OUT_OF_PADDING)
_OF_CARRYING = (names.STATE_REUSED, names.STATE_NOT_DETACHED)
_OF_TRAINING = (names.STATE_NOT_DETACHED, names.NO_CLIPPING)
_OF_MEMORY = (names.FORGET_BIAS_NEAR_ZERO, names.LYAPUNOV_FAR_FROM_ZERO)


def lint(
    model: nn.Module,
    batch: Any,
    train_step: TrainStep | None = None,
    *,
    lengths: Tensor | None = None,
    stream: bool = False,
    memory: int | None = None,
) -> LintReport:
    """Look for the twelve faults that sequence models have without an error being raised.

    Each is measured: the model is run on changed inputs, in evaluation mode, and what changes in
    its outputs is looked at. Afterwards it is as it was, in weights, buffers, attributes, modes,
    gradients and random numbers. The page "Lint" of the documentation has the table.

    Shape letters: B samples, T steps, F features, D outputs.

    Args:
        model: any module: ours, `nn.LSTM` and the like alone, or one of your own.
        batch: what it is called with: x, (x, ...) or {name: x, ...}. The first tensor is x,
            (B, T, F) numbers or (B, T) symbols as you mean it. The first tensor that the model
            returns, a loss apart, is its output, (B, D) or (B, T, D).
        train_step: one training step as you do it, forward, backward and optimiser, on a batch of
            the same form; called four times on batches with the samples in other places.
        lengths: (B,) of a padded batch, where no argument of the model is called so.
        stream: whether the model will be run on arriving data, a step at a time.
        memory: steps back that the task needs. When None the batch's T is taken, and only what
            can't work at all is reported.

    Returns:
        The findings, and what could not be looked for.

    Raises:
        OptionError: when the batch has no tensor or an empty one, or the model can't be run on it
            or gives nothing there but NaN and infinities.

    Example:
        >>> layer = nn.LSTM(3, 8)  # without batch_first=True
        >>> report = lint(layer, torch.randn(4, 20, 3))
        >>> [finding.name for finding in report.findings]
        ['batch-and-time-swapped']
    """
    return _lint(model, batch, train_step, lengths, stream, memory)


def lint_run(run: Run, data: Any = None) -> LintReport:
    """Look for the same in a trained run of ours, on its validation part.

    Its model is taken to be run on a stream. Of memory it is asked what its training windows
    showed it: their length.

    Args:
        run: the run.
        data: a path, a frame or `demo:NAME`; the data the run was trained on when None.

    Raises:
        DataError: when the data can't be read as the training data was, or is too short.
        OptionError: when no data is given and the run was trained on a frame.
    """
    task = run.task
    examples = task.examples(task.read(run.given(data, "lint")), "validation")
    window = int(run.config.training.get("steps", _LONGEST))
    steps = max(min(window, _LONGEST, longest_context(examples)), 1)
    inputs, _ = draw_windows(examples, steps, _LANES, np.random.default_rng(0))
    x = torch.from_numpy(inputs)
    lengths = torch.full((len(x),), steps)
    lengths[::2] = max(steps - steps // 3, 1)
    report = _lint(run.model, {"inputs": x, "lengths": lengths}, None, None, True, None)
    of_training = "a run is trained already, with its states cut and its gradients clipped"
    skipped = [
        Skipped(each.name, of_training) if each.name in _OF_TRAINING else each
        for each in report.skipped
    ]
    return in_order(list(report.findings), skipped)


def _lint(
    model: nn.Module,
    batch: Any,
    train_step: TrainStep | None,
    lengths: Tensor | None,
    stream: bool,
    memory: int | None,
) -> LintReport:
    if memory is not None and memory < 1:
        raise OptionError(f"expected memory of 1 step or more, got {memory}")
    if any(is_lazy(each) for each in model.parameters()):
        raise OptionError("expected a model with weights, got a lazy one; call it on a batch once")
    with random_numbers_kept(), torch.enable_grad():
        probe = Probe(model, batch, lengths)
        try:
            probe.start()
            return _Linter(probe, train_step, stream, memory).report()
        finally:
            probe.kept.put_back()


class _Linter:
    """One lint: what was found so far, and what could not be looked for."""

    def __init__(
        self, probe: Probe, train_step: TrainStep | None, stream: bool, memory: int | None
    ) -> None:
        self.probe = probe
        self.train_step = train_step
        self.stream = stream
        self.memory = memory
        self.findings: list[Finding] = []
        self.skipped: list[Skipped] = []

    def report(self) -> LintReport:
        noise = self.attempt((names.NOISE_IN_EVALUATION,), lambda: Noise(self.probe))
        measured: list[Measured] = []
        if noise is not None:
            self.findings += find_noise(self.probe, noise)
        if noise is not None and not noise.seeded:
            unsteady = "two runs from the same seed differ"
            self.skip((*_OF_AXES, names.STATE_REUSED, *_OF_MEMORY), unsteady)
        elif self.look_at_axes():
            measured = self.look_at_memory()
        else:
            self.skip(_OF_MEMORY, "the axes of the batch are read otherwise than meant")
        steady = noise is not None and noise.seeded
        self.look_at_training(measured, steady=steady)
        return in_order(self.findings, self.skipped)

    def look_at_axes(self) -> bool:
        """Look for what depends on samples and steps; return whether both are where they belong."""
        probe = self.probe
        wrong = self.attempt((names.UNBATCHED_INPUT,), lambda: find_unbatched(probe))
        if not wrong:
            self.attempt((names.BATCH_AND_TIME_SWAPPED,), self._find_time)
            if probe.steps is None:
                self.skip((names.BATCH_AND_TIME_SWAPPED,), "x without steps")
            wrong = self.attempt((names.BATCH_AND_TIME_SWAPPED,), lambda: find_swapped(probe))
        if not wrong:
            leaks = self.attempt((names.SAMPLES_LEAK,), lambda: find_leak(probe)) or []
            self.findings += leaks
            wrong = [each for each in leaks if each.name == names.BATCH_AND_TIME_SWAPPED]
        else:
            self.findings += wrong
            self.skip((names.SAMPLES_LEAK,), "the axes of the batch are read otherwise than meant")
        if wrong:
            after = (*_OF_PADDING, names.NOT_CAUSAL)
            self.skip(after, "the axes of the batch are read otherwise than meant")
            return False
        padding = self.attempt(_OF_PADDING, lambda: find_padding(probe))
        if padding is not None:
            self.findings += padding[0]
            if not padding[0]:
                for reason in padding[1]:
                    self.skip(_OF_PADDING, reason)
        if self.stream:
            self.findings += self.attempt((names.NOT_CAUSAL,), lambda: find_future(probe)) or []
        else:
            self.skip((names.NOT_CAUSAL,), "stream=True was not given")
        return True

    def _find_time(self) -> None:
        """Take axis 1 of (B, T) numbers for time where the model reads it so."""
        probe = self.probe
        if probe.steps is None and probe.x.dim() == 2:
            sizes = tuple(probe.x.shape)
            read_so = any(each.x.shape[:2] == sizes for each in observe(probe, probe.x))
            if read_so or tuple(probe.y.shape[:2]) == sizes:
                probe.as_time()

    def look_at_memory(self) -> list[Measured]:
        """Look at biases and exponents of the recurrent modules that are called."""
        probe = self.probe
        found = self.attempt(_OF_MEMORY, lambda: measure(observe(probe, probe.x)))
        if found is None:
            return []
        measured, missed = found
        for reason in missed:
            self.skip(_OF_MEMORY, reason)
        if not measured and not missed:
            self.skip(_OF_MEMORY, "no recurrent module whose steps could be seen")
        if probe.steps is None and self.memory is None:
            self.skip(_OF_MEMORY, "x without steps, and no memory was given")
            return measured
        window = probe.steps or 1
        need = Need(self.memory or min(window, ASSUMED_AT_MOST), self.memory is not None)
        self.findings += find_exponents(measured, need, window)
        self.findings += find_forgetting(measured, need)
        return measured

    def look_at_training(self, measured: list[Measured], *, steady: bool) -> None:
        """Look at what goes from one batch into the next, and at what reaches the optimiser."""
        probe = self.probe
        kept = None
        if steady:
            kept = self.attempt((names.STATE_REUSED,), lambda: find_kept_state(probe))
        seen: Trained | None = None
        if self.train_step is None:
            self.findings += (
                self.attempt((names.STATE_NOT_DETACHED,), lambda: find_kept_graph(probe)) or []
            )
            self.skip(_OF_TRAINING, "no train_step was given")
            if not self.stream:
                self.skip((names.STATE_REUSED,), "no train_step was given")
        else:
            step, places = self.train_step, [] if kept is None else kept.places
            seen = self.attempt(
                (*_OF_CARRYING, names.NO_CLIPPING), lambda: train(probe, step, places)
            )
        found = [] if seen is None else findings_of(seen.carried, seen.error, stream=self.stream)
        # A training step that begins its batches afresh has taken care of a state in the model.
        afresh = seen is not None and seen.steps > 1 and seen.carried.called
        if kept is not None and not afresh and not self.stream:
            found = [each for each in found if each.name != names.STATE_REUSED] + [kept.finding]
        self.findings += found
        if self.stream:
            self.skip((names.STATE_REUSED,), "with stream=True a state that goes on is meant")
        if seen is not None:
            self._look_at_norms(seen, measured)

    def _look_at_norms(self, seen: Trained, measured: list[Measured]) -> None:
        if seen.error is not None:
            message = " ".join(str(seen.error).split())[:120]
            reason = f"train_step raised {type(seen.error).__name__}: {message}"
            self.skip((*_OF_CARRYING, names.NO_CLIPPING), reason)
        elif not seen.carried.called:
            self.skip(_OF_CARRYING, "train_step did not call the model")
        if not seen.norms and seen.error is None:
            self.skip((names.NO_CLIPPING,), "no optimiser of the model's weights made a step")
        if not seen.norms:
            return
        growth = self.attempt((names.NO_CLIPPING,), lambda: self._growth(measured))
        self.findings += find_unclipped(seen, self.probe, growth or 1.0)

    def _growth(self, measured: list[Measured]) -> float:
        """Return how much larger a gradient gets on its way back through the batch's steps."""
        known = [each.exponent for each in measured if math.isfinite(each.exponent)]
        if known:
            return math.exp(min(max(known) * (self.probe.steps or 1), 600.0))
        norms = input_gradients(self.probe)
        if norms is None or not (norms > 0).any():
            return 1.0
        there = norms[norms > 0]
        return float(there.max() / there[-1])

    def attempt(self, looked_for: tuple[str, ...], function: Callable[[], Result]) -> Result | None:
        """Return what a measurement finds, or None and note why it could not be made."""
        try:
            return function()
        except Refused as error:
            self.skip(looked_for, str(error))
        except Exception as error:
            # Whatever an odd module does, the other findings are still to be looked for.
            message = " ".join(str(error).split())[:160]
            self.skip(looked_for, f"it could not be measured ({type(error).__name__}: {message})")
        return None

    def skip(self, looked_for: tuple[str, ...], reason: str) -> None:
        """Note that something could not be looked for."""
        self.skipped += [Skipped(name, reason) for name in looked_for]
