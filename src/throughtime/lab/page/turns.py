"""Runs that were asked for from pages: one at a time, so that none slows another's clock."""

import asyncio
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

from nicegui import run

from throughtime import lab
from throughtime.errors import ThroughtimeError
from throughtime.lab.experiment import SEEDS, Value
from throughtime.lab.page.learner import Learner


class _Stopped(Exception):
    pass


@dataclass
class Turn:
    """A run that was asked for.

    Attributes:
        name: of the experiment.
        knobs: their values.
        begun: whether it runs; it waits for others before.
        ended: whether it is over, well or not.
        done: seeds that are finished.
        stopped: whether the learner wants no more of it.
        failure: why there is no result, empty where there is one or nothing went wrong.
    """

    name: str
    knobs: dict[str, Value]
    begun: bool = False
    ended: bool = False
    done: int = 0
    stopped: bool = False
    failure: str = ""

    async def stop(self) -> None:
        """End the run at once; what was measured of it is dropped."""
        self.stopped = True
        while self.begun and not self.ended:
            # The server has no other processes than those of the one run.
            for process in active_children():
                process.terminate()
            await asyncio.sleep(0.1)

    def note(self, progress: lab.Progress) -> None:
        """Take down a seed that is finished."""
        if self.stopped:
            raise _Stopped
        self.done = progress.done


class Turns:
    """Who runs now, and who waits."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._asked: dict[tuple[Path, str], Turn] = {}

    def find(self, learner: Learner, name: str) -> Turn | None:
        """Return the last run of an experiment that a learner asked for."""
        return self._asked.get((learner.path, name))

    async def take(self, learner: Learner, name: str, knobs: dict[str, Value]) -> None:
        """Run an experiment when its turn comes, and give the result to the learner."""
        turn = Turn(name, knobs)
        self._asked[learner.path, name] = turn
        try:
            async with self._one:
                if turn.stopped:
                    return
                turn.begun = True
                result = await run.io_bound(_measure, turn)
                if result is not None:
                    learner.add(result)
        except ThroughtimeError as error:
            turn.failure = str(error)
        except Exception:
            turn.failure = "It failed, and should not have; the terminal says how."
            raise
        finally:
            turn.ended = True

    async def stop(self) -> None:
        """End the run that is on, and let none of those that wait begin."""
        for turn in self._asked.values():
            turn.stopped = True
        for turn in self._asked.values():
            await turn.stop()


def _measure(turn: Turn) -> lab.Result | None:
    """Run an experiment; None when it was stopped."""
    try:
        (result,) = lab.run([turn.name], knobs=turn.knobs, seeds=SEEDS, show=turn.note)
    except (_Stopped, BrokenProcessPool):
        if turn.stopped:
            return None
        raise ThroughtimeError(
            f"expected {turn.name} to end, but one of its processes was killed; "
            "is there enough memory?"
        ) from None
    return result
