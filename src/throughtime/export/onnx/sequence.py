"""A layer over whole sequences: products for all steps at once, and a loop for what is recurrent.

Within, time goes first, and the rows (T B, F) of all steps and lanes lie one after the other: what
has no state is a function of rows. The loop is ONNX's `Scan`, whose body is a step of the layer;
ONNX's own layers, which are faster, are in `fused`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from throughtime.export.onnx import fused
from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.operators import Writer
from throughtime.export.onnx.parting import Parts, parted
from throughtime.export.onnx.recording import Recording, Value, record
from throughtime.export.onnx.states import Layout
from throughtime.export.onnx.values import Named, Pair, kind
from throughtime.layers.bidirectional import Bidirectional
from throughtime.layers.block import Block
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

Ran = tuple[str, list[str]]
"""Outputs as rows (T B, D), and the leaves of the state after the last step that is there."""


class SequenceWriter:
    """Writes layers over sequences of T steps and B lanes into a graph.

    Args:
        graph: where nodes go.
        lengths: (B,) int64, steps that are there.
        resets: (B, T) bool.
    """

    def __init__(self, graph: Graph, lengths: str, resets: str) -> None:
        self.graph = graph
        turned = graph.add("Transpose", resets, perm=[1, 0])
        self.sizes = graph.add("Shape", turned)
        self.lengths = lengths
        zero, one = (graph.constant(number, "int64") for number in (0, 1))
        count = graph.add("Gather", self.sizes, zero)
        self.time = graph.add("Range", zero, count, one)
        column = graph.add("Unsqueeze", self.time, graph.whole([1]))
        self.present = graph.add("Less", column, lengths)
        self.resets = graph.add("And", turned, self.present)
        self.lanes = graph.add("Shape", lengths)
        self.count = graph.add("ReduceProd", self.sizes, keepdims=1)

    def rows(self, x: str, shape: Sequence[int]) -> str:
        """Return values (B, T, ...) as rows (T B, ...), zeros where a step is not there."""
        graph = self.graph
        turned = graph.add("Transpose", x, perm=[1, 0, *range(2, 2 + len(shape))])
        return graph.add("Reshape", turned, graph.whole([-1, *shape]))

    def absent_are_zero(self, rows: str, dtype: torch.dtype, rank: int) -> str:
        """Put zeros into rows where a step is not there."""
        graph = self.graph
        flags = graph.add("Reshape", self.present, graph.whole([-1] + [1] * (rank - 1)))
        return graph.add("Where", flags, rows, graph.constant(0, kind(dtype)))

    def lanes_first(self, rows: str, shape: Sequence[int]) -> str:
        """Return rows (T B, ...) as values (B, T, ...)."""
        order = [1, 0, *range(2, 2 + len(shape))]
        return self.graph.add("Transpose", self.apart(self.graph, rows, shape), perm=order)

    def apart(self, graph: Graph, rows: str, shape: Sequence[int]) -> str:
        """Return rows (T B, ...) as values (T, B, ...)."""
        sizes = graph.add("Concat", self.sizes, graph.whole(shape), axis=0) if shape else self.sizes
        return graph.add("Reshape", rows, sizes)

    def of_rows(self, function: Callable[[Tensor], Tensor], x: str, example: Tensor) -> str:
        """Write a function of rows that has no state.

        Args:
            function: of (N, ...).
            x: rows.
            example: (1, ...), what a row looks like.
        """
        made = record(
            lambda rows: [function(rows)],
            lambda count: [example.repeat(count, *[1] * (example.dim() - 1))],
        )
        writer = Writer(self.graph, {made.inputs[0].number: x}, self.count)
        writer.write(made.calls)
        return writer.real(made.outputs[0])

    def run(self, layer: Recurrent, x: str, past: Sequence[str]) -> Ran:
        """Write a layer.

        Args:
            layer: any.
            x: rows (T B, F).
            past: the leaves of its state before the first step.
        """
        if isinstance(layer, Stack):
            return self._stack(layer, x, past)
        if isinstance(layer, Block):
            return self._block(layer, x, past)
        if isinstance(layer, Bidirectional):
            return self._bidirectional(layer, x, past)
        if not fused.has_operator(layer):
            return self._loop(self.graph, layer, x, past)
        # ONNX's own layers know no resets; one before the first step is but another state.
        graph = self.graph
        own = [
            graph.add("Where", self._first, graph.constant(leaf.numbers), name)
            for leaf, name in zip(Layout(layer).leaves, past, strict=True)
        ]
        loop, whole = Graph(graph), Graph(graph)
        ran = self._loop(loop, layer, x, own)
        values = self.apart(whole, x, [layer.input_size])
        made = fused.write(whole, layer, values, own, self.lengths)
        leaves = Layout(layer).leaves
        for body, (y, after) in ((loop, ran), (whole, made)):
            body.output(y, kind(leaves[0].dtype), [None, layer.output_size])
            for leaf, name in zip(leaves, after, strict=True):
                body.output(name, leaf.kind, [None, *leaf.shape])
        names = [graph.name("chosen") for _ in range(1 + len(leaves))]
        graph.add_several(
            "If",
            [self._restarts],
            names,
            then_branch=loop.body("step_by_step"),
            else_branch=whole.body("at_once"),
        )
        return names[0], names[1:]

    def _stack(self, stack: Stack, x: str, past: Sequence[str]) -> Ran:
        after: list[str] = []
        for place, layer in enumerate(stack._each()):
            count = len(Layout(layer).leaves)
            read = x
            if len(stack.norms):
                read = self.of_rows(stack.norms[place], x, _ones(layer.input_size))
            y, leaves = self.run(layer, read, past[:count])
            past = past[count:]
            after += leaves
            if stack.residual and layer.input_size == layer.output_size:
                y = self.graph.add("Add", x, y)
            x = y
        return x, after

    def _block(self, block: Block, x: str, past: Sequence[str]) -> Ran:
        if block.lift is not None:
            x = self.of_rows(block._lift, x, _ones(block.input_size))
        example = _ones(block.output_size)
        read = self.of_rows(block.norms[0], x, example)
        y, after = self.run(block.layer, read, past)
        return self.of_rows(block._mix_units, self.graph.add("Add", x, y), example), after

    def _bidirectional(self, layer: Bidirectional, x: str, past: Sequence[str]) -> Ran:
        graph, ahead = self.graph, layer.forward_layer
        count = len(Layout(ahead).leaves)
        y, after = self.run(ahead, x, past[:count])
        mirrored = graph.add("Gather", x, self._mirror, axis=0)
        behind, more = self.run(layer.backward_layer, mirrored, past[count:])
        behind = graph.add("Gather", behind, self._mirror, axis=0)
        return graph.add("Concat", y, behind, axis=-1), [*after, *more]

    def _loop(self, graph: Graph, layer: Recurrent, x: str, past: Sequence[str]) -> Ran:
        """Write a layer as a loop over its step."""
        layout = Layout(layer)
        step = record_step(layer, layout)
        parts = parted(step)
        writer = Writer(graph, {step.inputs[0].number: x}, self.count)
        writer.write(parts.before)
        entering = [
            (value, [self.apart(graph, name, _shape(value)) for name in _several(writer.of(value))])
            for value in parts.entering
        ]
        scanned = [name for _, names in entering for name in names]
        body, kept = self._body(Graph(graph), layout, step, parts, entering)
        names = [graph.name("state") for _ in layout.leaves]
        made = [[graph.name("kept") for _ in each] for each in kept]
        graph.add_several(
            "Scan",
            [*past, *scanned, *self._flags],
            [*names, *(name for each in made for name in each)],
            body=body.body("step"),
            num_scan_inputs=len(scanned) + 2,
        )
        for value, each in zip(parts.kept, made, strict=True):
            rows = [graph.add("Reshape", name, graph.whole([-1, *_shape(value)])) for name in each]
            writer.names[value.number] = Pair(*rows) if len(rows) > 1 else rows[0]
        writer.write(parts.after)
        return writer.real(step.outputs[0]), names

    def _body(
        self,
        body: Graph,
        layout: Layout,
        step: Recording,
        parts: Parts,
        entering: Sequence[tuple[Value, Sequence[str]]],
    ) -> tuple[Graph, list[list[str]]]:
        """Write the loop's body, and return it with the names of what is kept of each step."""
        past = [
            body.input(body.name("before"), leaf.kind, [None, *leaf.shape])
            for leaf in layout.leaves
        ]
        values: dict[int, Named] = {}
        for value, names in entering:
            dtype = kind(value.dtype.to_real() if value.dtype.is_complex else value.dtype)
            own = [body.input(body.name("entering"), dtype, [None, *_shape(value)]) for _ in names]
            values[value.number] = Pair(*own) if len(own) > 1 else own[0]
        reset, present = (
            body.input(body.name(each), "bool", [None, 1]) for each in ("reset", "here")
        )
        begun = []
        for leaf, value, name in zip(layout.leaves, step.inputs[1:], past, strict=True):
            flags = _column(body, reset, len(value.shape))
            begun.append(body.add("Where", flags, body.constant(leaf.numbers), name))
            values[value.number] = begun[-1]
        writer = Writer(body, values, body.add("Shape", reset, start=0, end=1))
        writer.write(parts.loop)
        for leaf, before, output in zip(layout.leaves, begun, step.outputs[1:], strict=True):
            flags = _column(body, present, len(leaf.shape) + 1)
            body.output(
                body.add("Where", flags, writer.broadcast(output), before),
                *(leaf.kind, [None, *leaf.shape]),
            )
        kept = []
        for value in parts.kept:
            names = [body.rename(name, body.name("kept")) for name in _several(writer.of(value))]
            dtype = kind(value.dtype.to_real() if value.dtype.is_complex else value.dtype)
            for name in names:
                body.output(name, dtype, [None, *_shape(value)])
            kept.append(names)
        return body, kept

    @cached_property
    def _flags(self) -> list[str]:
        """(T, B, 1) bool each: resets, and steps that are there."""
        last = self.graph.whole([2])
        return [self.graph.add("Unsqueeze", each, last) for each in (self.resets, self.present)]

    @cached_property
    def _first(self) -> str:
        """(B, 1) bool: whether a lane is reset before its first step here."""
        graph = self.graph
        return graph.add("Gather", self._flags[0], graph.constant(0, "int64"), axis=0)

    @cached_property
    def _restarts(self) -> str:
        """Whether any lane is reset later."""
        graph = self.graph
        one, far = graph.whole([1]), graph.whole([2**63 - 1])
        later = graph.add("Slice", self.resets, one, far, graph.whole([0]), one)
        count = graph.add("ReduceSum", graph.cast(later, "int64"), keepdims=0)
        return graph.add("Greater", count, graph.constant(0, "int64"))

    @cached_property
    def _mirror(self) -> str:
        """(T B,) int64: the row of each row's step when its segment is read backwards."""
        graph = self.graph
        zeros = graph.add("Sub", self.lengths, self.lengths)
        first = self._running(zeros, backwards=False)
        end = self._running(self.lengths, backwards=True)
        time = graph.add("Unsqueeze", self.time, graph.whole([1]))
        last = graph.add("Sub", end, graph.constant(1, "int64"))
        turned = graph.add("Sub", graph.add("Add", first, last), time)
        place = graph.add("Where", self.present, turned, time)
        zero, one = (graph.constant(number, "int64") for number in (0, 1))
        lanes = graph.add("Squeeze", self.lanes)
        lane = graph.add("Range", zero, lanes, one)
        rows = graph.add("Add", graph.add("Mul", place, lanes), lane)
        return graph.add("Reshape", rows, graph.whole([-1]))

    def _running(self, begin: str, *, backwards: bool) -> str:
        """Return (T, B) where each step's segment begins, or going backwards where it ends."""
        body = Graph(self.graph)
        before = body.input(body.name("before"), "int64", [None])
        reset = body.input(body.name("reset"), "bool", [None])
        time = body.input(body.name("time"), "int64", [])
        after = body.add("Where", reset, time, before)
        # The segment that a reset begins ends at the next one, but begins at this.
        seen = body.rename(before if backwards else after, body.name("seen"))
        body.output(after, "int64", [None])
        body.output(seen, "int64", [None])
        _, found = self.graph.add_several(
            "Scan",
            [begin, self.resets, self.time],
            [self.graph.name("last"), self.graph.name("segments")],
            body=body.body("segments"),
            num_scan_inputs=2,
            scan_input_directions=[int(backwards)] * 2,
            scan_output_directions=[int(backwards)],
        )
        return found


def record_step(layer: Recurrent, layout: Layout) -> Recording:
    """Record a step of a layer: x and the leaves of a state to y and the leaves after."""

    def step(x: Tensor, *leaves: Tensor) -> list[Tensor]:
        y, after = layer.update(x, layout.build(leaves, len(x)))
        return [y, *layout.take(after)]

    example = _ones(layer.input_size)
    return record(step, lambda lanes: [example.repeat(lanes, 1), *layout.example(lanes)])


def _ones(size: int) -> Tensor:
    return torch.ones(1, size)


def _shape(value: Value) -> list[int]:
    """Return the shape of a value without its rows."""
    return [size for size in value.shape[1:] if size is not None]


def _several(named: Named) -> list[str]:
    return list(named) if isinstance(named, Pair) else [named]


def _column(graph: Graph, flags: str, rank: int) -> str:
    """Return flags (B, 1) so that they are broadcast over values (B, ...) of a rank."""
    if rank == 2:
        return flags
    return graph.add("Reshape", flags, graph.whole([-1] + [1] * (rank - 1)))
