"""Micro-batching: rows that arrive about the same time are read together, by one thread.

While that thread reads some rows, others gather; they are read together as soon as it is free. So a
row that comes alone is read at once, and the more come, the more are read together.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from throughtime.serve.limits import Limits
from throughtime.serve.metrics import Metrics
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Outcome, Step

MOST = 1024
"""Most rows that are read in one go."""

IN_A_ROW = 16
"""Most rows of one sequence in one go, so that a long request holds up the others but little."""

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class _Asked:
    """Steps that were asked for together."""

    __slots__ = ("arrived", "due", "future", "left", "outcomes")

    def __init__(self, count: int, future: "asyncio.Future[list[Outcome]]", due: float) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.left = count
        self.future = future
        self.due = due
        self.arrived = time.perf_counter()

    def give(self, place: int, outcome: Outcome) -> bool:
        """Note what a step gave; return whether it was the last one."""
        self.outcomes[place] = outcome
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result([each for each in self.outcomes if each is not None])
        return self.left == 0


class Batcher:
    """Lets one thread read rows for many that ask.

    Args:
        read: reads steps, and returns what each gave; called in the one thread.
        limits: how many may wait, and how long.
        max_delay: seconds that the first row waits for others; 0 for as long as the rows before it
            take.
        metrics: counts what happens.
    """

    def __init__(
        self,
        read: Callable[[list[Step]], list[Outcome]],
        limits: Limits,
        metrics: Metrics,
        *,
        max_delay: float = 0.0,
    ) -> None:
        self._read = read
        self._limits = limits
        self._metrics = metrics
        self._max_delay = max_delay
        self._thread = ThreadPoolExecutor(1, "throughtime-steps")
        self._waiting: dict[str, deque[tuple[Step, _Asked, int]]] = {}
        self._count = 0
        self._calls = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return self._count

    def start(self) -> None:
        """Begin to read; called where the event loop runs."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def submit(self, steps: Sequence[Step]) -> "asyncio.Future[list[Outcome]]":
        """Let steps wait for their turn.

        Args:
            steps: in order.

        Returns:
            What each gave, in the future.

        Raises:
            Refusal: too many wait already, or the server ends; then none of these waits.
        """
        loop = asyncio.get_running_loop()
        if self._stopping:
            raise Refusal("stopping", "expected a server that goes on, got one that ends")
        # Those that wait for room come first.
        if self._queue or not self._has_room(len(steps)):
            raise Refusal(
                "busy",
                f"expected room for {len(steps):,} steps among the {self._limits.waiting:,} that "
                f"may wait, got {self._count:,} that do; ask again",
            )
        return self._submit(steps, loop.create_future(), loop.time() + self._limits.deadline)

    async def submit_in_turn(self, steps: Sequence[Step]) -> "asyncio.Future[list[Outcome]]":
        """Let steps wait for their turn, as soon as there is room for them.

        Raises:
            Refusal: there was none in time, or the server ends.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._limits.deadline
        if not self._stopping and (self._queue or not self._has_room(len(steps))):
            turn: asyncio.Future[None] = loop.create_future()
            self._queue.append((len(steps), turn))
            try:
                async with asyncio.timeout_at(due):
                    await turn
            except BaseException as error:
                self._queue = deque(each for each in self._queue if each[1] is not turn)
                # Its turn may have come in the same moment, and is now that of the next.
                self._let_in()
                if isinstance(error, TimeoutError):
                    raise _late(self._limits.deadline) from None
                raise
        if self._stopping:
            raise Refusal("stopping", "expected a server that goes on, got one that ends")
        return self._submit(steps, loop.create_future(), due)

    async def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function in the thread that reads, between two reads.

        Raises:
            Refusal: from the function, or because too many wait already.
        """
        if self._calls >= self._limits.waiting:
            raise Refusal("busy", "expected fewer requests that wait; ask again")
        self._calls += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, lambda: function(*arguments))
        finally:
            self._calls -= 1

    async def stop(self) -> None:
        """Read what waits, then end."""
        self._stopping = True
        while self._queue:
            _, turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
        self._wake.set()
        self._enough.set()
        if self._task is not None:
            await self._task
            self._task = None

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown()

    def _has_room(self, count: int) -> bool:
        # A request that is larger than all the room is let in when it is alone.
        return self._count == 0 or self._count + count <= self._limits.waiting

    def _submit(
        self, steps: Sequence[Step], future: "asyncio.Future[list[Outcome]]", due: float
    ) -> "asyncio.Future[list[Outcome]]":
        asked = _Asked(len(steps), future, due)
        for place, step in enumerate(steps):
            line = self._waiting.get(step.key)
            if line is None:
                line = self._waiting[step.key] = deque()
            line.append((step, asked, place))
        self._count += len(steps)
        self._wake.set()
        if self._count >= MOST:
            self._enough.set()
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._gather()
            taken = self._take(loop.time())
            if not taken:
                continue
            began = time.perf_counter()
            steps = [step for step, _, _ in taken]
            try:
                outcomes = await loop.run_in_executor(self._thread, self._read, steps)
            except Exception:
                logger.exception("a tick of %d steps failed", len(steps))
                defect = Refusal("defect", "expected an answer, got a defect; see the server's log")
                outcomes = [defect] * len(steps)
            self._metrics.tick(len(steps), time.perf_counter() - began)
            self._give(taken, outcomes)

    async def _gather(self) -> None:
        """Wait for more rows for as long as the first one may wait for others."""
        if not self._max_delay or self._stopping or self._count >= MOST:
            return
        _, first, _ = next(iter(self._waiting.values()))[0]
        rest = self._max_delay - (time.perf_counter() - first.arrived)
        if rest > 0:
            self._enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._enough.wait()

    def _take(self, now: float) -> list[tuple[Step, _Asked, int]]:
        """Take the rows of the next tick from those that wait; the longest wait comes first."""
        taken: list[tuple[Step, _Asked, int]] = []
        keys = []
        for key in self._waiting:
            keys.append(key)
            if len(keys) >= MOST:
                break
        room = MOST
        for key in keys:
            line = self._waiting.pop(key)
            for _ in range(min(len(line), IN_A_ROW, room)):
                step, asked, place = line.popleft()
                self._count -= 1
                if asked.due < now:
                    self._done(asked, place, _late(self._limits.deadline))
                else:
                    taken.append((step, asked, place))
                    room -= 1
            if line:
                # Behind all others, for whose turn it is now.
                self._waiting[key] = line
            if not room:
                break
        self._let_in()
        return taken

    def _give(self, taken: Sequence[tuple[Step, _Asked, int]], outcomes: Sequence[Outcome]) -> None:
        for (_, asked, place), outcome in zip(taken, outcomes, strict=True):
            self._done(asked, place, outcome)

    def _done(self, asked: _Asked, place: int, outcome: Outcome) -> None:
        self._metrics.step("answered" if isinstance(outcome, Answer) else outcome.code)
        if asked.give(place, outcome):
            self._metrics.request(time.perf_counter() - asked.arrived)

    def _let_in(self) -> None:
        """Give those who wait for room their turn, in order."""
        room = self._limits.waiting - self._count
        while self._queue and (self._queue[0][0] <= room or self._count == 0):
            count, turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= count
            if room <= 0:
                return


def _late(deadline: float) -> Refusal:
    return Refusal(
        "late",
        f"expected a turn within {deadline:g} s, got none; nothing of it was read, ask again",
    )
