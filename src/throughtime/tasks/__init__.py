"""What is learned: heads, losses, metrics, baselines and what a prediction looks like.

The names below load their modules when they are first used: `features` and `scaling`, which need
numpy alone, are loaded where there is no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from throughtime.tasks.forecast import ForecastOptions, ForecastTask
    from throughtime.tasks.language import LanguageOptions, LanguageTask
    from throughtime.tasks.sampling import generate
    from throughtime.tasks.task import Task

NAMES = ("forecast", "language")
"""What `--task` takes."""

_HOMES = {
    "ForecastOptions": "forecast",
    "ForecastTask": "forecast",
    "LanguageOptions": "language",
    "LanguageTask": "language",
    "Task": "task",
    "generate": "sampling",
}

__all__ = [
    "NAMES",
    "ForecastOptions",
    "ForecastTask",
    "LanguageOptions",
    "LanguageTask",
    "Task",
    "generate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
