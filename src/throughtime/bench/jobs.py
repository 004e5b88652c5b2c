"""What a measuring process does with its job."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from throughtime.bench.memory import peak_of
from throughtime.bench.parts import chosen, effort_of

Job = dict[str, Any]


def main() -> None:
    """Do the job that is this process's argument, and print each answer as a line of JSON.

    A job has a `job`, which names it, and `threads`, how many torch is to use.
    """
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    for answer in _JOBS[job["job"]](job):
        print(json.dumps(answer), flush=True)


def _figures(job: Job) -> Iterator[Any]:
    """Yield a list of figures for each case that is measured in several processes."""
    effort = effort_of(quick=job["quick"])
    for case in chosen(job["parts"], job["layers"], quick=job["quick"]):
        if not case.once:
            yield [figure.to_json() for figure in case.run(effort)]


def _memory(job: Job) -> Iterator[Any]:
    """Yield the peak of one training step."""
    lanes, steps, features, units = job["size"]
    size = (lanes, steps, features, units)
    yield peak_of(job["layer"], size, ours=job["ours"])


_JOBS: dict[str, Callable[[Job], Iterator[Any]]] = {"figures": _figures, "memory": _memory}
