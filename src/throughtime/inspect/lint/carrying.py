"""States that are carried on: into the next, unrelated batch, or with their graph.

A model that keeps a state in itself answers the same batch otherwise the second time. A state that
the training step carries is seen where it comes in again: what a module is given at its first call
of a step is then what it returned at its last call of the step before. And a graph that was not cut
is found by walking back from what a module returns, to nodes older than the last backward.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.hooks import hooked, tensors_in
from throughtime.inspect.lint.probing import SAME_SHAPE, Probe

_MOST_NODES = 50_000
_AGAIN = "backward through the graph a second time"
_INPLACE = "modified by an inplace operation"

_RESET = (
    "begin each batch from a new state: `state = None` at the top of the training step, "
    "and no state in an attribute; with stream=True it is taken as meant"
)
_DETACH = (
    "cut the graph where the state is kept: `state = tuple(s.detach() for s in state)`, "
    "tt.state.detach(state) for ours; without retain_graph=True"
)


class KeptState(NamedTuple):
    """A state that a model keeps in itself: the finding, and the attributes that it is in."""

    finding: Finding
    places: list[str]


def find_kept_state(probe: Probe) -> KeptState | None:
    """Find a state that the model itself keeps from one call to the next.

    Raises:
        Refused: when the model can't be run twice.
    """
    probe.kept.put_back_state()
    first = _attributes(probe.model)
    probe.run(probe.x)
    second = _attributes(probe.model)
    again = probe.outputs(probe.x, restored=False)
    everywhere = torch.ones(again.shape[:1], dtype=torch.bool)
    change = probe.first_change(again, everywhere)
    if change.figure <= probe.tolerance(SAME_SHAPE):
        return None
    # A state may be the same after the batch as after that batch twice.
    moved = {*_differing(first, second), *_differing(second, _attributes(probe.model))}
    places = [name for name in second if name in moved]
    finding = Finding(
        names.STATE_REUSED,
        change.figure,
        f"the same batch a second time changes the output of sample {change.sample} by "
        f"{change.figure:.2g}: the state after one batch is where the next begins",
        _RESET,
        next(iter(places), ""),
    )
    return KeptState(finding, places)


def find_kept_graph(probe: Probe) -> list[Finding]:
    """Find a graph that one call of the model leaves for the next.

    Raises:
        Refused: when the model can't be run twice with gradients.
    """
    probe.kept.put_back_state()
    mark = _sequence_number()
    probe.run(probe.x, gradients=True)
    end = _sequence_number()
    result = probe.run(probe.x, gradients=True, restored=False)
    found = _older_nodes(tensors_in(result), mark, end, set())
    if not found:
        return []
    return [
        Finding(
            names.STATE_NOT_DETACHED,
            float(found),
            f"the graph of a second call goes back into that of the first: {found} of its nodes "
            "are older",
            _DETACH,
        )
    ]


class Carried:
    """What is carried through a training step that is called again and again.

    Args:
        places: attributes that are known to keep a state from one call to the next.

    Attributes:
        reused: modules given what they returned at the end of the step before, and attributes as
            they were left then, with how large the numbers are.
        undetached: modules whose graph goes back past a backward, with how many nodes.
        called: whether any module of the model was called.
    """

    def __init__(self, places: Sequence[str] = ()) -> None:
        self._places = places
        self._begun = False
        self._left_in_places: dict[str, list[Tensor]] = {}
        self.reused: dict[str, float] = {}
        self.undetached: dict[str, int] = {}
        self.called = False
        self._given: dict[str, list[Tensor]] = {}
        self._given_before: dict[str, list[Tensor]] = {}
        self._left: dict[str, list[Tensor]] = {}
        self._left_before: dict[str, list[Tensor]] = {}
        self._began = self._mark = 0
        self._backward_ran = False
        self._looked_at: set[str] = set()
        self._visited: set[Any] = set()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch a model while the block runs."""
        self._model = model
        self._began = self._mark = self._ended = _sequence_number()
        handles = [
            weight.register_post_accumulate_grad_hook(self._note_backward)  # type: ignore[no-untyped-call]
            for weight in model.parameters()
            if weight.requires_grad and weight.is_leaf
        ]
        handles += [each.register_forward_pre_hook(self._note_entry) for each in model.modules()]
        try:
            with hooked(model, self._note):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def next_step(self) -> None:
        """Say that another training step begins, on another batch."""
        self._given_before, self._given = self._given, {}
        self._left_before, self._left = self._left, {}
        self._begun = False
        self._left_in_places = self._in_places()

    def _in_places(self) -> dict[str, list[Tensor]]:
        found = _attributes(self._model) if self._places else {}
        return {name: found[name] for name in self._places if name in found}

    def _note_entry(self, module: nn.Module, given: Any) -> None:
        if self._begun:
            return
        self._begun = True
        # One that is another now has been set anew, and what is only looked at may stay.
        now, left = self._in_places(), self._left_in_places
        if not left or now.keys() != left.keys() or _differing(left, now):
            return
        name, tensors = next(iter(now.items()))
        sizes = [float(each.abs().max()) for each in tensors if each.numel()]
        self.reused.setdefault(name, max(sizes, default=0.0))

    def _note_backward(self, weight: Tensor) -> None:
        self._backward_ran = True

    def _note(self, name: str, module: nn.Module, given: Any, named: Any, result: Any) -> None:
        self.called = True
        inputs = tensors_in([*given, *named.values()])
        outputs = tensors_in(result)
        if name not in self._given:
            self._given[name] = [each.detach().clone() for each in inputs]
            self._compare(name)
        # Values, and not the tensor itself, which a step may write into.
        self._left[name] = [each.detach().clone() for each in outputs]
        if self._backward_ran:
            self._backward_ran = False
            # Every node of this call was made before its hook runs: those of its inputs, when they
            # are new, too, so the mark is where the last call ended.
            self._mark = self._ended
            self._looked_at, self._visited = set(), set()
        if name not in self._looked_at:
            self._looked_at.add(name)
            older = _older_nodes([*inputs, *outputs], self._began, self._mark, self._visited)
            if older:
                self.undetached.setdefault(name, older)
        self._ended = _sequence_number()

    def _compare(self, name: str) -> None:
        before = self._given_before.get(name, [])
        for place, tensor in enumerate(self._given[name]):
            # What is the same in every step, such as a table of positions, is no state.
            constant = place < len(before) and _equal(tensor, before[place])
            if constant or not tensor.is_floating_point() or tensor.numel() < 2:
                continue
            if any(_equal(tensor, left) for left in self._left_before.get(name, [])):
                self.reused.setdefault(name, float(tensor.detach().abs().max()))


