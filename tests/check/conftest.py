"""Four small trained runs that every test of the check shares; tests alter copies of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from throughtime.check import batch
from throughtime.run import Run, load
from throughtime.training import fit


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "poem.txt"
    rng = np.random.default_rng(0)
    words = ["red", "wheel", "barrow", "glazed", "with", "rain", "water\n", "beside", "chickens"]
    text.write_text(" ".join(rng.choice(words, 1500)))
    common = {"show": False, "window": 16}
    fit("demo:sunspots", layer="gru:8", budget="30steps", out=folder / "sunspots", **common)
    fit(str(text), layer="lstm:16", budget="10steps", out=folder / "text", lanes=4, **common)
    fit(
        str(text),
        layer="gru:8x2:conv:block",
        embedding_dropout=0.3,
        dropout=0.2,
        budget="10steps",
        out=folder / "symbols",
        lanes=4,
        **common,
    )
    fit(
        "demo:sunspots",
        layer="gru:8x2",
        dropout=0.3,
        horizon=3,
        head="gaussian",
        budget="10steps",
        out=folder / "stack",
        **common,
    )
    return {name: folder / name for name in ("sunspots", "text", "symbols", "stack")}


@pytest.fixture
def copy_of(trained: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy a run's directory, to be altered."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained[name], tmp_path / name))

    return copy


@pytest.fixture
def run_of(trained: dict[str, Path]) -> Callable[[str], Run]:
    """Load a run, whose model is to be altered in memory."""
    return lambda name: load(trained[name])


@pytest.fixture
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check on 32 steps instead of 256: a planted fault needs no more."""
    monkeypatch.setattr(batch, "STEPS", 32)
