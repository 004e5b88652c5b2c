"""The compiled library: where it is, how it is loaded, and its C interface as ctypes sees it.

`native/throughtime.h` says what each function and field means. Nothing here knows torch, so that
the runtime without torch loads the same library.
"""

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

OVERRIDE = "THROUGHTIME_LIBRARY"
"""Environment variable: the file to load instead (a build under test), or "none"."""

CELLS = {"rnn_tanh": 0, "rnn_relu": 1, "lstm": 2, "gru": 3}
"""Cells that the library computes, and their numbers in its interface."""

VARIANTS = {"rnn_tanh": 0, "rnn_relu": 1, "lstm": 2, "coupled_lstm": 3, "gru": 4, "slstm": 5}
"""Cells of which the library computes variants, and their numbers in its interface."""

GATES = {
    **{"min_gru": 0, "min_lstm": 1, "rg_lru": 2},
    **{"rotation": 3, "hgrn": 4, "selective": 5},
}
"""Gated linear recurrences that the library computes, and their numbers in its interface."""

_NAMES = ("libthroughtime.so", "libthroughtime.dylib", "throughtime.dll")
_INTERFACE = 3
_TORCH = "/torch/lib/"
"""What the paths of torch's own shared libraries have in common."""


class Layer(ctypes.Structure):
    """`tt_layer`."""

    _fields_ = (
        ("cell", c_int32),
        ("numbers", c_int32),
        ("features", c_int64),
        ("units", c_int64),
        ("weight_ih", c_void_p),
        ("weight_hh", c_void_p),
        ("bias_ih", c_void_p),
        ("bias_hh", c_void_p),
    )


class Sequence(ctypes.Structure):
    """`tt_sequence`."""

    _fields_ = (
        ("layer", Layer),
        ("threads", c_int64),
        ("lanes", c_int64),
        ("steps", c_int64),
        *(
            (name, c_void_p)
            for name in (
                *("lengths", "resets", "x", "h", "c", "h_restart", "c_restart"),
                *("y", "h_end", "c_end", "gates", "c_before"),
            )
        ),
    )


class Gradients(ctypes.Structure):
    """`tt_gradients`."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            *("dy", "dh_end", "dc_end", "dx", "dh", "dc", "dh_restart", "dc_restart"),
            *("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
        )
    )


class Linear(ctypes.Structure):
    """`tt_linear`."""

    _fields_ = (
        ("is_complex", c_int32),
        *((name, c_int64) for name in ("threads", "lanes", "steps", "size")),
        *((name, c_void_p) for name in ("lengths", "resets", "a", "b")),
        *((name, c_int64) for name in ("a_lane", "a_step", "b_lane", "b_step")),
        *((name, c_void_p) for name in ("state", "restart", "h", "end")),
    )


class LinearGradients(ctypes.Structure):
    """`tt_linear_gradients`."""

    _fields_ = tuple((name, c_void_p) for name in ("dh", "dend", "da", "db", "dstate", "drestart"))


class Variant(ctypes.Structure):
    """`tt_variant`."""

    _fields_ = (
        *((name, c_int32) for name in ("cell", "drop_below", "zone_below")),
        *((name, c_float) for name in ("drop_scale", "zoneout")),
        *((name, c_int64) for name in ("threads", "lanes", "steps", "units", "outputs")),
        *(
            (name, c_void_p)
            for name in (
                *("lengths", "resets", "enter", "weight", "bias", "gain", "cell_gain"),
                *("cell_bias", "peepholes", "project", "drop", "zone_h", "zone_c", "h", "c"),
                *("h_restart", "c_restart", "y", "h_end", "c_end"),
                *("slots", "normal", "c_before", "hidden"),
            )
        ),
    )


class VariantGradients(ctypes.Structure):
    """`tt_variant_gradients`."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            *("dy", "dh_end", "dc_end", "denter", "dsums", "doutput", "output"),
            *("dh", "dc", "dh_restart", "dc_restart"),
            *("dbias", "dgain", "dcell_gain", "dcell_bias", "dpeepholes"),
        )
    )


class Gated(ctypes.Structure):
    """`tt_gated`."""

    _fields_ = (
        ("gates", c_int32),
        *((name, c_float) for name in ("scale", "bound", "epsilon")),
        *((name, c_int64) for name in ("threads", "lanes", "steps", "size", "states")),
        *((name, c_int64) for name in ("features", "width", "outputs", "shares")),
        *((name, c_void_p) for name in ("lengths", "resets", "x", "weight", "constants")),
        *((name, c_void_p) for name in ("leave_weight", "leave_bias", "state", "restart")),
        *((name, c_void_p) for name in ("y", "kept", "end")),
    )


