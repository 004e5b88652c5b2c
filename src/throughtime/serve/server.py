"""A service behind a socket: uvicorn with limits, signals, and an end that loses nothing."""

import asyncio
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from throughtime.errors import OptionError
from throughtime.serve.app import make_app
from throughtime.serve.connections import patient_protocol
from throughtime.serve.limits import MESSAGE
from throughtime.serve.service import Service

BACKLOG = 4096
_SPARE_FILES = 128


def serve(
    service: Service,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    begun: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM comes; then answer what is under way and keep the sequences.

    A second signal does not wait for what is under way.

    Args:
        service: what is served.
        host: an address of this machine.
        port: 0 for any that is free.
        begun: called with the address once connections are taken.

    Raises:
        OptionError: the address can't be listened at.
        ThroughtimeError: the sequences could not be kept at the end.
    """
    _allow_files(service.limits.connections + _SPARE_FILES)
    with _listening(host, port) as listening:
        config = _config(service)
        server = _Server(config, service)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        with (
            _kept_from_collection(),
            asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
        ):
            runner.run(server.run_until_asked(listening, address, begun or (lambda address: None)))
    if service.failure is not None:
        raise service.failure


class _Server(uvicorn.Server):
    """uvicorn's server, which first lets the service answer what is under way."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    async def run_until_asked(
        self, listening: socket.socket, address: str, begun: Callable[[str], object]
    ) -> None:
        telling = asyncio.create_task(self._tell(address, begun))
        try:
            await self.serve([listening])
        finally:
            telling.cancel()
            # uvicorn leaves the end of the application out when it is forced.
            await self._service.stop()

    async def _tell(self, address: str, begun: Callable[[str], object]) -> None:
        while not self.started:
            await asyncio.sleep(0.01)
        begun(address)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ask for the end at a signal; unlike uvicorn's own, it is not raised again after that."""
        if threading.current_thread() is not threading.main_thread():
            # Python takes signals nowhere else.
            yield
            return
        loop = asyncio.get_running_loop()

        def ask(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._ask_to_end)

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, ask) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask_to_end(self) -> None:
        if self._draining is not None:
            self.force_exit = self.should_exit = True
            return
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._service.drain()
        self.should_exit = True


def _config(service: Service) -> uvicorn.Config:
    limits = service.limits
    logging.getLogger("uvicorn.error").addFilter(_is_not_the_clients)
    return uvicorn.Config(
        make_app(service),
        http=patient_protocol(limits.patience),
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=limits.connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=max(int(limits.grace), 1),
        h11_max_incomplete_event_size=MESSAGE,
        ws_max_size=MESSAGE,
        ws_max_queue=1,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        # What is small on the way could become large here.
        ws_per_message_deflate=False,
    )


def _is_not_the_clients(record: logging.LogRecord) -> bool:
    """Leave out what a client did wrong on a connection, which would fill a log."""
    return record.levelno > logging.WARNING


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(
            f"expected an address to listen at, got {host}:{port} ('{reason}'); choose another "
            "--host or --port"
        ) from None
    with listening:
        yield listening


@contextmanager
def _kept_from_collection() -> Iterator[None]:
    """Let the garbage collector leave alone what is there before the first request.

    Requests make garbage, and to look through the modules of torch for some takes it a quarter of a
    second, in which nothing is answered.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _allow_files(count: int) -> None:
    """Raise the limit of open files where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
