"""Cases whose results are known, and a clock that only moves when it is told to."""

from collections.abc import Callable

from throughtime.bench import Bar, Figure
from throughtime.bench.case import Case, Plan
from throughtime.bench.measure import Effort


class Clock:
    """Seconds that pass where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, *seconds: float) -> Callable[[], None]:
        """Return a call that takes so long; each time the next of `seconds`, over and over."""
        calls = 0

        def call() -> None:
            nonlocal calls
            self.now += seconds[calls % len(seconds)]
            calls += 1

        return call


def figure(case: str = "a", *asked: Bar, part: str = "train", **values: object) -> Figure:
    """A figure that says nothing yet."""
    told = {"layer": "gru", "peer": "nn.GRU", "unit": "ms", **values}
    return Figure(part=part, case=case, asked=asked, **told)  # type: ignore[arg-type]


def case(planned: Figure, ours: float = 2.0, theirs: float = 6.0, *, once: bool = False) -> Case:
    """A case that finds these times at once."""

    def measure(plan: Plan, effort: Effort) -> list[Figure]:
        return [one.measured(ours, theirs, difference=1e-7) for one in plan]

    return Case((planned,), measure, 1.0, once)


def stopping(planned: Figure) -> Case:
    """A case in which Ctrl-C is pressed."""

    def measure(plan: Plan, effort: Effort) -> list[Figure]:
        raise KeyboardInterrupt

    return Case((planned,), measure, 1.0)
