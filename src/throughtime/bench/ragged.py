"""Part `ragged`: what lengths and resets cost, against our own dense time and PackedSequence."""

import statistics

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime import kernels
from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.measure import Effort, agree, drawn, interleave
from throughtime.bench.pairs import FLOAT32, OURS, PEERS, Size, Training, as_text, pair

DENSE: Size = (32, 256, 64, 128)
PACKED: Size = (32, 1000, 64, 64)
RESETS = 0.01
"""Share of steps that start afresh."""
ASKED_OF_LENGTHS, ASKED_OF_RESETS = 0.7, 1.1
"""Shares of our own dense time."""
ASKED_OF_PACKED = {"gru": 20.0, "lstm": 30.0}


def cases(*, quick: bool) -> list[Case]:
    """Return lengths and resets of each layer; PackedSequence takes too long to be quick."""
    listed = []
    for name, bar in ASKED_OF_PACKED.items():
        against_dense = tuple(
            Figure(
                part="ragged",
                layer=name,
                case=f"{what} {as_text(DENSE)}",
                peer=f"{OURS[name]} dense",
                unit="ms",
                reads="share",
                asked=(Bar("ratio", "at most", most),),
                size=DENSE,
            )
            for what, most in (
                ("lengths 1..T", ASKED_OF_LENGTHS),
                ("resets 1 %", ASKED_OF_RESETS),
            )
        )
        listed.append(Case(against_dense, _measure_dense, 5.0))
        if quick:
            continue
        against_packed = Figure(
            part="ragged",
            layer=name,
            case=f"lengths 1..T {as_text(PACKED)}",
            peer=f"{PEERS[name]} PackedSequence",
            unit="ms",
            asked=(Bar("ratio", "at least", bar),),
            size=PACKED,
        )
        listed.append(Case((against_packed,), _measure_packed, 12.0))
    return listed


def uniform_lengths(lanes: int, steps: int) -> Tensor:
    """Return (B,) lengths spread evenly over 1 to T, in no order.

    Example:
        >>> sorted(uniform_lengths(4, 10).tolist())
        [1, 4, 7, 10]
    """
    order = torch.randperm(lanes, generator=torch.Generator().manual_seed(3))
    return torch.linspace(1, steps, lanes).round().to(torch.int64)[order]


def _measure_dense(plan: Plan, effort: Effort) -> list[Figure]:
    with_lengths, with_resets = plan
    lanes, steps, features, units = with_lengths.size
    layer, _ = pair(with_lengths.layer, features, units)
    x, weighting = drawn(lanes, steps, features, seed=1), drawn(lanes, steps, units, seed=2)
    chance = torch.rand(lanes, steps, generator=torch.Generator().manual_seed(4))
    lengths, resets = uniform_lengths(lanes, steps), chance < RESETS
    ways = {
        "dense": Training(lambda x: layer(x)[0], layer, x, weighting),
        "lengths": Training(lambda x: layer(x, lengths=lengths)[0], layer, x, weighting),
        "resets": Training(lambda x: layer(x, resets=resets)[0], layer, x, weighting),
    }
    times = interleave({name: training.way for name, training in ways.items()}, effort)
    taken = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    # torch.nn has no resets, so the fold of `step` says what is right.
    apart = {}
    for name in ("lengths", "resets"):
        fast = _once(ways[name])
        with kernels.use("reference"):
            apart[name] = agree(fast, _once(ways[name]), FLOAT32)
    return [
        figure.measured(taken[name], taken["dense"], difference=apart[name], backend=layer.backend)
        for figure, name in ((with_lengths, "lengths"), (with_resets, "resets"))
    ]


def _measure_packed(plan: Plan, effort: Effort) -> list[Figure]:
    (figure,) = plan
    lanes, steps, features, units = figure.size
    layer, peer = pair(figure.layer, features, units)
    x, weighting = drawn(lanes, steps, features, seed=1), drawn(lanes, steps, units, seed=2)
    lengths = uniform_lengths(lanes, steps)

    def packed(x: Tensor) -> Tensor:
        sequences = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = peer(sequences)
        padded, _ = pad_packed_sequence(y, batch_first=True, total_length=steps)
        return padded

    ours = Training(lambda x: layer(x, lengths=lengths)[0], layer, x, weighting)
    theirs = Training(packed, peer, x, weighting)
    # The peer takes seconds: warming it up would only make the bench longer.
    few = effort._replace(rounds=(1, effort.rounds[1]), warm=False)
    ours()
    times = interleave({"ours": ours.way, "theirs": theirs.way}, few)
    apart = agree(ours.results(), theirs.results(), FLOAT32)
    return [
        figure.measured(
            1e3 * statistics.median(times["ours"]),
            1e3 * statistics.median(times["theirs"]),
            difference=apart,
            backend=layer.backend,
        )
    ]


def _once(training: Training) -> dict[str, Tensor]:
    """Run a training step; its gradients are kept from the next one's."""
    training.clear()
    training()
    return training.results()
