"""Tasks made of data: handwritten digits pixel by pixel, and the characters of a text."""

from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor

from benchmarks.battery.task import Batch, Part, Task

TEXT = Path(__file__).resolve().parents[3] / "shared" / "data" / "tinyshakespeare.txt"
PIXELS = 64
CHARACTERS = 65
"""Different ones in the text."""
_SHARES: dict[Part, tuple[float, float]] = {
    "train": (0.0, 0.8),
    "validation": (0.8, 0.9),
    "test": (0.9, 1.0),
}


def digits(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Pixels of an 8x8 image, row by row, in [0, 1]; the target is the digit, at the end."""
    return _images(generator, lanes, part, torch.arange(PIXELS))


def permuted_digits(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """The same with the pixels in another order, one for all images."""
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(0))
    return _images(generator, lanes, part, order)


def language(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Characters of English text; the target is the next one. Three parts, one after the other."""
    text = _share(_text(), part)
    start = torch.randint(len(text) - length, (lanes, 1), generator=generator)
    window = text[start + torch.arange(length + 1)]
    x = window[:, :-1].contiguous()
    return Batch(x, window[:, 1:].contiguous(), torch.ones_like(x, dtype=torch.bool))


def _images(generator: Generator, lanes: int, part: Part, order: Tensor) -> Batch:
    every_image, every_label = _digits()
    images, labels = _share(every_image, part), _share(every_label, part)
    # No image twice in a batch, as long as there are enough.
    chosen = torch.randperm(len(images), generator=generator)
    chosen = chosen.repeat(-(-lanes // len(images)))[:lanes]
    targets = torch.zeros(lanes, PIXELS, dtype=torch.int64)
    targets[:, -1] = labels[chosen]
    scored = torch.zeros(lanes, PIXELS, dtype=torch.bool)
    scored[:, -1] = True
    return Batch(images[chosen][:, order, None], targets, scored)


def _share(whole: Tensor, part: Part) -> Tensor:
    low, high = _SHARES[part]
    return whole[int(low * len(whole)) : int(high * len(whole))]


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """Return images (1797, 64) and labels (1797,), mixed once and for all."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.data, dtype=torch.float32) / 16
    labels = torch.tensor(found.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    return images[order], labels[order]


@cache
def _text() -> Tensor:
    text = TEXT.read_text(encoding="utf-8")
    code = {character: number for number, character in enumerate(sorted(set(text)))}
    return torch.tensor([code[character] for character in text])


def without_digits() -> str:
    """Return why there are no digits here."""
    try:
        import sklearn.datasets  # noqa: F401
    except ImportError:
        return "needs scikit-learn, whose digits they are: pip install scikit-learn"
    return ""


def without_text() -> str:
    """Return why there is no text here."""
    return "" if TEXT.exists() else "needs ../shared/data/tinyshakespeare.txt beside the checkout"


TASKS = (
    Task(
        "digits",
        "8x8 images, pixel by pixel",
        digits,
        1,
        10,
        (PIXELS, PIXELS),
        PIXELS,
        chance=1 / 10,
        solved=0.95,
        symbols=False,
        missing=without_digits,
    ),
    Task(
        "permuted_digits",
        "the same, in another order",
        permuted_digits,
        1,
        10,
        (PIXELS, PIXELS),
        PIXELS,
        chance=1 / 10,
        solved=0.95,
        symbols=False,
        missing=without_digits,
    ),
    Task(
        "language",
        "the next character of a text",
        language,
        CHARACTERS,
        CHARACTERS,
        (64, 64),
        64,
        chance=1 / CHARACTERS,
        # What is left open by the text itself is far from 1.
        solved=0.5,
        missing=without_text,
    ),
)
