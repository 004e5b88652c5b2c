"""All tasks by name."""

from benchmarks.battery import memory, reading, tracking
from benchmarks.battery.task import Task

TASKS: dict[str, Task] = {
    task.name: task for task in (*memory.TASKS, *tracking.TASKS, *reading.TASKS)
}
