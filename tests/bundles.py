"""What the tests of bundles share: a small bundle, comparing, and signing as an attacker would."""

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from throughtime.bundle import FORMAT, Bundle, read_bundle
from throughtime.errors import BundleError

VERIFIED = ("config.json", "model.safetensors", "vocabulary.json", "parity.safetensors")


def parts(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "config": {"task": "language", "name": "Größe ∞", "seed": seed, "rates": [0.1, 1e-300]},
        "weights": {
            "cell.weight": torch.randn(3, 2, generator=generator),
            "cell.bias": torch.randn(3, generator=generator, dtype=torch.float64),
            "empty": torch.zeros(0, 3),
            "half": torch.randn(5, generator=generator).to(torch.bfloat16),
            "mask": torch.tensor([True, False, True]),
            "scalar": torch.tensor(seed),
        },
        "vocabulary": {"mode": "characters", "symbols": ["a", "\n", "é", "\u2028", "😀"]},
        "parity": {"inputs": torch.randn(2, 4, generator=generator), "y": torch.tensor(torch.nan)},
        "card": "# A model\n",
    }


def same_tensors(got: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit, NaN included."""
    return got.keys() == expected.keys() and all(
        got[name].dtype == tensor.dtype
        and got[name].shape == tensor.shape
        and torch.equal(
            got[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )
        for name, tensor in expected.items()
    )


def is_of(bundle: Bundle, seed: int) -> bool:
    expected = parts(seed)
    return (
        bundle.config == expected["config"]
        and bundle.vocabulary == expected["vocabulary"]
        and same_tensors(bundle.weights, expected["weights"])
        and same_tensors(bundle.parity, expected["parity"])
    )


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sign(run: Path, **changes: Any) -> None:
    """Write a manifest that vouches for whatever lies there, as an attacker would."""
    files = {
        name: {
            "sha256": digest((run / name).read_bytes()),
            "size": (run / name).stat().st_size,
        }
        for name in sorted(VERIFIED)
        if (run / name).exists()
    }
    lines = [f"{n} {f['sha256']}\n" for n, f in files.items() if n != "parity.safetensors"]
    manifest = {"format": FORMAT, "fingerprint": digest("".join(lines).encode()), "files": files}
    (run / "manifest.json").write_text(json.dumps(manifest | changes, indent=2) + "\n")


def refusal(run: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(run)
    message = str(caught.value)
    assert message.isprintable(), "one line, fit for a terminal"
    assert len(message) < 1500
    assert "expected" in message
    assert "got" in message
    assert caught.value.__cause__ is None
    return message


@contextmanager
def limit(kind: int, amount: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))
