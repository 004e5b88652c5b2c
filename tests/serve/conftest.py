import pytest
from redis_servers import Team, Worker, start_redis
from servers import train

import throughtime as tt

TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps.\n" * 12


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A GRU over two hourly series, one step ahead."""
    return train(tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="session")
def other_run(tmp_path_factory):
    """The same in another size, to which no state of the first one fits."""
    return train(tmp_path_factory.mktemp("other") / "run", layer="gru:5")


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory):
    """A layer without native kernels, whose streams and sessions agree to the last bit."""
    return train(tmp_path_factory.mktemp("plainly") / "run", layer="min_gru:5")


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


@pytest.fixture
def server(tmp_path):
    """A Redis for one test."""
    started = start_redis(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def store_of(server):
    """Makes a store of a run, which is a worker of its own; all are closed at the end."""
    made = []

    def make(run, **options):
        made.append(Worker(server.url, run.fingerprint, **{"expiry": 60.0, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def team(run, store_of):
    """Two engines that share a store."""
    return Team(run, store_of)
