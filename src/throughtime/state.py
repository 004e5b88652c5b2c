"""Functions on state trees: everything one does with a state, whatever layer it belongs to.

A state is an immutable tree (NamedTuples or tuples, at any depth) whose leaves are tensors of shape
(B, ...): axis 0 is the lane, always. Because of that one rule each function here is a tree map of a
line or two. Layers make states (`initial_state`); nothing here knows a layer.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.utils._pytree as pytree
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from throughtime.errors import BundleError, StateError
from throughtime.files import read_regular_file, write_atomically
from throughtime.formats import parse_tensor_header, parse_tensor_metadata, plain

State = Any
"""A tree of tensors with lanes on axis 0; its exact type is the layer's own."""

S = TypeVar("S")
N = TypeVar("N", bound=type)

_FORMAT = "throughtime.state/1"


class Leaf(NamedTuple):
    """What one leaf of a state looks like, without its lanes."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def register(cls: N) -> N:
    """Register a NamedTuple as a state class, so that an exported `step` can be saved.

    `torch.export.save` needs a name for each container in a graph's signature, and `load` takes
    the examples that are saved with it only when their classes are known to be safe. Use it as a
    decorator on the state class of your own layer.

    Args:
        cls: a NamedTuple class.

    Returns:
        The class itself.

    Example:
        >>> from typing import NamedTuple
        >>> @register
        ... class CounterState(NamedTuple):
        ...     count: Tensor
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    pytree._register_namedtuple(cls, serialized_type_name=name)
    torch.serialization.add_safe_globals([cls])
    return cls


def leaves(state: State) -> list[Tensor]:
    """Return the tensors of a state, in the order of its tree."""
    return flatten(state)


def flatten(tree: Any) -> list[Any]:
    """Return the leaves of any tree, whatever they are."""
    if isinstance(tree, tuple) and all(isinstance(leaf, Tensor) for leaf in tree):
        return list(tree)  # what most states are, and ten times as fast
    return pytree.tree_leaves(tree)


def tree_map(function: Callable[..., Any], state: S, *others: Any) -> S:
    """Apply a function to each leaf (and the same leaf of other states), keeping the tree."""
    return pytree.tree_map(function, state, *others)  # type: ignore[no-any-return]


def names(state: State) -> list[str]:
    """Return a dotted name per leaf, such as `1.h`, in the order of `leaves`."""
    paths, _ = pytree.tree_flatten_with_path(state)
    return [".".join(_key_name(key) for key in path) or "state" for path, _ in paths]


def spec(state: State) -> tuple[Leaf, ...]:
    """Describe each leaf of a state: name, shape without the lane axis, dtype."""
    return tuple(
        Leaf(name, tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("torch."))
        for name, leaf in zip(names(state), leaves(state), strict=True)
    )


def lanes(state: State) -> int:
    """Return the number of lanes B, or raise `StateError` when the leaves disagree."""
    shapes = [leaf.shape for leaf in leaves(state)]
    # Compared one by one: while a step is exported with any B, its size can't be in a set.
    if shapes and all(shapes) and all(shape[0] == shapes[0][0] for shape in shapes):
        return shapes[0][0]
    raise StateError(
        "expected every leaf of a state to be (B, ...) with one B, got "
        f"{[tuple(shape) for shape in shapes]}; make states with initial_state(B)"
    )


def detach(state: S) -> S:
    """Cut the graph: the same values, with no gradient flowing back through them."""
    return tree_map(lambda leaf: leaf.detach(), state)


def where(mask: Tensor, chosen: S, other: S) -> S:
    """Take whole lanes from `chosen` where `mask` (B,) is True, from `other` elsewhere."""
    return tree_map(
        lambda a, b: torch.where(mask.view(-1, *[1] * (b.dim() - 1)), a, b), chosen, other
    )


def take(state: S, index: Tensor) -> S:
    """Gather lanes: lane i of the result is lane `index[i]`; index is (n,) int64."""
    return tree_map(lambda leaf: leaf.index_select(0, index), state)


def put(state: S, index: Tensor, other: S) -> S:
    """Scatter lanes: a copy of `state` in which lane `index[i]` is lane i of `other`."""
    return tree_map(lambda leaf, new: leaf.index_copy(0, index, new), state, other)


def cat(states: Sequence[S]) -> S:
    """Join states along their lanes."""
    if not states:
        raise StateError("expected at least one state to join, got none")
    return tree_map(lambda *parts: torch.cat(parts), states[0], *states[1:])