def findings_of(carried: Carried, error: Exception | None, *, stream: bool) -> list[Finding]:
    """Return the findings of a watched training step, and of what it raised."""
    found = []
    if carried.reused and not stream:
        name, size = min(carried.reused.items(), key=lambda each: each[0].count("."))
        found.append(
            Finding(
                names.STATE_REUSED,
                size,
                "the training step begins a batch with the state that the batch before ended in "
                f"(up to {size:.2g} in size), though the samples are others",
                _RESET,
                name,
            )
        )
    message = "" if error is None else " ".join(str(error).split())
    if carried.undetached:
        name, count = max(carried.undetached.items(), key=lambda each: each[0].count("."))
        known = says_second_backward(error) or _INPLACE in message
        raised = f"; the step raised: {message[:80]}" if known else ""
        found.append(
            Finding(
                names.STATE_NOT_DETACHED,
                float(count),
                f"the graph goes back past a backward that is done: {count} of its nodes are "
                f"older{raised}",
                _DETACH,
                name,
            )
        )
    elif says_second_backward(error):
        found.append(
            Finding(
                names.STATE_NOT_DETACHED,
                1.0,
                f"the training step raised at a backward: {message[:80]}",
                _DETACH,
            )
        )
    return found


def says_second_backward(error: Exception | None) -> bool:
    """Return whether an error is what a state with a graph leads to."""
    return isinstance(error, RuntimeError) and _AGAIN in str(error)


def _sequence_number() -> int:
    """Return the number that autograd gives to its next node."""
    with torch.enable_grad():
        node = torch.zeros((), requires_grad=True).mul(1).grad_fn
    assert node is not None
    return int(node._sequence_nr())


def _older_nodes(roots: list[Tensor], began: int, mark: int, visited: set[Any]) -> int:
    """Count nodes numbered from `began` to below `mark` behind some tensors, leaving out leaves."""
    queue = deque(root.grad_fn for root in roots if root.grad_fn is not None)
    count = 0
    while queue and len(visited) < _MOST_NODES:
        node = queue.popleft()
        if node in visited:
            continue
        visited.add(node)
        number = int(node._sequence_nr())
        count += began <= number < mark
        queue.extend(each for each, _ in node.next_functions if each is not None)
    return count


def _attributes(model: nn.Module) -> dict[str, list[Tensor]]:
    """Return the tensors that each module has in attributes and buffers, by module and name."""
    found = {}
    for name, module in model.named_modules():
        values = {**vars(module), **module._buffers}
        for key, value in values.items():
            if key not in ("_parameters", "_modules", "_buffers"):
                tensors = tensors_in(value)
                found[".".join(filter(None, (name, key)))] = [t.detach().clone() for t in tensors]
    return found


def _differing(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> list[str]:
    return [
        name
        for name, tensors in after.items()
        if len(tensors) != len(before.get(name, []))
        or not all(_equal(a, b) for a, b in zip(tensors, before[name], strict=True))
    ]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
