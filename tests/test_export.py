import subprocess
import sys
from pathlib import Path

import pytest

from throughtime.layers import names

CLASSIC = ("rnn", "lstm", "gru")
MADE_OF_LAYERS = ("stack", "blocks", "regularised", "dropped weights")
STREAMABLE = (*CLASSIC, *MADE_OF_LAYERS, *(name for name in names() if name not in CLASSIC))


OF_EACH_KIND = ("gru", "blocks", "regularised", "rg_lru", "slstm", "rwkv7")


def assert_exported(wanted, *arguments):
    """In a process of its own, because tracing can't see through checks of types at run time."""
    program = Path(__file__).with_name("exported.py")
    done = subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = []
    for name in wanted:
        expected.append(f"exported {name} evaluating")
        if name in MADE_OF_LAYERS:
            expected.append(f"exported {name} training")
        expected.append(f"compiled {name}")
    assert done.stdout.splitlines() == [
        *expected,
        "exported model training",
        "exported model evaluating",
        "compiled bidirectional",
    ]


def test_layers_of_each_kind_export_save_load_and_compile():
    assert_exported(OF_EACH_KIND, *OF_EACH_KIND)


@pytest.mark.slow
def test_each_layer_exports_saves_loads_and_compiles():
    assert_exported(STREAMABLE)
