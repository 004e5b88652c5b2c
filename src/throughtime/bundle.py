"""The bundle: what of a run directory is deployed, safe to load and self-verifying.

`config.json`, `model.safetensors`, `vocabulary.json` (where there is one), `parity.safetensors`,
`manifest.json` and the card `README.md`. Loading executes nothing, and takes no more memory than
the files have bytes. Here bytes become a model's parts and back; what the config means is the
caller's, what lies on disk is in `bundle_files`, the formats are in `formats`.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor

from throughtime.bundle_files import (
    CONFIG,
    FORMAT,
    LIMITS,
    MODEL,
    PARITY,
    VOCABULARY,
    read_files,
    write_files,
)
from throughtime.errors import BundleError
from throughtime.formats import (
    ITEM_SIZES,
    encode_json,
    parse_json,
    parse_tensor_header,
    plain,
)

__all__ = ["FORMAT", "Bundle", "check_weights", "read_bundle", "write_bundle"]

_DTYPES = dict(
    zip(
        ITEM_SIZES,
        (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.int64,
            torch.int32,
            torch.int16,
            torch.int8,
            torch.uint8,
            torch.bool,
        ),
        strict=True,
    )
)
_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model as it lies on disk, verified.

    Attributes:
        path: the run directory.
        config: content of `config.json`; what it means is the caller's to validate.
        weights: tensors of `model.safetensors` by name, all finite.
        vocabulary: content of `vocabulary.json`, or None where the model has none.
        parity: tensors of `parity.safetensors` by name: inputs, and what came of them.
        fingerprint: identity of the model, 64 hexadecimal digits: the same config, weights and
            vocabulary give the same one. Saved states are bound to it.
    """

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    vocabulary: dict[str, Any] | None
    parity: dict[str, Tensor]
    fingerprint: str


