"""What a server counts, in the form that Prometheus reads."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts of one server; no two servers in a process share any."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._steps = Counter(
            "throughtime_steps",
            "Steps by what became of them: answered, or the code of the refusal.",
            ["outcome"],
            registry=self._registry,
        )
        self._refusals = Counter(
            "throughtime_refusals", "Requests refused, by code.", ["code"], registry=self._registry
        )
        self._request_seconds = Histogram(
            "throughtime_request_seconds",
            "From the arrival of a request's steps to the last answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tick_seconds = Histogram(
            "throughtime_tick_seconds",
            "Of steps read in one go.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tick_steps = Histogram(
            "throughtime_tick_steps",
            "Steps read in one go.",
            buckets=_COUNTS,
            registry=self._registry,
        )
        self._expired = Counter(
            "throughtime_sequences_expired",
            "Sequences that went because nobody used them.",
            registry=self._registry,
        )
        self._snapshots = Counter(
            "throughtime_snapshots", "Snapshots by result.", ["result"], registry=self._registry
        )
        self._answered = self._steps.labels("answered")

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for when somebody looks."""
        gauge = Gauge(f"throughtime_{name}", text, registry=self._registry)
        gauge.set_function(value)

    def model(self, **values: str) -> None:
        """Say what is served."""
        Info("throughtime_model", "What is served.", registry=self._registry).info(values)

    def step(self, outcome: str) -> None:
        """Count a step by what became of it."""
        (self._answered if outcome == "answered" else self._steps.labels(outcome)).inc()

    def refusal(self, code: str) -> None:
        """Count a request that was refused as a whole."""
        self._refusals.labels(code).inc()

    def request(self, seconds: float) -> None:
        """Note how long a request's steps took."""
        self._request_seconds.observe(seconds)

    def tick(self, steps: int, seconds: float) -> None:
        """Note steps that were read in one go."""
        self._tick_steps.observe(steps)
        self._tick_seconds.observe(seconds)

    def expired(self, count: int) -> None:
        """Count sequences that went because nobody used them."""
        self._expired.inc(count)

    def snapshot(self, result: str) -> None:
        """Count a snapshot."""
        self._snapshots.labels(result).inc()

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)
