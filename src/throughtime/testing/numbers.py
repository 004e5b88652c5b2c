"""Law 8: float32 against float64, bfloat16 autocast, gradients in eval mode, export."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.errors import LawBrokenError
from throughtime.recurrent import Recurrent
from throughtime.state import State
from throughtime.testing.precision import coarseness, parameters_in
from throughtime.testing.report import Tolerance
from throughtime.testing.runs import Run, Runner

COARSE = 1e-5
"""Noise in the fourth difference above this is far more than float32 makes (about 5e-7)."""

AUTOCAST = Tolerance(2e-2, 5e-2)
DRAWS = 3


def check_resolution(run: Runner, lanes: int) -> None:
    """The maths inside is not coarser than float32, in `forward` and in `step`."""
    state, x = run.reached(lanes), run.sequences(lanes, 3)

    def whole(x: Tensor) -> Tensor:
        return _joined(*run.forward(8, x, state))

    def single(x: Tensor) -> Tensor:
        return _joined(*run.step(8, x, state))

    with torch.no_grad():
        noise = {"forward": coarseness(whole, x, 3e-3)}
        if run.layer.streamable:
            noise["step"] = coarseness(single, x[:, 0], 3e-3)
    for name, amount in noise.items():
        run.ledger.require(
            8,
            not amount > COARSE,
            f"{name} {run.mode} rounds to steps of about {amount:.0e} on the way (limit "
            f"{COARSE:.0e}); compute and keep state in float32 at least",
        )


def check_gradients_flow(run: Runner, x: Tensor, state: State) -> None:
    """Outputs carry gradients back, in eval mode as in training mode."""
    layer, training = run.layer, run.layer.training
    mend = "gradients must work in eval mode; no_grad is the caller's choice"
    runs: dict[bool, Run] = {}
    for mode in (True, False):
        layer.train(mode)
        y, _ = run.forward(8, x.detach().clone().requires_grad_(), state)
        carries = y.requires_grad or not y.numel()
        run.ledger.require(8, carries, f"the output of forward {run.mode} has no graph; {mend}")
        runs[mode] = run.measure(8, "forward", x, state)
    wanted = run.measure(8, run.oracle, x, state)
    when = "of forward, held against the specification,"
    run.same(8, runs[False], wanted, when, "forward must compute in eval mode what step does")
    # Where nothing is random, the two modes compute the same and have the same gradients.
    apart = (runs[True].y - runs[False].y).abs().max() if x.numel() else torch.zeros(())
    if apart <= run.tolerance.values:
        run.same(8, runs[False], runs[True], "of forward, held against training mode,", mend)
    layer.train(training)


def check_precisions(
    layer: Recurrent,
    run: Runner,
    tolerance: Tolerance,
    sizes: tuple[int, int],
    lengths: Tensor,
    resets: Tensor,
) -> None:
    """Float32, and bfloat16 autocast, against the specification in float64.

    A kink (relu) that rounding pushes over changes gradients by more than rounding does, so a check
    may fail for one input by bad luck; a fault fails for each of several.
    """
    for draw in range(DRAWS):
        x, state, wanted = _reference(layer, run, sizes, lengths, resets)
        try:
            _check_float32(layer, run, tolerance, (x, state, wanted), lengths, resets)
            if run.dtype == torch.float64:
                _check_autocast(layer, run, (x, state, wanted), lengths, resets)
        except LawBrokenError:
            if draw == DRAWS - 1:
                raise
        else:
            return
