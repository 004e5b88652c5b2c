"""The bench as a whole: which cases, in how many processes, and what is kept when it is stopped."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from throughtime.bench.case import Case
from throughtime.bench.child import answers
from throughtime.bench.figure import Figure, over_processes
from throughtime.bench.machine import describe
from throughtime.bench.measure import Unavailable
from throughtime.bench.parts import chosen, effort_of
from throughtime.bench.report import Report
from throughtime.errors import OptionError

PROCESSES = 3
"""In how many processes a figure is measured, unless quick or said otherwise."""
QUICK_SHARE = 0.25
"""Of the usual seconds of a case, when quick."""


class Progress(NamedTuple):
    """Where a bench is.

    Attributes:
        share: what is done, 0 to 1.
        seconds_left: about how long the rest takes; by what is usual on two cores at first, then
            by what this machine took.
        title: what is measured next; empty at the end.
    """

    share: float
    seconds_left: float
    title: str


def run(
    parts: Sequence[str] = (),
    *,
    layers: Sequence[str] = (),
    quick: bool = False,
    processes: int | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Report:
    """Measure this library beside its peers, on this machine.

    Ours and the peer are run in turn in one process, with the same weights, inputs and number of
    threads (that of torch); medians are compared, and outputs and gradients must be the same.
    Ctrl-C, a `KeyboardInterrupt`, ends the bench early and keeps what was measured.

    Args:
        parts: names among `PARTS`; all of them when empty.
        layers: gru, rnn, lstm; everything when empty.
        quick: fewer repetitions, without what takes long.
        processes: how many processes measure each figure, of which the median is taken; with 1 it
            is this one. None stands for 3, or 1 when quick.
        show: is told before each case where the bench is.

    Returns:
        The figures, with bars where something is asked of them.

    Raises:
        OptionError: for an unknown part or layer, or fewer than one process.
    """
    if processes is None:
        processes = 1 if quick else PROCESSES
    if processes < 1:
        raise OptionError(f"expected 1 process or more, got {processes}")
    cases = chosen(parts, layers, quick=quick)
    results = _results(cases, parts, layers, quick=quick, processes=processes)
    turns = _turns(cases, processes)
    usual = [case.seconds * (QUICK_SHARE if quick else 1.0) for case in turns]
    found: dict[str, list[Figure]] = {}
    began = time.perf_counter()
    interrupted = False
    try:
        with closing(results):
            for place, case in enumerate(turns):
                if show is not None:
                    show(progress(usual, place, time.perf_counter() - began, case.title))
                for figure in next(results):
                    found.setdefault(figure.name, []).append(figure)
    except KeyboardInterrupt:
        interrupted = True
    return Report(
        figures=tuple(over_processes(same) for same in found.values()),
        machine=describe(),
        quick=quick,
        processes=processes,
        seconds=time.perf_counter() - began,
        planned=sum(len(case.plan) for case in cases),
        interrupted=interrupted,
    )


def progress(usual: Sequence[float], place: int, taken: float, title: str) -> Progress:
    """Return where a bench is, by what each of its turns usually takes.

    Args:
        usual: seconds of each turn on another machine.
        place: the turn that is next.
        taken: seconds until now.
        title: of the turn that is next.

    Example:
        >>> progress([5.0, 5.0, 10.0], 1, 10.0, "train")
        Progress(share=0.25, seconds_left=30.0, title='train')
    """
    done, whole = sum(usual[:place]), sum(usual)
    slower = taken / done if done else 1.0
    return Progress(done / whole, (whole - done) * slower, title)


def _turns(cases: Sequence[Case], processes: int) -> list[Case]:
    shared, once = _split(cases)
    return shared * processes + once


def _results(
    cases: Sequence[Case],
    parts: Sequence[str],
    layers: Sequence[str],
    *,
    quick: bool,
    processes: int,
) -> Generator[list[Figure], None, None]:
    """Yield the figures of each turn."""
    effort = effort_of(quick=quick)
    shared, once = _split(cases)
    if processes == 1 or not shared:
        for case in shared:
            yield case.run(effort)
    else:
        job = {"job": "figures", "parts": list(parts), "layers": list(layers), "quick": quick}
        for _ in range(processes):
            yield from _of_one_process(shared, job)
    for case in once:
        yield case.run(effort)


def _of_one_process(cases: Sequence[Case], job: dict[str, Any]) -> Iterator[list[Figure]]:
    done = 0
    try:
        for answer in answers(job):
            yield [Figure.from_json(content) for content in answer]
            done += 1
    except Unavailable as error:
        # A process that broke off is a defect of what it measured, whatever others say.
        for case in cases[done:]:
            yield [figure.without(str(error), wrong=True) for figure in case.plan]


def _split(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    return [case for case in cases if not case.once], [case for case in cases if case.once]
