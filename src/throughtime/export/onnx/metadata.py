"""What a graph's file says of itself beside the graph: text by name, most of it JSON."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from throughtime import __version__
from throughtime.export.onnx.states import Layout
from throughtime.run import Run

FORMAT = "throughtime.onnx/1"
_PARITY = "parity.safetensors"


def describe_states(layout: Layout) -> str:
    """Return the leaves of a state as JSON: names, shapes, types and numbers at the start."""
    found: list[dict[str, Any]] = []
    for leaf in layout.leaves:
        described: dict[str, Any] = {
            "name": leaf.name,
            "past": leaf.past,
            "present": leaf.present,
            "shape": list(leaf.shape),
            "dtype": leaf.kind,
        }
        if leaf.initial.any():
            described["initial"] = leaf.numbers[0].tolist()
        found.append(described)
    return json.dumps(found)


def describe_run(run: Run, layout: Layout, task: Mapping[str, Any]) -> dict[str, str]:
    """Return what the file of a run says of itself.

    Args:
        run: the run.
        layout: of its state.
        task: what its task adds, as JSON values.
    """
    digest = hashlib.sha256((run.path / _PARITY).read_bytes()).hexdigest()
    own = {
        "format": FORMAT,
        "throughtime": __version__,
        "task": run.task.name,
        "layer": run.config.model.layer,
        "fingerprint": run.fingerprint,
        "parity_sha256": digest,
        "states": describe_states(layout),
    }
    return own | {name: json.dumps(value) for name, value in task.items()}
