"""The machine that figures were taken on."""

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

_TELLING = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")


def describe() -> dict[str, Any]:
    """Return the CPU, its instruction sets, the threads that torch uses and the versions.

    Example:
        >>> describe()["threads"] == torch.get_num_threads()
        True
    """
    model, flags = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "instructions": [name for name in _TELLING if name in flags],
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def as_text(machine: dict[str, Any]) -> str:
    """Return the description in a line."""
    sets = " ".join(machine["instructions"])
    return (
        f"{machine['cpu']} ({sets}), {machine['cores']} cores, {machine['threads']} threads, "
        f"torch {machine['torch']} using {machine['torch_uses']}"
    )


def _processor() -> tuple[str, set[str]]:
    """Return the model and the flags as Linux has them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "", set()
    lines = [line.partition(":") for line in text.splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    model = found.get("model name", "")
    return model, set((found.get("flags") or found.get("Features") or "").split())
