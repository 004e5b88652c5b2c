"""What people see of a training run: a live bar at a terminal, plain lines elsewhere, nothing."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Watcher:
    """Someone who is told how training goes; this one takes no notice."""

    def say(self, line: str) -> None:
        """Take a line of text."""

    def stepped(self, progress: float, step: int, loss: float, steps_per_second: float) -> None:
        """Take the news of a step; `progress` is 0 to 1, `loss` is per target."""

    def validated(self, step: int, loss: float, best: bool) -> None:
        """Take the news of a validation."""

    def ended(self) -> None:
        """Take the news that training is over."""


class Lines(Watcher):
    """A plain line every few seconds, for logs and pipes."""

    every = 5.0

    def __init__(self) -> None:
        self._next = 0.0
        self._began: tuple[float, float] | None = None

    def say(self, line: str) -> None:
        """Print a line to standard error."""
        print(line, file=sys.stderr, flush=True)

    def stepped(self, progress: float, step: int, loss: float, steps_per_second: float) -> None:
        """Print where training is, if the last such line is some seconds old."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, progress)
        if now < self._next:
            return
        self._next = now + self.every
        began, at = self._began
        left = (now - began) * (1 - progress) / (progress - at) if progress > at else None
        eta = "" if left is None else f", {left:.0f} s left"
        self.say(
            f"step {step}, {progress:.0%}: loss {loss:.4f}, {steps_per_second:.1f} steps/s{eta}"
        )

    def validated(self, step: int, loss: float, best: bool) -> None:
        """Print the validation loss."""
        self.say(f"step {step}: validation loss {loss:.4f}{', the best so far' if best else ''}")


class Bar(Watcher):
    """A live bar with the time left, the loss and the speed."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
        )
        self._task = self._progress.add_task("training", total=1.0, news="")
        self._validation = ""
        self._running = False

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, progress: float, step: int, loss: float, steps_per_second: float) -> None:
        """Move the bar."""
        if not self._running:
            self._progress.start()
            self._running = True
        news = f"step {step}  loss {loss:.4f}{self._validation}  {steps_per_second:.1f} steps/s"
        self._progress.update(self._task, completed=progress, news=news)

    def validated(self, step: int, loss: float, best: bool) -> None:
        """Show the validation loss beside the bar."""
        self._validation = f"  validation {loss:.4f}{'*' if best else ''}"

    def ended(self) -> None:
        """Stop drawing."""
        if self._running:
            self._progress.stop()
            self._running = False


def watcher(show: bool = True) -> Watcher:
    """Return the watcher that fits standard error: a bar at a terminal, lines elsewhere."""
    if not show:
        return Watcher()
    return Bar() if sys.stderr.isatty() else Lines()
