"""Ctrl-C and SIGTERM as a wish to stop at the next step, so that nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from throughtime.errors import ThroughtimeError


class Interrupted(ThroughtimeError):
    """Training was asked to stop; its checkpoint is written."""


class Wish:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Ask to stop at the next step."""
        self.asked = True


@contextmanager
def asked_to_stop() -> Iterator[Wish]:
    """Turn signals into a wish inside the block; a second one acts at once.

    Outside the main thread, where Python takes no signals, the wish is never asked.
    """
    wish = Wish()

    def note(number: int, frame: FrameType | None) -> None:
        if wish.asked:
            raise KeyboardInterrupt
        wish.ask()

    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in wanted]
    try:
        yield wish
    finally:
        for number, handler in zip(wanted, before, strict=True):
            # None stands for a handler that was not set from Python and can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
