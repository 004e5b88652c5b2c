"""What layers are put together with: stacks, residual blocks, what is left of noise in evaluation.

Masks are not drawn here, since nothing is dropped in evaluation; their seeds and steps are counted
on, so that a state means the same to the trained model.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from throughtime.errors import BundleError
from throughtime.layer_text import LayerSpec, StackSpec, did_you_mean
from throughtime.runtime import classic, diagonal, matrix, windowed
from throughtime.runtime.classic import Classic
from throughtime.runtime.layer import (
    Array,
    Layer,
    Leaf,
    Linear,
    State,
    Weights,
    root_mean_square_norm,
    silu,
)
from throughtime.runtime.native import NativeCell, compiled

OPTIONS = ("learned_initial_state", "negative_eigenvalues")
"""Fields of a configuration that are options of layers, each given to those that take it."""

LAYERS: dict[str, type[Any]] = {
    **classic.LAYERS,
    **diagonal.LAYERS,
    **matrix.LAYERS,
    **windowed.LAYERS,
}
"""Layers that there is NumPy for, by the names of `layers`; with `:conv` and `:block`."""

_NEXT_SEED = -7046029254386353131
"""What a reset adds to a seed, as `layers.noise` has it."""

_EXPANSION, _EPSILON = 2.0, 1e-6
"""Of a block: how much wider its network is, and what its norms add to a mean square."""


def check_name(name: str) -> None:
    """Refuse a layer that there is no NumPy for.

    Raises:
        BundleError: naming those that there are.
    """
    if name not in LAYERS:
        raise BundleError(
            f"expected layers among {', '.join(LAYERS)} in the runtime without torch, got {name!r}"
            f"{did_you_mean(name, tuple(LAYERS)) or '; run it by `throughtime stream`'}"
        )


class Noise:
    """Seed and step of what masks follow from, two leaves (B,) int64."""

    def __init__(self, name: str) -> None:
        self.leaves = (Leaf(f"{name}.seed", (), "int64"), Leaf(f"{name}.step", (), "int64"))

    @staticmethod
    def restart(noise: State) -> list[Array]:
        """Return the noise after a reset."""
        return [noise[0] + np.int64(_NEXT_SEED), np.zeros_like(noise[1])]

    @staticmethod
    def advance(noise: State) -> list[Array]:
        """Return the noise one step later."""
        return [noise[0], noise[1] + 1]


class Stack(Layer):
    """Layers in a row.

    Args:
        layers: from the input up.
        dropout: whether there was dropout between them in training.
    """

    def __init__(self, layers: Sequence[Layer], *, dropout: bool = False) -> None:
        self.layers = tuple(layers)
        self.dropout = dropout
        self.input_size, self.output_size = layers[0].input_size, layers[-1].output_size
        leaves = [
            leaf._replace(name=_joined(str(place), leaf.name))
            for place, layer in enumerate(layers)
            for leaf in layer.leaves
        ]
        if dropout:
            leaves += Noise(str(len(layers))).leaves
        self.leaves = tuple(leaves)

    def initial(self, lanes: int) -> list[Array]:
        """Return the layers' states before their first steps."""
        found = [leaf for layer in self.layers for leaf in layer.initial(lanes)]
        noise = [np.zeros(lanes, np.int64) for _ in range(2 if self.dropout else 0)]
        return found + noise

    def restart(self, state: State) -> list[Array]:
        """Restart every layer."""
        found = [leaf for layer, own in self._each(state) for leaf in layer.restart(own)]
        return found + (Noise.restart(state[-2:]) if self.dropout else [])

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step through all layers."""
        after: list[Array] = []
        for layer, own in self._each(state):
            x, new = layer.step(x, own)
            after += new
        return x, after + (Noise.advance(state[-2:]) if self.dropout else [])

    def parts(self) -> Iterator[Layer]:
        """Yield the layers' parts."""
        for layer in self.layers:
            yield from layer.parts()

    def _each(self, state: State) -> Iterator[tuple[Layer, State]]:
        begin = 0
        for layer in self.layers:
            end = begin + len(layer.leaves)
            yield layer, state[begin:end]
            begin = end


