"""Cells side by side, each in a process of its own on one thread."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from typing import NamedTuple

import torch

from benchmarks.battery.cells import Cell
from benchmarks.battery.tasks import TASKS
from benchmarks.battery.train import Budget, Result, run


class Work(NamedTuple):
    """A cell and how much of it is run.

    Attributes:
        cell: what is trained on what.
        budget: how long.
        tested: T at most of its evaluation sets; None for the task's own.
    """

    cell: Cell
    budget: Budget
    tested: int | None


def run_cell(work: Work) -> tuple[Cell, Result]:
    """Run a cell here."""
    cell = work.cell
    task = TASKS[cell.task]
    if work.tested is not None:
        task = task.shorter(work.tested)
    return cell, run(task, cell.layer, cell.options, seed=cell.seed, budget=work.budget)


def run_all(work: Sequence[Work], jobs: int) -> Iterator[tuple[Cell, Result]]:
    """Run cells, so many at a time, and yield each as it comes; at Ctrl-C the others end."""
    if jobs == 1 or len(work) < 2:
        yield from map(run_cell, work)
        return
    # Fresh processes: torch's threads do not survive a fork. One that dies is an error here.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin)
    try:
        running = [pool.submit(run_cell, each) for each in work]
        for each in as_completed(running):
            yield each.result()
    finally:
        for child in active_children():
            child.terminate()
        # Waited for, so that no thread of the pool is left to end after what it reads from.
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    # Ctrl-C is for the process that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
