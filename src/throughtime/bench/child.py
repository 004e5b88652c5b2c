"""Processes of our own: a job goes in as JSON, its answers come back a line each, when found.

Several processes, because where memory lies and how threads are placed differs from one to the next
and stays the same within one. What a process does with a job is in `jobs`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from throughtime.bench.measure import Unavailable

# Ctrl-C reaches every process of a terminal; the one that was started first tells about it.
_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "from throughtime.bench.jobs import main; main()"
)


def answers(job: Mapping[str, Any]) -> Iterator[Any]:
    """Run a job in a new process with as many threads as here, and yield its answers.

    The process is ended when the caller stops listening.

    Args:
        job: as `jobs.main` takes it.

    Raises:
        Unavailable: when the process ends with an error, which it has printed itself.
    """
    whole = {**job, "threads": torch.get_num_threads()}
    words = [sys.executable, "-c", _PROGRAM, json.dumps(whole)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise Unavailable(f"the measuring process ended with {process.returncode}")
