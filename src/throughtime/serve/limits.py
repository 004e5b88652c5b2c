"""How much a server takes: of bytes, steps, connections and seconds.

What is set for one server is in `Limits`; what no server has a reason to change is a constant.
Every limit is checked before what it bounds is made.
"""

from dataclasses import dataclass, fields

from throughtime.errors import OptionError

STEPS = 1024
"""Most steps of a request."""

CELLS = 1024
"""Most cells of a row."""

TEXT = 4096
"""Most characters of a cell: text costs a step of the model for each, and holds up the others."""

NAME = 256
"""Most characters of a column's name."""

DEPTH = 8
"""Most levels of nesting in JSON; a request of steps has four."""

VALUES = 50_000
"""Most values of all kinds in the JSON of a request."""

MESSAGE = 64 * 2**10
"""Most bytes of a WebSocket message."""

HEADERS = 64 * 2**10
"""Most bytes of a request's head."""

WINDOW = 32
"""Messages of a WebSocket that may wait for an answer; the next is not read until then."""

PAGE = 1000
"""Most sequences that one page lists."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        body: most bytes of a request's body.
        held: most bytes of all bodies that are there at once.
        waiting: most steps that wait for their turn.
        connections: most connections.
        deadline: seconds in which a step must get its turn, or is refused.
        patience: seconds that a client may take to send a head or a body, or to take an answer.
        quiet: seconds after which a WebSocket on which nothing is sent is closed.
        grace: seconds that the end of the server waits for what is under way.
    """

    body: int = 2**20
    held: int = 64 * 2**20
    waiting: int = 20_000
    connections: int = 8192
    deadline: float = 10.0
    patience: float = 10.0
    quiet: float = 300.0
    grace: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise OptionError(f"expected {field.name} above 0 for a server, got {value}")
        if self.held < self.body:
            raise OptionError(
                f"expected room for one body of {self.body:,} bytes at least, got {self.held:,}"
            )
