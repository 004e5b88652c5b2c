"""A loaded model: outputs and states from inputs and states, as arrays.

It has no torch and holds no state: what a step leaves behind is given back, by the names that
`config.json` has. What the inputs mean is the task's business, in `forecast` and `language`.
"""

from collections.abc import Mapping

import numpy as np

from throughtime.errors import BundleError, OptionError, ShapeError, StateError
from throughtime.layer_text import read_layers
from throughtime.runtime.around import OPTIONS, Noise, build, check_name
from throughtime.runtime.config import Config
from throughtime.runtime.layer import Array, Leaf, Linear, Weights

State = Mapping[str, Array]
"""Arrays (B, ...) by name, each as `config.json` describes it."""


class Network:
    """Encoder, recurrent stack and head of a trained model, in evaluation.

    Args:
        config: what it is made of.
        arrays: the weights by name; exactly those that the config asks for.

    Attributes:
        leaves: name, shape without lanes and dtype of each leaf of the state.

    Raises:
        BundleError: weights and config are not of one model, or a layer has no NumPy form.
    """

    def __init__(self, config: Config, arrays: Mapping[str, Array]) -> None:
        made = config.model
        try:
            spec = read_layers(made.layer, check_name)
        except OptionError as error:
            raise BundleError(f"expected layers in config.json that can be read: {error}") from None
        weights = Weights(arrays)
        size = made.features or made.embedding
        self.symbols = made.symbols
        self.embedding = None
        if made.symbols is not None:
            self.embedding = weights.part("embedding").take("weight", made.symbols, size)
        noisy = bool(made.recurrent_dropout or made.zoneout or made.weight_drop)
        self.layers = build(
            spec,
            weights.part("layers"),
            size,
            dropout=made.dropout > 0,
            zoneout=made.zoneout if noisy else None,
            options=[name for name in OPTIONS if getattr(made, name)],
        )
        self.head = Linear(weights.part("head"), self.layers.output_size, made.outputs)
        weights.check_all_taken()
        self.features = made.features
        self.drops_symbols = made.embedding_dropout > 0
        leaves = self.layers.leaves
        if self.drops_symbols:
            leaves = (*(_within(leaf) for leaf in leaves), *Noise("noise").leaves)
        self.leaves: tuple[Leaf, ...] = leaves
        if tuple(map(tuple, leaves)) != config.state:
            raise BundleError(
                f"expected the state {_show(config.state)} as config.json has it, got "
                f"{_show(tuple(map(tuple, leaves)))} of its layers; the files are not of one model"
            )

    @property
    def backend(self) -> str:
        """What the layers run on: `native`, `numpy`, or both."""
        return ", ".join(sorted({part.backend for part in self.layers.parts()}))

    def initial_state(self, lanes: int) -> dict[str, Array]:
        """Return the state before the first step, for B lanes."""
        if lanes < 1:
            raise OptionError(f"expected lanes of 1 or more, got {lanes}")
        return self._named(self._initial(lanes))

    def step(
        self, x: Array, state: State, *, reset: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Take one step.

        Args:
            x: (B, F) float32, or (B,) int64 symbols.
            state: of B lanes; it is not changed.
            reset: (B,) bool, lanes whose state restarts before the step.

        Returns:
            Outputs (B, O) and the state after.

        Raises:
            ShapeError: x or reset has another shape or dtype.
            StateError: the state is of another model or another number of lanes.
        """
        x = self._checked(x, rank=1)
        leaves = self._leaves(state, len(x))
        if reset is not None:
            leaves = self._restarted(leaves, _checked_flags(reset, x.shape[:1], "reset", "(B,)"))
        with np.errstate(all="ignore"):
            outputs, after = self.advance(x, leaves)
        return outputs, self._named(after)

    def run(
        self, x: Array, state: State | None = None, *, resets: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Take T steps.

        Args:
            x: (B, T, F) float32, or (B, T) int64 symbols.
            state: of B lanes, before step 0; the initial one when None.
            resets: (B, T) bool, True at t where the state restarts before step t.

        Returns:
            Outputs (B, T, O) and the state after the last step.

        Raises:
            ShapeError: x or resets has another shape or dtype.
            StateError: the state is of another model or another number of lanes.
        """
        x = self._checked(x, rank=2)
        leaves = self._initial(len(x)) if state is None else self._leaves(state, len(x))
        if resets is not None:
            resets = _checked_flags(resets, x.shape[:2], "resets", "(B, T)")
        outputs = np.empty((*x.shape[:2], len(self.head.weight)), np.float32)
        with np.errstate(all="ignore"):
            for t in range(x.shape[1]):
                if resets is not None and resets[:, t].any():
                    leaves = self._restarted(leaves, resets[:, t])
                outputs[:, t], leaves = self.advance(x[:, t], leaves)
        return outputs, self._named(leaves)

    def advance(self, x: Array, leaves: list[Array]) -> tuple[Array, list[Array]]:
        """Take one step of checked arguments, the state as a list of leaves."""
        noise: list[Array] = []
        if self.embedding is not None:
            x = self.embedding[x]
        if self.drops_symbols:
            leaves, noise = leaves[:-2], Noise.advance(leaves[-2:])
        y, after = self.layers.step(x, leaves)
        return self.head(y), after + noise

    def _initial(self, lanes: int) -> list[Array]:
        noise = [np.zeros(lanes, np.int64) for _ in range(2 if self.drops_symbols else 0)]
        return self.layers.initial(lanes) + noise

    def _restarted(self, leaves: list[Array], reset: Array) -> list[Array]:
        if self.drops_symbols:
            fresh = self.layers.restart(leaves[:-2]) + Noise.restart(leaves[-2:])
        else:
            fresh = self.layers.restart(leaves)
        return [
            np.where(reset.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(fresh, leaves, strict=True)
        ]

    def _named(self, leaves: list[Array]) -> dict[str, Array]:
        return dict(zip((leaf.name for leaf in self.leaves), leaves, strict=True))

    def _leaves(self, state: State, lanes: int) -> list[Array]:
        """Return the leaves of a state in order, or say what it is instead."""
        if len(state) != len(self.leaves):
            raise StateError(
                f"expected a state of {', '.join(leaf.name for leaf in self.leaves)}, got "
                f"{', '.join(map(str, state)) or 'none'}; make states with initial_state(B)"
            )
        found = []
        for name, shape, dtype in self.leaves:
            leaf = state.get(name)
            if leaf is None or leaf.shape != (lanes, *shape) or leaf.dtype != dtype:
                got = "none" if leaf is None else f"{leaf.shape} {leaf.dtype}"
                raise StateError(
                    f"expected {name} of a state as {(lanes, *shape)} {dtype}, got {got}; keep the "
                    "lanes of a batch together, and make states with initial_state(B)"
                )
            found.append(leaf)
        return found

    def _checked(self, x: Array, *, rank: int) -> Array:
        """Refuse inputs of another kind; rank is the number of axes before the features."""
        where = "(B" if rank == 1 else "(B, T"
        if self.symbols is not None:
            if x.ndim != rank or x.dtype != np.int64 or not len(x) > 0:
                raise ShapeError(
                    f"expected symbols as {where}) int64, got {x.shape} {x.dtype}; "
                    f"{'run' if rank == 1 else 'step'} takes the other rank"
                )
            if x.size and not (int(x.min()) >= 0 and int(x.max()) < self.symbols):
                raise ShapeError(
                    f"expected symbols of 0 to {self.symbols - 1}, got {int(x.min())} to "
                    f"{int(x.max())}; encode text with the run's vocabulary"
                )
            return x
        if x.ndim != rank + 1 or x.shape[-1] != self.features or not len(x) > 0:
            raise ShapeError(
                f"expected x as {where}, F) with F = {self.features}, got {x.shape}; "
                f"{'run' if rank == 1 else 'step'} takes the other rank"
            )
        if x.dtype != np.float32:
            raise ShapeError(f"expected x as float32, got {x.dtype}; use x.astype(np.float32)")
        return x


def _checked_flags(flags: Array, shape: tuple[int, ...], name: str, letters: str) -> Array:
    if flags.dtype != np.bool_ or flags.shape != shape:
        raise ShapeError(
            f"expected {name} as {letters} bool = {shape}, got {flags.shape} {flags.dtype}; True "
            "starts a step afresh"
        )
    return flags


def _within(leaf: Leaf) -> Leaf:
    """Return a leaf of the layers as it is named within a state that has noise beside it."""
    return leaf._replace(name="layers" if leaf.name == "state" else f"layers.{leaf.name}")


def _show(state: object) -> str:
    text = str(state)
    return text if len(text) <= 300 else f"{text[:300]}..."
