"""What an export gives back: where it is, how close to the run, how large."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.export.gate import Verdict

if TYPE_CHECKING:
    from throughtime.export.c.size import SizeReport


@dataclass(frozen=True)
class Exported:
    """A finished export, verified.

    Attributes:
        path: the folder.
        files: names of what was written there.
        verdict: how far its numbers lie from those of the run.
        size: bytes of flash and memory.
    """

    path: Path
    files: tuple[str, ...]
    verdict: Verdict
    size: "SizeReport"

    def __str__(self) -> str:
        files = ", ".join(self.files)
        return f"{files} in {self.path}\nverified: {self.verdict}\n{self.size}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "path": str(self.path),
            "files": list(self.files),
            "max_error": self.verdict.max_error,
            "steps": self.verdict.steps,
            "note": self.verdict.note,
            "size": self.size.to_json(),
        }
