"""What a reader found in a file and what it guessed, as counts and as lines to print.

Readers fill a `Findings` and hand it on with the data; nothing here reads a file or decides
anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Findings:
    """Counts for programs and lines for people, about one file or frame.

    Attributes:
        counts: what was counted, by name, for example `{"gaps": 2, "missing": 17}`.
        lines: one sentence for each thing found or guessed, in the order to print them.

    Example:
        >>> found = Findings({"rows": 309}, ("309 rows",))
        >>> found.counts["rows"], str(found)
        (309, '309 rows')
    """

    counts: dict[str, int] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)
