"""Whether a model runs here as it ran when it was trained, by what was recorded then.

Differences are relative: |a - b| / (1 + |b|); up to 1e-5 two ways of running agree.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from throughtime.errors import BundleError, ThroughtimeError
from throughtime.formats import plain
from throughtime.runtime.layer import Array
from throughtime.runtime.model import Network

TOLERANCE = 1e-5


class ParityError(ThroughtimeError, AssertionError):
    """A model gives other numbers here than those that were recorded when it was trained."""


class Verified(NamedTuple):
    """What was compared, and how far it lay apart.

    Attributes:
        steps: steps of the model that were compared, of all lanes together.
        rows: steps of raw data whose answers were compared.
        largest: the largest relative difference.
    """

    steps: int
    rows: int
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.steps} steps and {self.rows} steps of raw data agree with what was "
            f"recorded at training, to {self.largest:.1e} of {TOLERANCE:.0e}"
        )


def verify(
    network: Network, task: Any, parity: Mapping[str, Array], description: bytes
) -> Verified:
    """Run what was recorded and compare.

    Args:
        network: the model.
        task: of the run.
        parity: what was recorded, by name.
        description: SHA-256 of the task as it is now.

    Raises:
        ParityError: naming the first step that lies too far apart.
        BundleError: what should have been recorded is not there, or is of other shapes.
    """
    inputs, lengths, wanted = (_recorded(parity, name) for name in ("inputs", "lengths", "outputs"))
    lanes, steps = _check_shapes(network, inputs, lengths, wanted)
    state = network.initial_state(lanes)
    largest = 0.0
    for t in range(steps):
        outputs, after = network.step(inputs[:, t], state)
        there = t < lengths
        state = {
            name: np.where(there.reshape(-1, *[1] * (old.ndim - 1)), after[name], old)
            for name, old in state.items()
        }
        apart = difference(outputs, wanted[:, t]).max(axis=1)[there]
        largest = max(largest, _largest(apart))
        _hold(apart, f"outputs of step {t} of lane", np.flatnonzero(there))
    for name, leaf in state.items():
        recorded = _recorded(parity, f"state.{name}")
        if recorded.shape != leaf.shape:
            raise _misfit(f"state.{name}", leaf.shape, recorded.shape)
        apart = difference(leaf, recorded).reshape(lanes, -1)
        each = apart.max(axis=1, initial=0.0)
        largest = max(largest, _largest(each))
        _hold(each, f"end state {name} of lane", np.arange(lanes))
    rows, route = _verify_route(network, task, parity)
    if _recorded(parity, "description").tobytes() != description:
        raise ParityError(
            "expected the task that the model was trained for, got one whose scaler, format, "
            "options or vocabulary was altered; restore config.json, or train again"
        )
    return Verified(int(lengths.sum()), rows, max(largest, route))


def digest(description: dict[str, Any], vocabulary: dict[str, Any] | None) -> bytes:
    """Return the SHA-256 of a task as `config.json` and `vocabulary.json` have it."""
    content = json.dumps([description, vocabulary], sort_keys=True).encode()
    return hashlib.sha256(content).digest()


def difference(got: Array, wanted: Array) -> Array:
    """Return |a - b| / (1 + |b|), elementwise; whole numbers that differ are at least 1 apart.

    Two NaN or two equal infinities do not differ; NaN against a number differs by infinity.
    """
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b) / (1 + np.abs(b))
    if got.dtype.kind != "f" and wanted.dtype.kind != "f":
        apart = np.maximum(apart, 1)
    apart = np.where((got == wanted) | (np.isnan(a) & np.isnan(b)), 0.0, apart)
    result: Array = np.where(np.isnan(apart), np.inf, apart)
    return result


def _verify_route(network: Network, task: Any, parity: Mapping[str, Array]) -> tuple[int, float]:
    """Compare what task and model make of raw data; return its steps and the largest difference."""
    sample = _under(parity, "data.")
    wanted = _under(parity, "answer.")
    if not sample or not wanted:
        raise BundleError("expected data.* and answer.* in parity.safetensors, got none")
    try:
        got = task.answer(network, sample)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(
            "expected data.* in parity.safetensors as a run of this task records it, got other "
            f"({plain(str(error), longest=120)}); restore the file, or train again"
        ) from None
    if got.keys() != wanted.keys():
        raise BundleError(
            f"expected {', '.join(got)} under answer. in parity.safetensors, got "
            f"{plain(', '.join(wanted), longest=200)}; restore the file, or train again"
        )
    largest = 0.0
    for name, answer in got.items():
        recorded = wanted[name]
        if recorded.shape != answer.shape:
            raise _misfit(f"answer.{name}", answer.shape, recorded.shape)
        apart = difference(*_in_one_unit(answer, recorded)).reshape(len(answer), -1)
        each = apart.max(axis=1, initial=0.0)
        largest = max(largest, _largest(each))
        _hold(each, f"{name} of raw row", np.arange(len(answer)))
    return len(next(iter(got.values()))), largest


def _in_one_unit(got: Array, recorded: Array) -> tuple[Array, Array]:
    """Centre and scale both by what was recorded, so that the unit of the data plays no part."""
    known = recorded[np.isfinite(recorded)] if recorded.dtype.kind == "f" else recorded[:0]
    if not known.size:
        return got, recorded
    wide = known.astype(np.float64)
    center, spread = wide.mean(), float(wide.std()) or 1.0
    return (got - center) / spread, (recorded - center) / spread


def _check_shapes(
    network: Network, inputs: Array, lengths: Array, outputs: Array
) -> tuple[int, int]:
    """Return B and T of what was recorded, or say what does not fit."""
    rank = 2 if network.symbols is not None else 3
    if inputs.ndim != rank or not inputs.size:
        raise _misfit("inputs", "(B, T, F) or (B, T)", inputs.shape)
    lanes, steps = inputs.shape[:2]
    whole = lengths.shape == (lanes,) and lengths.dtype == np.int64
    if not whole or not ((lengths >= 0) & (lengths <= steps)).all():
        raise _misfit("lengths", f"({lanes},) of 0 to {steps}", lengths.shape)
    wanted = (lanes, steps, len(network.head.weight))
    if outputs.shape != wanted:
        raise _misfit("outputs", wanted, outputs.shape)
    return lanes, steps


def _hold(apart: Array, what: str, numbers: Array) -> None:
    """Demand that differences (n,) are small; `numbers` (n,) says what each is of."""
    wrong = np.flatnonzero(~(apart <= TOLERANCE))
    if len(wrong):
        first = int(wrong[0])
        amount = float(apart[first])
        how = "not finite where they should be" if math.isinf(amount) else f"{amount:.2g} apart"
        raise ParityError(
            f"expected {what} {int(numbers[first])} within {TOLERANCE:.0e} of those recorded at "
            f"training, relative to 1 + |value|, got {how}; the files were altered, or this "
            "machine computes otherwise"
        )


def _largest(apart: Array) -> float:
    return float(apart.max(initial=0.0))


def _under(parity: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in parity.items()
        if name.startswith(prefix)
    }


def _recorded(parity: Mapping[str, Array], name: str) -> Array:
    if name not in parity:
        raise BundleError(
            f"expected {plain(name)} in parity.safetensors, got none; restore the file, or train "
            "again"
        )
    return parity[name]


def _misfit(name: str, wanted: object, got: object) -> BundleError:
    return BundleError(
        f"expected {name} of parity.safetensors as {wanted}, got {plain(got, longest=80)}; "
        "restore the file, or train again"
    )