class Block(Layer):
    """A layer that mixes over time, then a gated network over units, each added to x.

    Args:
        weights: its own.
        input_size: F.
        layer: within, from D to D.
    """

    def __init__(self, weights: Weights, input_size: int, layer: Layer) -> None:
        size = layer.output_size
        width = max(1, round(_EXPANSION * size))
        self.input_size, self.output_size = input_size, size
        self.layer, self.leaves = layer, layer.leaves
        self.lift = None
        if input_size != size:
            self.lift = Linear(weights.part("lift"), input_size, size)
        self.gains = [weights.part(f"norms.{place}").take("weight", size) for place in range(2)]
        self.gate = Linear(weights.part("gate"), size, width, bias=False)
        self.wide = Linear(weights.part("wide"), size, width, bias=False)
        self.narrow = Linear(weights.part("narrow"), width, size, bias=False)

    def initial(self, lanes: int) -> list[Array]:
        """Return the layer's state before its first step."""
        return self.layer.initial(lanes)

    def restart(self, state: State) -> list[Array]:
        """Restart the layer."""
        return self.layer.restart(state)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        if self.lift is not None:
            x = self.lift(x)
        y, after = self.layer.step(root_mean_square_norm(x, self.gains[0], _EPSILON), state)
        u = x + y
        read = root_mean_square_norm(u, self.gains[1], _EPSILON)
        return u + self.narrow(silu(self.gate(read)) * self.wide(read)), after

    def parts(self) -> Iterator[Layer]:
        """Yield the layer's parts."""
        yield from self.layer.parts()


class Regularised(Layer):
    """A classic layer that was trained under noise; of it, zoneout's expectation is left.

    Args:
        layer: the layer.
        zoneout: share of a state that stays as it was at a step.
    """

    def __init__(self, layer: Layer, zoneout: float) -> None:
        self.layer, self.zoneout = layer, np.float32(zoneout)
        self.fresh = np.float32(1 - zoneout)
        self.input_size, self.output_size = layer.input_size, layer.output_size
        own = [leaf._replace(name=f"layer.{leaf.name}") for leaf in layer.leaves]
        self.leaves = (*own, *Noise("noise").leaves, *Noise("weights").leaves)

    def initial(self, lanes: int) -> list[Array]:
        """Return the layer's state before its first step, and seeds of zero."""
        return self.layer.initial(lanes) + [np.zeros(lanes, np.int64) for _ in range(4)]

    def restart(self, state: State) -> list[Array]:
        """Restart the layer, and go on to the next seeds."""
        noise = Noise.restart(state[-4:-2]) + Noise.restart(state[-2:])
        return self.layer.restart(state[:-4]) + noise

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        _, after = self.layer.step(x, state[:-4])
        if self.zoneout:
            after = [
                self.zoneout * old + self.fresh * new
                for old, new in zip(state[:-4], after, strict=True)
            ]
        noise = Noise.advance(state[-4:-2]) + Noise.advance(state[-2:])
        return after[0], after + noise

    def parts(self) -> Iterator[Layer]:
        """Yield the layer."""
        yield from self.layer.parts()


def build(
    spec: StackSpec,
    weights: Weights,
    input_size: int,
    *,
    dropout: bool,
    zoneout: float | None,
    options: Collection[str],
) -> Layer:
    """Build what a configuration says, as `layers.build` does.

    Args:
        spec: the layers.
        weights: of the stack.
        input_size: F.
        dropout: whether there was dropout between layers in training.
        zoneout: of the noise within layers; None where there was no noise.
        options: those of `OPTIONS` that were asked for.

    Raises:
        BundleError: a weight is not there, or of another shape.
    """
    layers: list[Layer] = []
    size = input_size
    for place, each in enumerate(spec.layers):
        own = weights if len(spec.layers) == 1 else weights.part(f"layers.{place}")
        layers.append(_build_layer(each, own, size, zoneout, options))
        size = each.hidden_size
    return layers[0] if len(layers) == 1 else Stack(layers, dropout=dropout)


def _build_layer(
    spec: LayerSpec,
    weights: Weights,
    input_size: int,
    zoneout: float | None,
    options: Collection[str],
) -> Layer:
    in_block = "block" in spec.words
    size = spec.hidden_size if in_block else input_size
    within = weights.part("layer") if in_block else weights
    own = within.part("layers.1") if "conv" in spec.words else within
    kind = LAYERS[spec.name]
    # A reservoir is drawn, not trained: no noise goes into it.
    is_trained = issubclass(kind, Classic) and kind is not classic.EchoState
    is_noisy = zoneout is not None and is_trained
    given = dict.fromkeys((name for name in kind.options if name in options), True)
    layer = kind(own.part("layer") if is_noisy else own, size, spec.hidden_size, **given)
    if compiled(layer):
        layer = NativeCell(layer)
    if zoneout is not None and is_trained:
        layer = Regularised(layer, zoneout)
    if "conv" in spec.words:
        taps = windowed.Convolution(within.part("layers.0"), size, size, depthwise=True)
        layer = Stack([taps, layer])
    return Block(weights, input_size, layer) if in_block else layer


def _joined(prefix: str, name: str) -> str:
    """Return the dotted name of a leaf in a tuple; that of a lone tensor is its place alone."""
    return prefix if name == "state" else f"{prefix}.{name}"
