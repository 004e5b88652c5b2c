"""What all tests share: one thread, few and repeatable examples, the data beside the checkout."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

torch.set_num_threads(1)
settings.register_profile(
    "throughtime",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
# For scripts to which any failure will do, however large its example.
settings.register_profile(
    "unshrunk", settings.get_profile("throughtime"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("throughtime")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of public data sets that some tests read."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data sets in {folder}")
    return folder


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same numbers, alone or among others."""
    torch.manual_seed(0)
