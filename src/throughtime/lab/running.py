"""Running experiments: seeds side by side on the cores, or all alone where time counts."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

from throughtime.errors import OptionError, ThroughtimeError
from throughtime.lab.experiment import SEEDS, Experiment, Outcome, Value
from throughtime.lab.experiments import find
from throughtime.lab.result import Result


class Progress(NamedTuple):
    """A seed that was finished: of which experiment, and how many of all are."""

    name: str
    seed: int
    done: int
    planned: int


class _Run(NamedTuple):
    outcome: Outcome
    began: float
    ended: float


Show = Callable[[Progress], None]


def run(
    names: Sequence[str],
    *,
    knobs: Mapping[str, Value] | None = None,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    show: Show = lambda progress: None,
) -> Iterator[Result]:
    """Run experiments and yield each as it comes; those that measure time come last.

    Args:
        names: of experiments.
        knobs: values, of one experiment alone; defaults for the rest.
        seeds: what each is run with.
        jobs: seeds that run side by side, on one thread each; one for each core when None.
        show: told of each seed that is finished.

    Raises:
        OptionError: when there is no such experiment or knob, or knobs are given for several.
        ThroughtimeError: when one experiment was asked for and can't be run.
    """
    chosen = [find(name) for name in names]
    if knobs and len(chosen) > 1:
        raise OptionError(
            f"expected one experiment to turn {', '.join(knobs)} of, got {len(chosen)}; name it"
        )
    planned = len(chosen) * len(seeds)
    done = 0
    for alone in (False, True):
        group = [experiment for experiment in chosen if experiment.alone == alone]
        if not group:
            continue
        workers = 1 if alone else min(jobs or os.cpu_count() or 1, len(group) * len(seeds))
        pool = ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_begin, initargs=(alone,)
        )
        try:
            for result in _together(group, knobs or {}, seeds, pool, done, planned, show):
                if result.failure and len(chosen) == 1:
                    raise ThroughtimeError(result.failure)
                yield result
        finally:
            # After Ctrl-C what has begun is not waited for. Python 3.14 has a word for this.
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)
        done += len(group) * len(seeds)


def _together(
    group: Sequence[Experiment],
    knobs: Mapping[str, Value],
    seeds: Sequence[int],
    pool: ProcessPoolExecutor,
    done: int,
    planned: int,
    show: Show,
) -> Iterator[Result]:
    """Run the seeds of experiments in a pool."""
    settings = {experiment.name: experiment.settings(knobs) for experiment in group}
    asked: dict[Future[_Run], tuple[str, int]] = {
        pool.submit(_measure, name, seed, given): (name, seed)
        for name, given in settings.items()
        for seed in seeds
    }
    runs: dict[str, dict[int, _Run]] = {name: {} for name in settings}
    failed: set[str] = set()
    for future in as_completed(asked):
        name, seed = asked[future]
        done += 1
        show(Progress(name, seed, done, planned))
        try:
            runs[name][seed] = future.result()
        except ThroughtimeError as error:
            if name not in failed:
                failed.add(name)
                yield Result(name, settings[name], (), (), 0.0, str(error))
        if len(runs[name]) == len(seeds):
            yield _joined(name, settings[name], seeds, runs[name])


def _joined(
    name: str, knobs: dict[str, Value], seeds: Sequence[int], runs: Mapping[int, _Run]
) -> Result:
    began = min(each.began for each in runs.values())
    ended = max(each.ended for each in runs.values())
    outcomes = tuple(runs[seed].outcome for seed in seeds)
    return Result(name, knobs, tuple(seeds), outcomes, ended - began)


def _begin(alone: bool) -> None:
    """Take one thread where others run beside, for these are small; all threads if not."""
    import torch

    # Ctrl-C is for the process that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not alone:
        torch.set_num_threads(1)


def _measure(name: str, seed: int, knobs: Mapping[str, Value]) -> _Run:
    # Clocks of several processes agree on this time alone.
    began = time.time()
    outcome = find(name).run(seed, **knobs)
    return _Run(outcome, began, time.time())
