"""How large graphs are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GraphSize:
    """How large the files of an export are.

    Attributes:
        parameters: how many numbers the model learned.
        files: bytes of each graph by its name.
    """

    parameters: int
    files: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as JSON values."""
        return {"parameters": self.parameters, "files": dict(self.files)}

    def __str__(self) -> str:
        files = ", ".join(f"{name} {size:,} bytes" for name, size in self.files.items())
        return f"{self.parameters:,} parameters; {files}"
