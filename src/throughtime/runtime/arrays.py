"""Safetensors files as NumPy arrays, where they lie in memory and without a copy.

The header is checked by `formats` before anything is made of it.
"""

import math
from collections.abc import Mapping

import numpy as np

from throughtime.errors import BundleError
from throughtime.formats import parse_tensor_header, plain
from throughtime.runtime.layer import Array

_DTYPES: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""NumPy's name of each dtype; it has no bfloat16, so the bits of one are read as whole numbers,
which no weight of a model may be."""

_CHUNK = 2**18


def read_arrays(content: bytearray, source: str) -> dict[str, Array]:
    """Return the arrays of a file by name.

    Args:
        content: the whole file.
        source: its name, for messages.

    Raises:
        BundleError: the file is not as the format and the limits have it.
    """
    found: dict[str, Array] = {}
    for name, dtype, shape, begin in parse_tensor_header(content, source=source):
        count = math.prod(shape)
        if count == 0:
            found[name] = np.empty(shape, _DTYPES[dtype])
            continue
        flat = np.frombuffer(content, _DTYPES[dtype], count, begin)
        if dtype == "BOOL" and int(flat.view(np.uint8).max()) > 1:
            raise BundleError(
                f"expected bytes of 0 and 1 in the BOOL tensor {plain(name)} of {source}, got "
                "others; the file is corrupt or foreign"
            )
        found[name] = flat.reshape(shape)
    return found


def check_finite(arrays: Mapping[str, Array], source: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        BundleError: naming the first one.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not _is_finite(array.reshape(-1)):
            raise BundleError(
                f"expected finite weights, got NaN or infinity in {plain(name)} of {source}; "
                "the training diverged: train again with a lower learning rate"
            )


def _is_finite(flat: Array) -> bool:
    # In pieces, because isfinite takes memory in proportion to what it is given.
    starts = range(0, len(flat), _CHUNK)
    return all(bool(np.isfinite(flat[i : i + _CHUNK]).all()) for i in starts)
