"""What the tests of the server share: tiny runs, rows, a service in this process or in its own."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl

import throughtime as tt
from throughtime.serve import Limits, Service, make_app

SOURCES = Path(__file__).parents[2] / "src"
SECONDS = 60.0
"""How long a test waits for what has to come."""

PATIENT = Limits(deadline=SECONDS, patience=SECONDS)
"""Nothing is late because the machine is busy."""


def row(hour, y=None):
    """A row of an hourly series."""
    moment = datetime(2024, 1, 1) + timedelta(hours=hour)
    return {"ds": moment.isoformat(" "), "y": 10 + np.sin(hour) if y is None else y}


def rows(count, seed=0, *, gaps=False):
    """Rows of a series that is nobody else's, with missing hours and cells where asked."""
    random = np.random.default_rng(seed)
    hours = np.cumsum(random.choice([1, 1, 1, 2, 9], count) if gaps else np.ones(count, int))
    values = [None if gaps and random.random() < 0.1 else float(random.normal()) for _ in hours]
    return [row(int(hour)) | {"y": y} for hour, y in zip(hours, values, strict=True)]


def train(out, **options):
    """A run over two hourly series."""
    frame = pl.DataFrame(
        [{"unique_id": key, **row(hour)} for hour in range(80) for key in ("north", "south")]
    )
    return tt.fit(
        frame,
        out=out,
        budget="3steps",
        reading={"max_gap": 6, "step": "1h"},
        show=False,
        **{"layer": "gru:6", **options},
    )


def step(key, cells, *, start=False, end=False):
    """A step as JSON has it."""
    item = {"sequence_id": key, "row": cells}
    return (
        item | ({"sequence_start": True} if start else {}) | ({"sequence_end": True} if end else {})
    )


def talk(run, conversation, **options):
    """Let a client talk to a service in this process.

    Args:
        run: what is served.
        conversation: takes the client and the service, and is awaited.
        options: of the service.
    """

    options.setdefault("limits", PATIENT)

    async def whole():
        service = Service(run, **options)
        await service.start()
        try:
            transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://server", timeout=SECONDS
            ) as client:
                async with asyncio.timeout(SECONDS):
                    return await conversation(client, service)
        finally:
            await service.stop()

    return asyncio.run(whole())


async def ask(client, *steps, **options):
    """Ask for steps, and return the status and the body."""
    response = await client.post("/v1/step", json={"steps": list(steps)}, **options)
    return response.status_code, response.json()


class Socket:
    """A WebSocket to an application in this process, which takes so many messages unasked."""

    def __init__(self, service, path="/v1/stream", headers=(), takes=0):
        self.sent = asyncio.Queue()
        self.came = asyncio.Queue(takes)
        self.read = 0
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "ws",
            "headers": [(name.encode(), value.encode()) for name, value in dict(headers).items()],
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
            "asgi": {"version": "3.0"},
        }

        async def receive():
            self.read += 1
            return await self.sent.get()

        self.sent.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(make_app(service)(scope, receive, self.came.put))

    def send(self, *steps):
        self.send_text(json.dumps({"steps": list(steps)}))

    def send_text(self, text):
        self.sent.put_nowait({"type": "websocket.receive", "text": text})

    async def next(self):
        """The next message of the server; of an answer its JSON."""
        message = await self.came.get()
        return json.loads(message["text"]) if "text" in message else message

    async def leave(self):
        self.sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


_OF_LEASE = """
import sys
from throughtime.cli import main
from throughtime.serve.store import RedisStore
RedisStore.__init__.__kwdefaults__["lease"] = float(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


class Process:
    """A server in a process of its own; `address` once it takes connections.

    With a lease of so many seconds, tests need not wait as long as others do.
    """

    def __init__(self, run, *options, environment=None, errors=None, lease=None):
        settings = os.environ | {
            "PYTHONPATH": str(SOURCES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        words = ["-m", "throughtime"] if lease is None else ["-c", _OF_LEASE, lease]
        words += ["serve", run.path, "--port", 0, "--json"]
        words += ["--deadline", SECONDS, *options]
        self.errors = errors
        self.child = subprocess.Popen(
            [sys.executable, *(str(word) for word in words)],
            env=settings | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors is None else errors,
        )
        line = self.child.stdout.readline()
        if not line:
            raise AssertionError(self.child.communicate(timeout=SECONDS)[1].decode())
        self.begun = json.loads(line)
        self.address = self.begun["address"]
        self.port = int(self.address.rpartition(":")[2])

    def client(self, **options):
        return httpx.Client(base_url=self.address, timeout=SECONDS, **options)

    def step(self, *steps):
        with self.client() as client:
            response = client.post("/v1/step", json={"steps": list(steps)})
        return response.status_code, response.json()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def end(self, number=signal.SIGTERM):
        """Ask it to end, and return its exit code and what it said."""
        self.child.send_signal(number)
        _, err = self.child.communicate(timeout=SECONDS)
        return self.child.returncode, (err or b"").decode()

    def written(self):
        """How often it has written a snapshot, or copies."""
        with self.client() as client:
            text = client.get("/metrics").text
        found = re.search(r'snapshots_total{result="written"} (\S+)', text)
        return float(found[1]) if found else 0.0

    def kill(self):
        """End it without asking."""
        self.child.kill()
        self.child.communicate(timeout=SECONDS)


@contextmanager
def process(run, *options, **more):
    """A server in a process of its own, which ends with the block."""
    server = Process(run, *options, **more)
    try:
        yield server
    finally:
        if server.child.poll() is None:
            server.kill()


def wait_until(holds, seconds=SECONDS):
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.02)
