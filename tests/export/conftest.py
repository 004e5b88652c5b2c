import pytest
from c_exports import train

TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps. \u00e9\u2014\n" * 12


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A GRU of one block and a rest, one step ahead."""
    return train(tmp_path_factory.mktemp("plain") / "run", layer="gru:20")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A text with characters of one, two and three bytes."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture(scope="session")
def text_run(tmp_path_factory, text_file):
    """A language model of blocks and convolutions, trained with every kind of dropout."""
    return train(
        tmp_path_factory.mktemp("symbols") / "run",
        str(text_file),
        task="language",
        layer="gru:8x2:conv:block",
        embedding=4,
        embedding_dropout=0.2,
        dropout=0.2,
        recurrent_dropout=0.1,
    )