class GatedGradients(ctypes.Structure):
    """`tt_gated_gradients`."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            *("dy", "dend", "dx", "dweight", "dconstants", "dleave_weight", "dleave_bias"),
            *("dstate", "drestart"),
        )
    )


class Missing(Exception):
    """The library can't be loaded; the message says why."""


@cache
def load() -> ctypes.CDLL:
    """Load the library once.

    Raises:
        Missing: when there is none, or not one of this version.
    """
    chosen = os.environ.get(OVERRIDE)
    if chosen == "none":
        raise Missing(f"{OVERRIDE}=none")
    path = Path(chosen) if chosen else _find()
    if path is None:
        raise Missing("it was not built when throughtime was installed (no C++ compiler then)")
    try:
        library = ctypes.CDLL(str(path))
        if library.tt_interface() != _INTERFACE:
            raise Missing(f"{path.name} is of another version of throughtime")
        _declare(library)
    except (OSError, AttributeError) as error:
        raise Missing(f"{path.name} does not load: {' '.join(str(error).split())}") from None
    if library.tt_instruction_set() is None:
        raise Missing(f"{path.name} was built for another kind of processor")
    library.tt_use_pool(_openmp_pool())
    return library


def why_missing() -> str | None:
    """Return why the library can't be used, or None when it can."""
    try:
        load()
    except Missing as reason:
        return str(reason)
    return None


def _find() -> Path | None:
    """Look beside this file and, where the package is edited in place, where it was built to.

    That is found by `sys.path`, not by the package's own path, which import hooks may shorten.
    """
    installed = (Path(entry, "throughtime", "kernels") for entry in sys.path)
    for folder in (Path(__file__).parent, *installed):
        for name in _NAMES:
            path = folder / name
            if path.is_file():
                return path
    return None


def _declare(library: ctypes.CDLL) -> None:
    def declare(name: str, result: object, *arguments: object) -> None:
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments

    declare("tt_instruction_set", c_char_p)
    declare("tt_has_bfloat16", c_int)
    declare("tt_use_instruction_set", c_int, c_char_p)
    declare("tt_use_pool", None, c_void_p)
    declare("tt_forward", c_int, POINTER(Sequence))
    declare("tt_backward", c_int, POINTER(Sequence), POINTER(Gradients))
    declare("tt_linear_forward", c_int, POINTER(Linear))
    declare("tt_linear_backward", c_int, POINTER(Linear), POINTER(LinearGradients))
    declare("tt_variant_forward", c_int, POINTER(Variant))
    declare("tt_variant_backward", c_int, POINTER(Variant), POINTER(VariantGradients))
    declare("tt_step", c_int, POINTER(Layer), c_int64, *[c_void_p] * 5)
    declare("tt_stepper_new", c_void_p, POINTER(Layer), c_int64, c_void_p, c_void_p)
    declare("tt_stepper_free", None, c_void_p)
    declare("tt_stepper_h", c_void_p, c_void_p)
    declare("tt_stepper_c", c_void_p, c_void_p)
    declare("tt_stepper_step", c_int, c_void_p, c_int64, *[c_void_p] * 4)
    declare("tt_map_new", c_void_p, c_int64, c_int64, c_void_p, c_void_p)
    declare("tt_map_free", None, c_void_p)
    declare("tt_map_apply", None, c_void_p, c_int64, c_void_p, c_void_p)
    declare("tt_gated_forward", c_int, POINTER(Gated))
    declare("tt_gated_backward", c_int, POINTER(Gated), POINTER(GatedGradients))


def _openmp_pool() -> int | None:
    """Return the address of GOMP_parallel in the OpenMP runtime that this process has loaded.

    Torch computes on that runtime's threads. Found by name among the loaded libraries, so that no
    second one is ever loaded beside it. Other packages bring runtimes of their own (scikit-learn
    does): torch's is the one in its folder. Where it is not clear which one that is, the library
    starts threads of its own for each call instead.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    names = ("libgomp", "libiomp5", "libomp")
    found = {
        line.split(maxsplit=5)[-1]
        for line in maps.splitlines()
        if "/" in line and line.rsplit("/", 1)[-1].startswith(names)
    }
    found = {path for path in found if _TORCH in path} or found
    if len(found) != 1:
        return None
    try:
        runtime = ctypes.CDLL(found.pop(), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        return ctypes.cast(runtime.GOMP_parallel, c_void_p).value
    except (OSError, AttributeError):
        return None
