"""throughtime: recurrent sequence models for PyTorch, with the state accounted for.

The public names are listed here and imported on first use, so that `import throughtime` is quick
and does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Recurrent": "throughtime.recurrent",
    "LinearRecurrent": "throughtime.recurrent",
    "RNN": "throughtime.layers",
    "LSTM": "throughtime.layers",
    "GRU": "throughtime.layers",
    "Stack": "throughtime.layers",
    "Bidirectional": "throughtime.layers",
    "from_torch": "throughtime.layers",
    "to_torch": "throughtime.layers",
    "accelerate": "throughtime.layers",
    "ThroughtimeError": "throughtime.errors",
    "Run": "throughtime.run",
    "load": "throughtime.run",
    "fit": "throughtime.training",
    "resume": "throughtime.training",
    "Stream": "throughtime.stream",
    "Sessions": "throughtime.stream",
    "lint": "throughtime.inspect.lint",
}
_ROOMS = (
    *("bench", "check", "data", "errors", "export", "inspect", "kernels", "lab", "layers"),
    *("runtime", "state", "tasks", "testing"),
)

__all__ = ["__version__", *_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"throughtime.{name}")
    raise AttributeError(f"module 'throughtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
