"""What every layer is without torch: sizes, the leaves of its state, one step of maths.

A layer here has the weights of a trained one, by the same names, and computes what that layer's
`update` does in evaluation, in float32 by NumPy. A state is a flat list of arrays (B, ...), one
for each leaf, in the order of the tree that torch's layer has. What each layer computes is in the
file of its family.

Shape letters: B lanes, F features, H state size, D output size.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from throughtime.errors import BundleError
from throughtime.formats import plain

Array = npt.NDArray[Any]
State = Sequence[Array]


class Leaf(NamedTuple):
    """One leaf of a state: its dotted name, its shape without lanes, its dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class Weights:
    """The weights of a bundle, taken by their names; what is never taken is surplus.

    Args:
        arrays: weights by name.
        prefix: what the names of this part begin with.
        taken: names taken so far, which all parts share.
    """

    def __init__(
        self, arrays: Mapping[str, Array], prefix: str = "", taken: set[str] | None = None
    ) -> None:
        self._arrays = arrays
        self._prefix = prefix
        self._taken: set[str] = set() if taken is None else taken

    def part(self, name: str) -> "Weights":
        """Return the weights of a part of the model, such as `layers.0`."""
        return Weights(self._arrays, f"{self._prefix}{name}.", self._taken)

    def take(self, name: str, *shape: int) -> Array:
        """Return a weight.

        Raises:
            BundleError: there is none of the name, or it has another shape or dtype than the
                config has it.
        """
        whole = self._prefix + name
        remedy = "config.json and model.safetensors are not of the same model"
        weight = self._arrays.get(whole)
        if weight is None:
            raise BundleError(f"expected a weight {plain(whole)}, got none; {remedy}")
        if weight.shape != shape or weight.dtype != np.float32:
            raise BundleError(
                f"expected weight {plain(whole)} of shape {shape} float32, "
                f"got {weight.shape} {weight.dtype}; {remedy}"
            )
        self._taken.add(whole)
        return weight

    def check_all_taken(self) -> None:
        """Refuse weights that no part of the model has taken.

        Raises:
            BundleError: there are some.
        """
        if surplus := sorted(set(self._arrays) - self._taken):
            raise BundleError(
                f"expected {len(self._taken)} weights, got {len(surplus)} more, "
                f"{plain(surplus[0])} among them; config.json and model.safetensors are not of the "
                "same model"
            )


class Layer:
    """A layer in evaluation.

    Attributes:
        input_size: F.
        output_size: D.
        leaves: of its state, in order.
        options: of a model's configuration that its class takes.
        backend: what its steps run on: "numpy" or "native".
    """

    input_size: int
    output_size: int
    leaves: tuple[Leaf, ...]
    backend = "numpy"
    options: ClassVar[tuple[str, ...]] = ()

    def initial(self, lanes: int) -> list[Array]:
        """Return the state before the first step: zeros, if a layer says nothing else."""
        return [np.zeros((lanes, *leaf.shape), leaf.dtype) for leaf in self.leaves]

    def restart(self, state: State) -> list[Array]:
        """Return what a reset makes of a state."""
        return self.initial(len(state[0])) if len(state) else []

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step: x (B, F) and the state to y (B, D) and the state after."""
        raise TypeError(f"{type(self).__name__} must define step(x, state)")

    def parts(self) -> Iterator["Layer"]:
        """Yield the layers that this one is put together of, or itself."""
        yield self


class Linear:
    """A linear map with weight (O, I) and bias (O,).

    Args:
        weights: where they are, as `weight` and `bias`.
        inputs: I.
        outputs: O.
        bias: whether there is one.
    """

    def __init__(self, weights: Weights, inputs: int, outputs: int, *, bias: bool = True) -> None:
        self.weight = weights.take("weight", outputs, inputs)
        self.bias = weights.take("bias", outputs) if bias else None

    def __call__(self, x: Array) -> Array:
        """Map x (..., I) to (..., O)."""
        return affine(x, self.weight, self.bias)


def affine(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return W x + b, (..., O), of x (..., I)."""
    product: Array = x @ weight.T
    if bias is not None:
        product += bias
    return product


def sigmoid(x: Array) -> Array:
    """Return the logistic function; an exponential that overflows makes it zero, as it should."""
    result: Array = 1 / (1 + np.exp(-x))
    return result


def log_sigmoid(x: Array) -> Array:
    """Return the logarithm of the logistic function."""
    result: Array = -np.logaddexp(x.dtype.type(0), -x)
    return result


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x))."""
    result: Array = np.logaddexp(x.dtype.type(0), x)
    return result


def silu(x: Array) -> Array:
    """Return x times its logistic function."""
    return x * sigmoid(x)


def root_mean_square_norm(x: Array, gain: Array, epsilon: float) -> Array:
    """Return x (..., H) with a mean square of one, times gain (H,)."""
    square = np.square(x).mean(axis=-1, keepdims=True)
    result: Array = x / np.sqrt(square + x.dtype.type(epsilon)) * gain
    return result


def layer_norm(x: Array) -> Array:
    """Return x (..., H) with a mean of zero and a variance of one."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    result: Array = centred / np.sqrt(variance + x.dtype.type(_LEAST_VARIANCE))
    return result


_LEAST_VARIANCE = 1e-5
"""What torch's layer norm adds to a variance."""


def size_of_head(hidden_size: int, heads: int) -> int:
    """Return d = H / h; a model with other sizes can't have been trained.

    Raises:
        BundleError: heads do not divide H.
    """
    if hidden_size % heads:
        raise BundleError(
            f"expected {heads} heads to divide hidden_size, got {hidden_size} in config.json; "
            "the file is not one that throughtime wrote"
        )
    return hidden_size // heads
