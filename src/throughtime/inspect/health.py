"""Before training: how long a layer remembers as it is, and what start gives a wanted memory."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.errors import OptionError
from throughtime.inspect.layer import as_layer
from throughtime.inspect.leaves import float_leaves
from throughtime.inspect.lyapunov import lyapunov_exponents
from throughtime.layers import RNN
from throughtime.layers.classic import Classic
from throughtime.recurrent import Recurrent

CHAOTIC = 0.01
"""An exponent above this is no error of measurement: states that are alike come apart."""
_HALVINGS = 12


class Initialisation(NamedTuple):
    """A start that gives a wanted memory.

    Attributes:
        option: "memory", of a gated layer, or "gain", what the recurrent weights of an RNN are
            multiplied by.
        value: of the option.
        half_life: steps in which gradients halve with it, by the largest Lyapunov exponent.
        layer: a copy of the layer that starts so.
    """

    option: str
    value: float
    half_life: float
    layer: Recurrent


class HealthCheck(NamedTuple):
    """How a layer begins.

    Attributes:
        exponents: the largest Lyapunov exponents, the first one first, as means over lanes.
        memory: what was asked for, in steps; None where nothing was.
        initialisation: what gives it; None where nothing was asked for, or where the layer has
            nothing to set.
    """

    exponents: tuple[float, ...]
    memory: int | None
    initialisation: Initialisation | None

    @property
    def half_life(self) -> float:
        """Steps in which gradients will halve; infinite where they will not shrink."""
        return half_life(self.exponents[0])

    def lines(self) -> list[str]:
        """Say it in words, a line for each figure."""
        largest = self.exponents[0]
        text = f"the largest Lyapunov exponent is {largest:+.3f} a step: "
        if largest == -math.inf:
            found = [f"{text}gradients end at once, as behind a window of inputs"]
        elif largest > CHAOTIC:
            found = [f"{text}gradients double in {math.log(2) / largest:.3g} steps, and explode"]
        else:
            found = [f"{text}gradients halve in {self.half_life:.3g} steps"]
        start = self.initialisation
        if self.memory is not None and start is None:
            found.append(f"nothing in the layer's start is to be set for {self.memory} steps")
        elif start is not None:
            found.append(
                f"for {self.memory} steps, start with {start.option} = {start.value:.3g}: "
                f"gradients then halve in {start.half_life:.3g} steps"
            )
        return found


def half_life(exponent: float) -> float:
    """Return the steps in which a gradient halves that changes by exp of this in a step."""
    return math.log(2) / -exponent if exponent < 0 else math.inf


def health_check(
    layer: nn.Module, x: Tensor, *, memory: int | None = None, count: int = 3, seed: int = 0
) -> HealthCheck:
    """Measure how long a layer will remember before it has learned anything.

    Args:
        layer: any layer or stack, or one of torch.nn's; left as it is.
        x: (B, T, F): inputs like those that it will be trained on, T of 100 or more.
        memory: steps in which gradients should halve; the start that gives it is searched for: the
            option `memory` of layers with gates (chrono initialisation, Tallec and Ollivier 2018,
            https://arxiv.org/abs/1804.11188), the size of the recurrent weights of an `RNN`.
        count: how many exponents are measured; fewer where the state is smaller.
        seed: of the starts that are tried.

    Raises:
        OptionError: when memory is below 2, or there are too few steps to measure.

    Example:
        >>> from throughtime.layers import GRU
        >>> _ = torch.manual_seed(0)
        >>> found = health_check(GRU(1, 16), torch.randn(2, 150, 1), memory=40)
        >>> 1 < found.half_life < 4, found.initialisation.option
        (True, 'memory')
        >>> 40 <= found.initialisation.half_life < 50
        True
    """
    layer = as_layer(layer)
    if memory is not None and memory < 2:
        raise OptionError(f"expected a memory of 2 steps or more, got {memory}")
    size = sum(leaf.numel() for leaf in float_leaves(layer.initial_state(1)).values())
    exponents = lyapunov_exponents(layer, x, count=min(count, size), seed=seed).mean(0)
    start = None if memory is None else _initialisation(layer, x, memory, seed)
    return HealthCheck(tuple(exponents.tolist()), memory, start)


def _initialisation(layer: Recurrent, x: Tensor, memory: int, seed: int) -> Initialisation | None:
    """Search for the least value of an option that gives the memory."""
    parts = [part for part in layer.modules() if isinstance(part, Classic)]
    make: Callable[[float], Recurrent]
    if any(_takes_memory(part) for part in parts):
        option, low, high = "memory", 3.0, 64.0 * memory

        def make(value: float) -> Recurrent:
            return _with_memory(layer, round(value), seed)

    elif any(isinstance(part, RNN) for part in parts):
        option, low, high = "gain", 0.25, 8.0

        def make(value: float) -> Recurrent:
            return _with_gain(layer, value)

    else:
        return None

    def measure(value: float) -> float:
        return half_life(float(lyapunov_exponents(make(value), x, seed=seed).mean()))

    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        if measure(middle) >= memory:
            high = middle
        else:
            low = middle
    value = float(math.ceil(high)) if option == "memory" else high
    return Initialisation(option, value, measure(value), make(value))


def _takes_memory(layer: Classic) -> bool:
    return hasattr(layer, "memory") and layer.bias_ih is not None


def _with_memory(layer: Recurrent, memory: int, seed: int) -> Recurrent:
    """Return a copy that starts afresh with the option `memory`."""
    made = copy.deepcopy(layer)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for part in made.modules():
            if isinstance(part, Classic) and _takes_memory(part):
                vars(part).update(memory=memory)
                if "forget_bias" in vars(part):
                    vars(part).update(forget_bias=None)
                part.reset_parameters()
    return made


def _with_gain(layer: Recurrent, gain: float) -> Recurrent:
    """Return a copy whose recurrent weights are so many times as large."""
    made = copy.deepcopy(layer)
    with torch.no_grad():
        for part in made.modules():
            if isinstance(part, RNN):
                part.weight_hh.mul_(gain)
    return made
