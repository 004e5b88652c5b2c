"""What the tests of the check share: names of what failed, and signing as an attacker would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from throughtime.bundle import read_bundle, write_bundle
from throughtime.check import Item, Report


def failed(report: Report) -> set[str]:
    return {item.name for item in report.items if not item.passed}


def item(report: Report, name: str) -> Item:
    (found,) = (item for item in report.items if item.name == name)
    return found


def resign(path: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    """Alter a bundle and write it with a manifest that fits; `parity.safetensors` stays."""
    bundle = read_bundle(path)
    parts = {
        "config": bundle.config,
        "weights": {name: weight.clone() for name, weight in bundle.weights.items()},
        "vocabulary": bundle.vocabulary,
        "parity": bundle.parity,
    }
    alter(parts)
    write_bundle(path, **parts, card="# Altered")