def split(state: S) -> list[S]:
    """Return one state of a single lane for each lane."""
    count = lanes(state)
    return [tree_map(lambda leaf, i=i: leaf[i : i + 1], state) for i in range(count)]


def to(state: S, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> S:
    """Move a state; `dtype` applies to floating-point leaves only (counters stay whole)."""

    def move(leaf: Tensor) -> Tensor:
        wanted = dtype if dtype is not None and leaf.is_floating_point() else leaf.dtype
        return leaf.to(device=device, dtype=wanted)

    return tree_map(move, state)


def keep_types(state: S, before: S) -> S:
    """Give a state the dtypes it had, where autocast made its arithmetic narrower.

    Outside autocast a change of dtype is a fault of the layer and is left for the laws to find.
    """
    first = leaves(before)
    if not first or not torch.is_autocast_enabled(first[0].device.type):
        return state
    return tree_map(lambda leaf, old: leaf.to(old.dtype), state, before)


def zeros_like(state: S) -> S:
    """Return zeros in the shape of a state. This is not a reset: a reset is `initial_state`."""
    return tree_map(torch.zeros_like, state)


def save(state: State, path: str | os.PathLike[str], *, fingerprint: str) -> None:
    """Write a state to disk, bound to the model that it belongs to.

    The file appears whole or not at all, so a crash never leaves half a state.

    Args:
        state: the state to keep.
        path: file to write (safetensors).
        fingerprint: identity of the model, as in its bundle; `load` demands the same.
    """
    tensors = {
        name: leaf.detach().contiguous().cpu().clone()
        for name, leaf in zip(names(state), leaves(state), strict=True)
    }
    header = {"format": _FORMAT, "fingerprint": fingerprint, "spec": json.dumps(spec(state))}
    write_atomically(Path(path), serialise(tensors, metadata=header))


def load(path: str | os.PathLike[str], *, like: S, fingerprint: str) -> S:
    """Read a state that `save` wrote; nothing in the file is executed.

    Args:
        path: the file.
        like: any state of the model (such as `initial_state(1)`), for the tree and the sizes.
        fingerprint: identity of the model; a state of another model is refused.

    Returns:
        The state, with as many lanes as were saved.

    Raises:
        BundleError: when the file is missing, truncated, foreign or of another model.
    """
    shown = plain(str(path), longest=1000)
    tensors, header = read_tensors(Path(path))
    if header.get("format") != _FORMAT:
        raise BundleError(f"expected a state written by throughtime, got {shown}: it is none")
    if header.get("fingerprint") != fingerprint:
        raise BundleError(
            f"expected a state of model {fingerprint[:12]}, got one of "
            f"{plain(header.get('fingerprint'), longest=12)} in {shown}; use the run that saved it"
        )
    expected = spec(like)
    got = tuple(
        Leaf(name, tuple(t.shape[1:]), str(t.dtype).removeprefix("torch."))
        for name, t in sorted(tensors.items())
    )
    if tuple(sorted(expected)) != got:
        raise BundleError(
            f"expected a state of {plain(str(expected), longest=400)}, got "
            f"{plain(str(got), longest=400)} in {shown}; use the run that saved it"
        )
    structure = pytree.tree_structure(like)
    state: S = pytree.tree_unflatten([tensors[leaf.name] for leaf in expected], structure)
    try:
        lanes(state)
    except StateError as error:
        raise BundleError(f"{error} ({shown})") from None
    return state


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Read a safetensors file whole: its tensors and its header, or one `BundleError`.

    The header is checked before anything is made of it, so a file takes no more memory than it has
    bytes, whatever it claims.
    """
    shown = plain(str(path), longest=1000)
    content = read_regular_file(path, shown)
    entries = parse_tensor_header(content, source=shown)
    metadata = parse_tensor_metadata(content, source=shown)
    try:
        tensors = deserialise(content)
    except (SafetensorError, ValueError) as error:
        raise BundleError(
            f"expected a whole safetensors file, got a truncated or foreign one: {shown} ({error})"
        ) from None
    for name, dtype, shape, begin in entries:
        # A truth of another byte is neither, and what a kernel makes of one is anybody's guess.
        if dtype == "BOOL" and set(content[begin : begin + math.prod(shape)]) - {0, 1}:
            raise BundleError(
                f"expected bytes of 0 and 1 in the BOOL tensor {plain(name)} of {shown}, got "
                "others; the file is corrupt or foreign"
            )
    return tensors, metadata


def _key_name(key: Any) -> str:
    match key:
        case pytree.GetAttrKey(name):
            return str(name)
        case pytree.SequenceKey(index):
            return str(index)
        case _:
            return str(getattr(key, "key", key))
