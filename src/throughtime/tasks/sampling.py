"""Drawing symbols from a language model: temperature, top-k, top-p, with carried state."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageTask


def generate(
    task: LanguageTask,
    model: SequenceModel,
    prompt: str = "\n",
    *,
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Continue a prompt, one symbol at a time.

    The prompt is read once and its state carried; each further symbol costs one step, however long
    the text has become.

    Args:
        task: the task the model was trained for.
        model: the model.
        prompt: what to continue; at least one symbol.
        length: symbols to draw.
        temperature: logits are divided by it; 0 takes the most likely symbol each time.
        top_k: draw among the k most likely symbols only.
        top_p: draw among the most likely symbols that together have this probability
            (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
        seed: of the draws; the same seed draws the same text.

    Returns:
        The symbols drawn, one after the other, without the prompt.

    Raises:
        OptionError: when an option is out of its range.
    """
    _check(prompt, length, temperature, top_k, top_p)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.from_numpy(task.vocabulary.encode(prompt))

    def choose(logits: Tensor) -> int:
        if task.vocabulary.unknown is not None:
            logits[task.vocabulary.unknown] = -torch.inf
        return draw(logits, temperature, top_k, top_p, generator)

    symbols = _continued(model.eval(), ids, length, choose)
    return (task.vocabulary.decode(np.array([symbol])) for symbol in symbols)


@torch.no_grad()
def _continued(
    model: SequenceModel, ids: Tensor, length: int, choose: Callable[[Tensor], int]
) -> Iterator[int]:
    """Yield so many further symbols, chosen by their logits (V,)."""
    device = next(model.parameters()).device
    outputs, state = model(ids[None].to(device))
    logits = outputs[0, -1]
    for place in range(length):
        symbol = choose(logits.cpu())
        yield symbol
        if place + 1 < length:
            outputs, state = model.step(torch.tensor([symbol], device=device), state)
            logits = outputs[0]


def draw(
    logits: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> int:
    """Draw one symbol from logits (V,)."""
    if temperature == 0:
        return int(logits.argmax())
    # Less the largest, so that no temperature however small divides anything into infinity.
    scores = (logits.double() - logits.max()) / temperature
    probabilities = torch.softmax(scores, dim=0)
    ordered, symbols = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if top_k is not None:
        keep[top_k:] = False
    if top_p is not None:
        # The symbol that reaches the share is kept, so at least one always is.
        keep &= ordered.cumsum(0) - ordered < top_p
    chosen = torch.multinomial(ordered * keep, 1, generator=generator)
    return int(symbols[chosen])


def _check(
    prompt: str, length: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    if not prompt:
        raise OptionError("expected a prompt of one symbol or more, got none")
    if length < 0:
        raise OptionError(f"expected a length of 0 or more, got {length}")
    if not 0 <= temperature < float("inf"):
        raise OptionError(f"expected a temperature of 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise OptionError(f"expected top-k of 1 or more, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise OptionError(f"expected top-p above 0 and at most 1, got {top_p}")
