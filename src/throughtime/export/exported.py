"""What an export gives back: where it is, how close to the run, how large."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from throughtime.export.gate import Verdict


@runtime_checkable
class Size(Protocol):
    """How large an export is, in whatever way its kind is measured; as text for people."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""


@dataclass(frozen=True)
class Exported:
    """A finished export, verified.

    Attributes:
        path: the folder.
        files: names of what was written there.
        verdict: how far its numbers lie from those of the run.
        size: how large it is: of C the bytes of flash and memory, of ONNX those of the files.
    """

    path: Path
    files: tuple[str, ...]
    verdict: Verdict
    size: Size

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
