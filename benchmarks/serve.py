"""A server under load from a second process: latency, steps a second, errors, memory.

    python benchmarks/serve.py                # 1, 100 and 5,000 sequences; under two minutes
    python benchmarks/serve.py --minutes 10   # the growth of memory as well
    python benchmarks/serve.py --record       # writes benchmarks/results/serve.json
    python benchmarks/serve.py --check        # exits with 1 when a figure misses its bar

The server is `throughtime serve`, as a user starts it, of a GRU of 64 units. Each sequence has a
connection of its own, over the loopback. `closed`: each sends its next row when the last one is
answered, so that the server is never idle, and the more sequences there are the longer each waits.
`paced`: each sends a row at its own time, together at half the rate that the server can do; so its
latency is what an answer takes. The load is plain bytes on sockets, so that the server is what is
measured. The server's processor time for a step says what it can do where others use the machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (1, 100, 5000)
HOURS = 2000
ROWS_OF_A_SEQUENCE = 50
"""After which it ends and begins anew, where memory is looked at."""

BARS = {
    "errors": ("at most", 0.0),
    "p99 of one sequence, ms": ("at most", 20.0),
    "growth of memory, MiB": ("at most", 16.0),
}


class Client(asyncio.Protocol):
    """One sequence on a connection of its own: a row out, an answer in."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load = load
        self.number = number
        self.rows = 0
        self.buffer = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.sent_at = 0.0
        self.waiting = False
        self.open = False

    def connection_made(self, transport: Any) -> None:
        """Ask for a WebSocket where that is what is measured."""
        self.transport = transport
        if self.load.http:
            self.ready.set_result(None)
            self.open = True
        else:
            transport.write(
                b"GET /v1/stream HTTP/1.1\r\nHost: load\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )

    def connection_lost(self, error: Exception | None) -> None:
        """Count an end that nobody asked for."""
        if self.waiting or not self.open:
            self.load.errors += 1
            self.load.examples.append(f"the connection of {self.number} was closed: {error}")
        if not self.ready.done():
            self.ready.set_result(None)

    def send(self) -> None:
        """Send the next row."""
        last = self.load.rows_each
        begin, end = self.rows == 0, last is not None and self.rows + 1 == last
        cells = self.load.cells[self.rows % HOURS]
        flags = (',"sequence_start":true' if begin else "") + (
            ',"sequence_end":true' if end else ""
        )
        body = f'{{"steps":[{{"sequence_id":"s{self.number}"{flags},"row":{cells}}}]}}'.encode()
        self.rows = 0 if end else self.rows + 1
        self.waiting = True
        self.sent_at = time.perf_counter()
        self.transport.write(self._head(len(body)) + body)

    def _head(self, size: int) -> bytes:
        if self.load.http:
            return (
                b"POST /v1/step HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % size
            )
        # A mask of zeros leaves the bytes as they are.
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        return b"\x81" + length + b"\0\0\0\0"

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.buffer += data
        while (message := self._next()) is not None:
            if not self.open:
                self.open = True
                self.ready.set_result(None)
                continue
            if not self.waiting:
                continue
            self.waiting = False
            self.load.note(message, time.perf_counter() - self.sent_at, self)

    def _next(self) -> bytes | None:
        """Take a whole message out of the buffer."""
        if self.load.http or not self.open:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head, rest = self.buffer[:end], self.buffer[end + 4 :]
            name = head.lower().find(b"content-length:")
            size = int(head[name + 15 :].split(b"\r\n", 1)[0]) if name >= 0 else 0
            begin = 0
        else:
            rest, begin = self.buffer, 2
            if len(rest) < 4:
                return None
            size = rest[1]
            if size == 126:
                size, begin = int.from_bytes(rest[2:4], "big"), 4
            if rest[0] == 0x89:
                # A ping, to which a pong is due.
                self.transport.write(
                    b"\x8a" + bytes([0x80 | size]) + b"\0\0\0\0" + rest[2 : 2 + size]
                )
                self.buffer = rest[2 + size :]
                return self._next() if self.buffer else None
        if len(rest) < begin + size:
            return None
        self.buffer = rest[begin + size :]
        return rest[begin : begin + size]


class Load:
    """Sequences that ask for steps until their time is over."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.http = asked.http
        self.rate = asked.rate
        self.count = asked.sequences
        self.seconds = asked.seconds
        self.rows_each = asked.rows or None
        begin = datetime(2024, 1, 1)
        self.cells = [
            asked.row.replace("TIME", str(begin + timedelta(hours=hour))).replace(
                "VALUE", str(float(hour % 24))
            )
            for hour in range(HOURS)
        ]
        self.errors = 0
        self.examples: list[str] = []
        self.times: list[float] = []
        self.counted = False
        self.answered = 0
        self.ending = False

    def note(self, message: bytes, seconds: float, client: Client) -> None:
        """Take an answer, and ask for the next."""
        self.answered += 1
        if b'"answer":' not in message or b'"error"' in message:
            self.errors += 1
            self.examples.append(message[:200].decode(errors="replace"))
        elif self.counted:
            self.times.append(seconds)
        if not self.ending and not self.rate:
            client.send()

    async def run(self, host: str, port: int) -> dict[str, Any]:
        """Connect, warm up, and measure."""
        loop = asyncio.get_running_loop()
        clients: list[Client] = []
        for first in range(0, self.count, 200):
            some = [
                loop.create_connection(lambda number=number: Client(self, number), host, port)
                for number in range(first, min(first + 200, self.count))
            ]
            clients += [client for _, client in await asyncio.gather(*some)]
            await asyncio.gather(*(client.ready for client in clients[first:]))
        pacers = [loop.create_task(self._pace(client)) for client in clients if self.rate]
        if not self.rate:
            for client in clients:
                client.send()
        # Each has begun, and what is only done once is done.
        until = time.perf_counter() + 60
        while self.answered < 2 * self.count and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        if self.answered < self.count:
            raise SystemExit(f"{self.answered} of {self.count} had an answer; {self.examples[:3]}")
        self.counted, began = True, time.perf_counter()
        await asyncio.sleep(self.seconds)
        self.counted, lasted = False, time.perf_counter() - began
        self.ending = True
        for pacer in pacers:
            pacer.cancel()
        until = time.perf_counter() + 15
        while any(client.waiting for client in clients) and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        self.errors += sum(client.waiting for client in clients)
        for client in clients:
            client.waiting = False
            client.transport.abort()
        times = sorted(self.times)
        return {
            "sequences": self.count,
            "steps": len(times),
            "answered": self.answered,
            "steps_a_second": len(times) / lasted,
            "p50_ms": 1e3 * times[len(times) // 2] if times else 0.0,
            "p99_ms": 1e3 * times[int(len(times) * 0.99)] if times else 0.0,
            "most_ms": 1e3 * times[-1] if times else 0.0,
            "errors": self.errors,
            "examples": self.examples[:3],
        }

    async def _pace(self, client: Client) -> None:
        """Send a row now and then, all clients together at the rate."""
        pause = self.count / self.rate
        await asyncio.sleep(random.random() * pause)
        while True:
            if not client.waiting:
                client.send()
            await asyncio.sleep(pause)


def allow_files(count: int) -> None:
    """Raise the limit of open files as far as needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def put_load(address: str, row: str, seconds: float, **options: Any) -> dict[str, Any]:
    """Load a server from a process of its own."""
    words = [sys.executable, str(Path(__file__)), "--load", address, "--row", row]
    words += ["--seconds", str(seconds)]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 300)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def seconds_used(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Return the memory of a process in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the server has gone")


@contextlib.contextmanager
def serving(run: Path) -> Iterator[tuple[str, int]]:
    """Start a server in a process of its own, and end it as users do."""
    words = ["-m", "throughtime", "serve", str(run), "--port", "0", "--json", "--slots", "10000"]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["address"], server.pid
        server.terminate()
        if server.wait(timeout=60):
            raise SystemExit(f"the server ended with {server.returncode}")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def train(folder: Path) -> tuple[Path, str]:
    """Train a run for a moment, and return it with the JSON of a row of it."""
    import throughtime as tt

    run = tt.fit("demo:meter", layer="gru:64", budget="2steps", out=folder / "run", show=False)
    format = run.task.format
    row = {name: 1.0 for name in format.covariates} | {format.time: "TIME", format.target: "VALUE"}
    return run.path, json.dumps(row, separators=(",", ":")).replace('"VALUE"', "VALUE")


def measure(asked: argparse.Namespace, found: dict[str, Any]) -> dict[str, float]:
    """Fill in what was found, and return the figures that have bars."""
    figures: dict[str, float] = {"errors": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        run, row = train(Path(folder))
        with serving(run) as (address, process):
            print(
                "| how | sequences | steps a second | p50, ms | p99, ms | most, ms | processor "
                "time of a step, us | errors |"
            )
            print("|---|---|---|---|---|---|---|---|")

            def case(name: str, **options: Any) -> dict[str, Any]:
                used = seconds_used(process)
                result = put_load(address, row, asked.seconds, **options)
                used = seconds_used(process) - used
                result["processor_us_a_step"] = 1e6 * used / max(result["answered"], 1)
                found[f"{name}, {result['sequences']}"] = result
                print(
                    f"| {name} | {result['sequences']:,} | {result['steps_a_second']:,.0f} | "
                    f"{result['p50_ms']:.2f} | {result['p99_ms']:.2f} | {result['most_ms']:.0f} | "
                    f"{result['processor_us_a_step']:.0f} | {result['errors']} |",
                    flush=True,
                )
                for example in result.pop("examples"):
                    print(f"    {example}", file=sys.stderr)
                figures["errors"] += result["errors"]
                return result

            case("HTTP, closed", http=True, sequences=1)
            case("HTTP, closed", http=True, sequences=100)
            for count in COUNTS:
                closed = case("WebSocket, closed", sequences=count)
                if count == 1:
                    figures["p99 of one sequence, ms"] = closed["p99_ms"]
                else:
                    rate = closed["steps_a_second"] / 2
                    case("WebSocket, paced", sequences=count, rate=rate)
                figures[f"steps a second, {count}"] = closed["steps_a_second"]
            if asked.minutes:
                figures["growth of memory, MiB"] = growth(asked, address, row, process, found)
            found["resident after all, MiB"] = resident(process)
    return figures


def growth(
    asked: argparse.Namespace, address: str, row: str, process: int, found: dict[str, Any]
) -> float:
    """Load for minutes, with sequences that end and begin, and return how memory grew."""
    put_load(address, row, 20.0, sequences=100, rows=ROWS_OF_A_SEQUENCE)
    before = resident(process)
    result = put_load(address, row, 60.0 * asked.minutes, sequences=100, rows=ROWS_OF_A_SEQUENCE)
    after = resident(process)
    found["growth"] = {"minutes": asked.minutes, "before_mib": before, "after_mib": after, **result}
    print(
        f"{result['steps']:,} steps in {asked.minutes:g} minutes, {result['errors']} errors: "
        f"{before:.1f} MiB before, {after:.1f} MiB after"
    )
    return after - before + (float("inf") if result["errors"] else 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="each case is measured for")
    parser.add_argument("--minutes", type=float, default=0.0, help="of load to see memory grow")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/serve.json")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    for name in ("load", "row"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--http", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sequences", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_files(COUNTS[-1] + 500)
    if asked.load:
        host, _, port = asked.load.removeprefix("http://").rpartition(":")
        print(json.dumps(asyncio.run(Load(asked).run(host, int(port)))))
        return 0
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    figures = measure(asked, found)
    missed = []
    for name, value in figures.items():
        kind, bar = BARS.get(name, ("", 0.0))
        print(f"{name}: {value:,.4g}" + (f", bar {kind} {bar:,.4g}" if kind else ""))
        if kind and value > bar:
            missed.append(name)
    found["figures"] = figures
    found["bars"] = {name: list(bar) for name, bar in BARS.items()}
    if asked.record:
        out = ROOT / "benchmarks" / "results" / "serve.json"
        out.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
