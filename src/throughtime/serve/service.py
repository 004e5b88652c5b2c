"""A run in service: its sequences, who reads them, what is kept, from the start to the end."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.errors import BundleError, OptionError, ThroughtimeError
from throughtime.serve.batcher import Batcher
from throughtime.serve.engine import Engine
from throughtime.serve.limits import Limits
from throughtime.serve.metrics import Metrics
from throughtime.serve.refusals import Refusal
from throughtime.serve.store import Store
from throughtime.stream.session_table import SLOTS

if TYPE_CHECKING:
    from throughtime.run import Run

logger = logging.getLogger(__name__)


class Service:
    """A run in service.

    Args:
        run: a forecast or language run.
        slots: how many sequences there is room for.
        idle: seconds without use after which a sequence goes; None for never.
        implicit_start: whether a row of an unknown sequence begins it.
        max_delay: seconds that the first row waits for others to be read with.
        snapshot: a file that sequences are kept in: gone on with at the start where it is there,
            written now and then and at the end.
        snapshot_every: seconds between two of these, or between two copies in the store.
        store: where sequences go that leave, and all at the end; and copies of those that are open.
            Not with `snapshot`: an old file would bring back what another worker has gone on with.
        token: what clients must show, or None.
        limits: of bytes, steps, connections and seconds.
        tell: takes each line for people.

    Attributes:
        engine: the sequences.
        batcher: reads rows for those who ask.
        metrics: what is counted.
        restored: sequences that were gone on with.
        failure: why sequences could not be kept at the end, or None.

    Raises:
        BundleError: the snapshot is none of this run.
        OptionError: the run can't be served, or an argument is out of range.
    """

    def __init__(
        self,
        run: "Run",
        *,
        slots: int = SLOTS,
        idle: float | None = 3600.0,
        implicit_start: bool = False,
        max_delay: float = 0.0,
        snapshot: str | os.PathLike[str] | None = None,
        snapshot_every: float = 60.0,
        store: Store | None = None,
        token: str | None = None,
        limits: Limits | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        if snapshot is not None and store is not None:
            raise OptionError(
                "expected a snapshot or a store, got both: an old file would bring back sequences "
                "that another worker has gone on with"
            )
        if not snapshot_every > 0 or not max_delay >= 0:
            raise OptionError(
                f"expected snapshots every few seconds and a delay of 0 or more, got "
                f"{snapshot_every} and {max_delay}"
            )
        self.path = None if snapshot is None else Path(snapshot)
        if self.path is not None:
            _check_place(self.path)
        again = self.path is not None and self.path.exists()
        self.limits = limits or Limits()
        self.token = token
        self.metrics = Metrics()
        self.engine = Engine(
            run,
            slots=slots,
            idle=idle,
            implicit_start=implicit_start,
            store=store,
            snapshot=self.path if again else None,
        )
        self.restored = len(self.engine)
        self.batcher = Batcher(self.engine.run, self.limits, self.metrics, max_delay=max_delay)
        self.stopping = asyncio.Event()
        self.failure: ThroughtimeError | None = None
        self.held = 0
        self._every = snapshot_every
        self._store = store
        self._tell = tell or logger.info
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self.about = {
            "task": run.task.name,
            "layer": run.config.model.layer,
            "parameters": run.model.parameter_count(),
            "fingerprint": run.fingerprint,
            "columns": self.engine.columns,
            "required": self.engine.required,
            "slots": self.engine.slots,
            "idle": None if idle is None else float(idle),
            "implicit_start": implicit_start,
            "state_bytes": self.engine.state_bytes,
        }
        self._measure()

    async def start(self) -> None:
        """Begin to read; called where the event loop runs."""
        self.batcher.start()
        loop = asyncio.get_running_loop()
        if self.engine.idle is not None:
            self._tasks.append(loop.create_task(self._expire(self.engine.idle)))
        if self.path is not None:
            self._tasks.append(loop.create_task(self._keep()))
        if self._store is not None:
            self._tasks.append(loop.create_task(self._renew(self._store.lease / 3)))
            # What is not written again is forgotten at some time.
            every = min(self._every, self._store.expiry / 4)
            self._tasks.append(loop.create_task(self._copy(every)))

    async def drain(self) -> None:
        """Take no more, and wait for the answers that are under way on open streams."""
        self.stopping.set()
        if self._streams:
            await asyncio.wait(self._streams, timeout=self.limits.grace)

    async def stop(self) -> None:
        """Take no more, read what waits, and keep the sequences."""
        self.stopping.set()
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.batcher.stop()
        try:
            if self.path is not None:
                await asyncio.to_thread(self.engine.snapshot, self.path)
                self._tell(f"{_sequences(len(self.engine))} in {self.path}")
            elif self._store is not None:
                self._tell(f"{_sequences(await self._give_away())} in Redis")
        except ThroughtimeError as error:
            self.failure = error
        self.batcher.close()

    def check_open(self) -> None:
        """Refuse what comes after the end has begun.

        Raises:
            Refusal: it has.
        """
        if self.stopping.is_set():
            raise Refusal("stopping", "expected a server that goes on, got one that ends")

    def enter(self, stream: "asyncio.Task[Any]") -> None:
        """Note a stream that the end has to wait for."""
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)

    async def _expire(self, idle: float) -> None:
        """Let go of what nobody uses, now and then; each tick does so too."""
        while True:
            await asyncio.sleep(min(max(idle / 4, 0.1), 10.0))
            # Where too many wait for it, a tick does it soon.
            with suppress(Refusal):
                self.metrics.expired(await self.batcher.call(self.engine.expire))

    async def _keep(self) -> None:
        """Write a snapshot now and then; a full disk now is no reason to stop."""
        assert self.path is not None
        while True:
            await asyncio.sleep(self._every)
            try:
                await asyncio.to_thread(self.engine.snapshot, self.path)
                self.metrics.snapshot("written")
            except BundleError as error:
                self.metrics.snapshot("failed")
                self._tell(str(error))

    async def _renew(self, every: float) -> None:
        """Let others know that this worker is there."""
        while True:
            await asyncio.sleep(every)
            # Where too many wait for it, a tick does it in time.
            with suppress(Refusal):
                await self.batcher.call(self.engine.renew)

    async def _copy(self, every: float) -> None:
        """Copy what was stepped into the store now and then; what fails is copied the next time."""
        told = False
        while True:
            await asyncio.sleep(every)
            try:
                for keys in await self.batcher.call(self.engine.uncopied):
                    await self.batcher.call(self.engine.copy, keys)
                self.metrics.snapshot("written")
                told = False
            except Refusal:
                self.metrics.snapshot("failed")
                if not told:
                    self._tell(
                        "expected to copy open sequences into Redis, got no answer; they go on, "
                        "and are copied when it is back"
                    )
                told = True

    async def _give_away(self) -> int:
        """Put all sequences into the store, which may be away for a moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.grace
        count = self.engine.held
        while True:
            try:
                await self.batcher.call(self.engine.drain)
                return count
            except Refusal as refusal:
                if loop.time() > until:
                    raise BundleError(
                        f"expected to put {self.engine.held:,} sequences into Redis, got no "
                        f"answer from it for {self.limits.grace:g} s; these are lost"
                    ) from refusal
                await asyncio.sleep(0.5)

    def _measure(self) -> None:
        self.metrics.model(
            **{name: str(self.about[name]) for name in ("task", "layer", "fingerprint")}
        )
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "sequences": ("Sequences that are open.", lambda: len(self.engine)),
            "slots": ("Sequences that there is room for.", lambda: self.engine.slots),
            "steps_waiting": ("Steps that wait for their turn.", lambda: self.batcher.waiting),
            "body_bytes": ("Bytes of request bodies that are there now.", lambda: self.held),
            "streams": ("WebSockets that are open.", lambda: len(self._streams)),
        }
        for name, (text, value) in gauges.items():
            self.metrics.gauge(name, text, value)


def _check_place(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise OptionError(f"expected a folder to keep {path} in, got none: make it first")
    if path.is_dir():
        raise OptionError(f"expected a file to keep sequences in, got the folder {path}")


def _sequences(count: int) -> str:
    return f"{count:,} sequence" if count == 1 else f"{count:,} sequences"
