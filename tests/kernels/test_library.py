"""Where the native library is, why it can't be used, and what a user then hears: one sentence."""

import ctypes
import subprocess
import sys

import pytest
from native_runs import needs_library

from throughtime.kernels import library


@pytest.fixture
def load(monkeypatch):
    """Load afresh what the environment variable names."""

    def load(chosen):
        monkeypatch.setenv(library.OVERRIDE, str(chosen))
        return library.load.__wrapped__()

    return load


def test_none_is_no_library(load):
    with pytest.raises(library.Missing, match=r"^THROUGHTIME_LIBRARY=none$"):
        load("none")


def test_a_file_that_is_not_there_or_no_library_is_said_in_one_line(load, tmp_path):
    (tmp_path / "empty.so").touch()
    (tmp_path / "text.so").write_text("not a library\n")
    for name in ("absent.so", "empty.so", "text.so"):
        with pytest.raises(library.Missing, match=f"{name} does not load: ") as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


class Loaded(ctypes.CDLL):
    """What loads as a library with just these functions."""

    def __init__(self, functions):
        self.__dict__.update(functions)

    def __getattr__(self, name):
        raise AttributeError(f"undefined symbol: {name}")


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({}, "does not load: undefined symbol: tt_interface"),
        ({"tt_interface": lambda: 0}, "is of another version of throughtime"),
        ({"tt_interface": lambda: library._INTERFACE}, "does not load: undefined symbol: tt_"),
    ],
    ids=["another", "older", "incomplete"],
)
def test_another_library_is_not_called(load, monkeypatch, functions, message):
    monkeypatch.setattr(ctypes, "CDLL", lambda path: Loaded(functions))
    with pytest.raises(library.Missing, match=message):
        load("libthroughtime.so")


@needs_library
def test_a_library_of_another_processor_is_not_called(load, monkeypatch):
    class Unusable(Loaded):
        def __getattr__(self, name):
            return getattr(library.load(), name)

    loaded = Unusable({"tt_instruction_set": lambda: None})
    monkeypatch.setattr(ctypes, "CDLL", lambda path: loaded)
    with pytest.raises(library.Missing, match="built for another kind of processor"):
        load("libthroughtime.so")


RUNTIMES = """
import {first}
import {then}
import ctypes
from throughtime.kernels import library

path = next(path for path in {{line.split()[-1] for line in open("/proc/self/maps")}}
            if "/torch/lib/libgomp" in path)
wanted = ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p).value
assert library._openmp_pool() == wanted
"""


@needs_library
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
@pytest.mark.parametrize("order", [("torch", "math"), ("torch", "sklearn.utils.murmurhash")])
@pytest.mark.parametrize("turn", [1, -1])
def test_the_library_computes_on_the_threads_of_torch(order, turn):
    # Also beside a package that brings an OpenMP runtime of its own, whichever is loaded first.
    pytest.importorskip("sklearn")
    first, then = order[::turn]
    program = RUNTIMES.format(first=first, then=then)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PROGRAM = """
import torch, throughtime as tt
for layer in (tt.GRU(3, 4), tt.LSTM(3, 4)):
    layer(torch.ones(2, 5, 3))
    layer(torch.ones(2, 5, 3), lengths=torch.tensor([5, 2]))
    with torch.no_grad():
        layer.step(torch.ones(2, 3), layer.initial_state(2))
    print(layer.backend)
"""


@pytest.mark.parametrize(("chosen", "notices"), [("/nonexistent/kernels.so", 1), ("none", 0)])
def test_a_missing_library_is_said_once_unless_it_was_asked_for(monkeypatch, chosen, notices):
    monkeypatch.setenv(library.OVERRIDE, chosen)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("throughtime runs without its native kernels") == notices
    assert len(done.stdout.splitlines()) == 2
    assert all("no native kernels: " in line for line in done.stdout.splitlines())
