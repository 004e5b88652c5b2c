import pytest
from streams import table, train

import throughtime as tt

TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps.\n" * 12


@pytest.fixture(scope="session")
def frame():
    return table()


@pytest.fixture(scope="session")
def run(frame, tmp_path_factory):
    """A GRU over three keys with gaps, one step ahead."""
    return train(frame, tmp_path_factory.mktemp("plain") / "run", layer="gru:6")


@pytest.fixture(scope="session")
def wide_frame():
    return table(covariates=True, seed=1)


@pytest.fixture(scope="session")
def wide_run(wide_frame, tmp_path_factory):
    """A stack with dropout, covariates of known and unknown future, three steps ahead."""
    return train(
        wide_frame,
        tmp_path_factory.mktemp("wide") / "run",
        layer="lstm:5x2",
        dropout=0.3,
        horizon=3,
        reading={"known_future": ("temperature", "holiday")},
    )


@pytest.fixture(scope="session")
def text_run(tmp_path_factory):
    """A small language model."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(TEXT)
    return tt.fit(
        str(folder / "text.txt"),
        task="language",
        layer="gru:8",
        embedding=4,
        budget="3steps",
        out=folder / "run",
        window=16,
        show=False,
    )
