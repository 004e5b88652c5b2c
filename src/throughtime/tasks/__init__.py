"""What is learned: heads, losses, metrics, baselines and what a prediction looks like."""

from throughtime.tasks.forecast import ForecastOptions, ForecastTask
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.tasks.sampling import generate
from throughtime.tasks.task import Task

NAMES = (ForecastTask.name, LanguageTask.name)

__all__ = [
    "NAMES",
    "ForecastOptions",
    "ForecastTask",
    "LanguageOptions",
    "LanguageTask",
    "Task",
    "generate",
]