def write_bundle(
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    vocabulary: Mapping[str, Any] | None,
    parity: Mapping[str, Tensor],
    card: str,
) -> Bundle:
    """Write a bundle into a run directory, in place of the one that is there.

    A failure on the way (a full disk, say) leaves the old bundle as it was; a crash leaves the old
    bundle, or one that `read_bundle` refuses as interrupted. Other files are left alone.

    Args:
        path: the run directory; created if it is not there.
        config: plain JSON values.
        weights: tensors of any shape; tied ones are written once for each name.
        vocabulary: plain JSON values, or None.
        parity: tensors of any shape; NaN is allowed in these.
        card: text of the model card, Markdown. It is for people, who may edit it: unlike the
            other files it is not verified on reading.

    Returns:
        The bundle as `read_bundle` would return it.

    Raises:
        BundleError: when `read_bundle` would refuse the result (then nothing was written), or
            when it can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as run:
        ...     written = write_bundle(
        ...         run, config={"task": "forecast"}, weights={"w": torch.ones(2)},
        ...         vocabulary=None, parity={}, card="# A model",
        ...     )
        ...     read_bundle(run).fingerprint == written.fingerprint
        True
    """
    directory = Path(path)
    contents = {
        CONFIG: encode_json(dict(config), source=CONFIG),
        MODEL: _encode_tensors(weights, MODEL),
        PARITY: _encode_tensors(parity, PARITY),
    }
    if vocabulary is not None:
        contents[VOCABULARY] = encode_json(dict(vocabulary), source=VOCABULARY)
    for name, content in contents.items():
        if len(content) > LIMITS[name]:
            raise BundleError(
                f"expected at most {LIMITS[name]} bytes for {name}, got {len(content)}; "
                "make the model smaller"
            )
    parts = _decode({name: bytearray(content) for name, content in contents.items()})
    return Bundle(directory, *parts, write_files(directory, contents, card))


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the bundle of a run directory; nothing in it is executed.

    Args:
        path: the folder that training wrote, or a copy of it.

    Returns:
        The bundle, every file verified against the manifest. The tensors are on the CPU.

    Raises:
        BundleError: when the folder is no run, was written in part, is of another format version,
            holds a file that was altered or is corrupt, or weights that are not finite.
    """
    directory = Path(path)
    contents, fingerprint = read_files(directory)
    return Bundle(directory, *_decode(contents), fingerprint)


def check_weights(
    expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]], weights: Mapping[str, Tensor]
) -> None:
    """Demand the weights that a model takes: the same names, shapes and dtypes.

    Args:
        expected: shape and dtype of each weight by name, as the config has it.
        weights: tensors by name, as the bundle has them.

    Raises:
        BundleError: naming the first weight that differs.
    """
    remedy = f"{CONFIG} and {MODEL} are not of the same model"
    for name, (shape, dtype) in expected.items():
        if name not in weights:
            raise BundleError(f"expected a weight {plain(name)}, got none; {remedy}")
        weight = weights[name]
        if (tuple(weight.shape), weight.dtype) != (tuple(shape), dtype):
            raise BundleError(
                f"expected weight {plain(name)} of shape {tuple(shape)} {_show(dtype)}, "
                f"got {tuple(weight.shape)} {_show(weight.dtype)}; {remedy}"
            )
    if surplus := sorted(set(weights) - set(expected)):
        raise BundleError(
            f"expected {len(expected)} weights, got {len(surplus)} more, "
            f"{plain(surplus[0])} among them; {remedy}"
        )


def _decode(
    contents: Mapping[str, bytearray],
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any] | None, dict[str, Tensor]]:
    """Parse the files into the parts of a bundle; writing and reading both go through here."""
    config = parse_json(contents[CONFIG], source=CONFIG)
    weights = _decode_tensors(contents[MODEL], MODEL)
    for name, weight in weights.items():
        if not _are_finite(weight):
            raise BundleError(
                f"expected finite weights, got NaN or infinity in {plain(name)} of {MODEL}; "
                "the training diverged: train again with a lower learning rate"
            )
    vocabulary = None
    if VOCABULARY in contents:
        vocabulary = parse_json(contents[VOCABULARY], source=VOCABULARY)
    return config, weights, vocabulary, _decode_tensors(contents[PARITY], PARITY)


def _decode_tensors(content: bytearray, source: str) -> dict[str, Tensor]:
    """View the tensors of a safetensors file where they lie in memory, without a copy."""
    tensors = {}
    for name, dtype_name, shape, begin in parse_tensor_header(content, source=source):
        dtype, count = _DTYPES[dtype_name], math.prod(shape)
        if count == 0:
            tensors[name] = torch.empty(shape, dtype=dtype)
            continue
        if dtype == torch.bool and int(_view(content, torch.uint8, count, begin).max()) > 1:
            raise BundleError(
                f"expected bytes of 0 and 1 in the BOOL tensor {plain(name)} of {source}, got "
                "others; the file is corrupt or foreign"
            )
        tensors[name] = _view(content, dtype, count, begin).view(shape)
    return tensors


def _are_finite(weight: Tensor) -> bool:
    if not weight.is_floating_point():
        return True
    # In pieces, because isfinite takes memory in proportion to what it is given.
    flat = weight.view(-1)
    starts = range(0, flat.numel(), _CHUNK)
    return all(bool(torch.isfinite(flat[i : i + _CHUNK]).all()) for i in starts)


def _view(content: bytearray, dtype: torch.dtype, count: int, begin: int) -> Tensor:
    return torch.frombuffer(content, dtype=dtype, count=count, offset=begin)


def _encode_tensors(tensors: Mapping[str, Tensor], source: str) -> bytes:
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values() or name == "__metadata__":
            raise BundleError(
                f"expected tensors of {', '.join(map(_show, _DTYPES.values()))} for {source}, got "
                f"{plain(name)} of {_show(tensor.dtype)}; convert or rename it"
            )
    # Cloned, because the format has no place for tensors that share memory.
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    # With this metadata other safetensors tools know the file for one of PyTorch's.
    return serialise(whole, metadata={"format": "pt"})


def _show(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
