"""Forecasting in ONNX: from rows in the data's own units to quantiles in the same.

What `FeatureReader` does for one row is done here in the graph, in float64: scales, held values,
flags, bounds. A row is `y`, the `covariates` and, of columns whose future is known, the `future`;
NaN stands for a number that is missing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.network import (
    LANES,
    STEPS,
    Network,
    add_past,
    add_present,
    write_sequence,
    write_step,
)
from throughtime.export.onnx.operators import Writer
from throughtime.export.onnx.recording import record
from throughtime.tasks.forecast import ForecastTask

FEATURES, OUTPUTS, QUANTILES = "features", "outputs", "quantiles"
"""Values that a graph can be cut at: what the network reads and puts out, and what is shown."""

HELD = "features_held"
"""Layer and kind of the values that are held in place of missing ones."""

_LARGEST = 1e6


class ForecastGraphs:
    """Writes the graphs of a forecasting run.

    Args:
        task: its task.
        network: its network.
    """

    def __init__(self, task: ForecastTask, network: Network) -> None:
        self.task = task
        self.network = network
        self.known = list(task.features.known)
        self.columns = len(task.format.covariates)

    def step(self) -> Graph:
        """Return the graph of one row of each lane."""
        graph = Graph()
        seen, later = self._scaled(graph, [LANES])
        reset = graph.input("reset", "bool", [LANES])
        held = graph.input(f"past_{HELD}", "float64", [LANES, 1 + self.columns])
        past = add_past(graph, self.network)
        flags = graph.add("Reshape", reset, graph.whole([-1, 1]))
        before = graph.add("Where", flags, graph.constant(0, "float64"), held)
        now = graph.add("Where", graph.add("IsNaN", seen), before, seen)
        features = self._features(graph, seen, now, later, [LANES])
        outputs, present = write_step(graph, self.network, features, reset, past)
        self._quantiles(graph, features, outputs, [LANES])
        graph.output(graph.rename(now, f"present_{HELD}"), "float64", [LANES, 1 + self.columns])
        add_present(graph, self.network, present)
        return graph

    def sequence(self) -> Graph:
        """Return the graph of many rows of each lane."""
        graph, sizes = Graph(), [LANES, STEPS]
        seen, later = self._scaled(graph, sizes)
        lengths = graph.input("lengths", "int64", [LANES])
        resets = graph.input("resets", "bool", sizes)
        held = graph.input(f"past_{HELD}", "float64", [LANES, 1 + self.columns])
        past = add_past(graph, self.network)
        now, after = self._hold(graph, seen, lengths, resets, held)
        features = self._features(graph, seen, now, later, sizes)
        outputs, present = write_sequence(graph, self.network, features, lengths, resets, past)
        self._quantiles(graph, features, outputs, sizes)
        graph.output(graph.rename(after, f"present_{HELD}"), "float64", [LANES, 1 + self.columns])
        add_present(graph, self.network, present)
        return graph

    def metadata(self) -> dict[str, Any]:
        """Return what a file says of the task."""
        task, format = self.task, self.task.format
        own = [task.scaler.scale_of(name) for name in task.scaler.series]
        scales = [[each.location, each.scale] for each in (*own, task.scaler.pooled)]
        found = [task.covariate_scaler.scale_of(name) for name in format.covariates]
        return {
            "target": format.target,
            "key": format.key,
            "time": format.time,
            "time_kind": format.time_kind,
            "time_format": format.time_format,
            "step": format.step_us,
            "step_months": format.step_months,
            "max_gap": format.max_gap,
            "covariates": list(format.covariates),
            "known_future": list(format.known_future),
            "horizon": task.options.horizon,
            "levels": list(task.options.levels),
            "series": list(task.scaler.series),
            "scales": scales,
            "covariate_scales": [[each.location, each.scale] for each in found],
            "held": [f"past_{HELD}", f"present_{HELD}", 1 + self.columns],
        }

    def _scaled(self, graph: Graph, sizes: Sequence[str]) -> tuple[str, str | None]:
        """Add the inputs; return rows scaled (..., 1 + C), and what is known ahead (..., K, h)."""
        task, horizon = self.task, self.task.options.horizon
        names = list(task.scaler.series)
        own = [task.scaler.scale_of(name) for name in names]
        scales = [(each.location, each.scale) for each in (*own, task.scaler.pooled)]
        table = graph.constant(scales, "float64", about="scales")
        y = graph.input("y", "float64", sizes)
        covariates, future = "", ""
        if self.columns:
            covariates = graph.input("covariates", "float64", [*sizes, self.columns])
        if self.known:
            future = graph.input("future", "float64", [*sizes, len(self.known), horizon])
        series = graph.input("series", "int64", [LANES])
        # Any number that is none of a series stands for all of them together.
        zero, count = (graph.constant(number, "int64") for number in (0, len(names)))
        inside = graph.add(
            "And", graph.add("GreaterOrEqual", series, zero), graph.add("Less", series, count)
        )
        of_lane = graph.add("Gather", table, graph.add("Where", inside, series, count), axis=0)
        shape = graph.whole([-1] + [1] * (len(sizes) - 1))
        self.location, self.scale = (
            graph.add(
                "Reshape",
                graph.add("Gather", of_lane, graph.constant(place, "int64"), axis=1),
                shape,
            )
            for place in range(2)
        )
        last = graph.whole([-1])
        scaled = graph.add("Div", graph.add("Sub", y, self.location), self.scale)
        seen = graph.add("Unsqueeze", scaled, last)
        if not self.columns:
            return seen, None
        found = [task.covariate_scaler.scale_of(name) for name in task.format.covariates]
        places = [
            np.array([each.location for each in found]),
            np.array([each.scale for each in found]),
        ]
        location, scale = (graph.constant(each) for each in places)
        others = graph.add("Div", graph.add("Sub", covariates, location), scale)
        seen = graph.add("Concat", seen, others, axis=-1)
        if not self.known:
            return seen, None
        location, scale = (graph.constant(each[self.known][:, None]) for each in places)
        return seen, graph.add("Div", graph.add("Sub", future, location), scale)

    def _hold(
        self, graph: Graph, seen: str, lengths: str, resets: str, held: str
    ) -> tuple[str, str]:
        """Return values (B, T, 1 + C) without NaN, and what is held after the last row."""
        width, one = 1 + self.columns, graph.constant(1, "int64")
        zero = graph.constant(0, "int64")
        steps = graph.add("Gather", graph.add("Shape", seen), one)
        time = graph.add("Unsqueeze", graph.add("Range", zero, steps, one), graph.whole([0]))
        there = graph.add("Less", time, graph.add("Unsqueeze", lengths, graph.whole([1])))
        missing = graph.add("IsNaN", seen)
        body, plain = Graph(graph), Graph(graph)
        turned = [
            body.add("Transpose", name, perm=perm)
            for name, perm in ((seen, [1, 0, 2]), (resets, [1, 0]), (there, [1, 0]))
        ]
        step = Graph(body)
        before = step.input(step.name("before"), "float64", [None, width])
        row = step.input(step.name("row"), "float64", [None, width])
        reset, here = (step.input(step.name(each), "bool", [None]) for each in ("reset", "here"))
        flags, present = (step.add("Reshape", each, step.whole([-1, 1])) for each in (reset, here))
        begun = step.add("Where", flags, step.constant(0, "float64"), before)
        now = step.add("Where", step.add("IsNaN", row), begun, row)
        step.output(step.add("Where", present, now, before), "float64", [None, width])
        step.output(now, "float64", [None, width])
        last, found = body.add_several(
            "Scan",
            [held, *turned],
            [body.name("held"), body.name("values")],
            body=step.body("hold"),
            num_scan_inputs=3,
        )
        values = body.add("Transpose", found, perm=[1, 0, 2])
        # Where no number is missing, what is held is the last row, and nothing waits for a loop.
        end = plain.add("Max", plain.add("Sub", lengths, one), zero)
        where = plain.add("Unsqueeze", end, plain.whole([1]))
        ending = plain.add("GatherND", seen, where, batch_dims=1)
        some = plain.add("Greater", lengths, zero)
        kept = plain.add("Where", plain.add("Reshape", some, plain.whole([-1, 1])), ending, held)
        same = plain.rename(seen, plain.name("same"))
        for graph_of, names in ((body, (values, last)), (plain, (same, kept))):
            graph_of.output(names[0], "float64", [None, None, width])
            graph_of.output(names[1], "float64", [None, width])
        count = graph.add("ReduceSum", graph.cast(missing, "int64"), keepdims=0)
        made = graph.add_several(
            "If",
            [graph.add("Greater", count, zero)],
            [graph.name("values"), graph.name("held")],
            then_branch=body.body("with_missing"),
            else_branch=plain.body("without_missing"),
        )
        return made[0], made[1]

    def _features(
        self, graph: Graph, seen: str, now: str, later: str | None, sizes: Sequence[str]
    ) -> str:
        axis = len(sizes)
        start, rest, axes = graph.whole([0]), graph.whole([1]), graph.whole([axis])
        far = graph.whole([2**63 - 1])
        target = graph.add("Slice", seen, start, rest, axes)
        there = graph.cast(graph.add("Not", graph.add("IsNaN", target)), "float64")
        parts = [graph.add("Slice", now, start, rest, axes), there]
        if self.columns:
            parts.append(graph.add("Slice", now, rest, far, axes))
        if later is not None:
            places = graph.whole([1 + place for place in self.known])
            present = graph.add("Gather", now, places, axis=axis)
            present = graph.add("Unsqueeze", present, graph.whole([-1]))
            said = graph.add("Where", graph.add("IsNaN", later), present, later)
            count = len(self.known) * self.task.options.horizon
            parts.append(graph.add("Reshape", said, graph.whole([0] * len(sizes) + [count])))
        joined = graph.add("Concat", *parts, axis=-1)
        limits = [graph.constant(number, "float64") for number in (-_LARGEST, _LARGEST)]
        features = graph.cast(graph.add("Clip", joined, *limits), "float32")
        return graph.rename(features, FEATURES)

    def _quantiles(self, graph: Graph, features: str, outputs: str, sizes: Sequence[str]) -> None:
        outputs = graph.rename(outputs, OUTPUTS)
        task = self.task
        horizon, levels = task.options.horizon, len(task.options.levels)
        rows = [
            graph.add("Reshape", name, graph.whole([-1, size]))
            for name, size in ((outputs, self.network.output_size), (features, task.features.size))
        ]

        def head(outputs: Tensor, features: Tensor) -> list[Tensor]:
            return [task.scaled_quantiles(outputs, features)]

        widths = (self.network.output_size, task.features.size)
        made = record(head, lambda count: [torch.ones(count, width) for width in widths])
        names = {value.number: name for value, name in zip(made.inputs, rows, strict=True)}
        count = graph.add("Shape", rows[0], start=0, end=1)
        writer = Writer(graph, dict(names), count)
        writer.write(made.calls)
        scaled = graph.cast(writer.real(made.outputs[0]), "float64")
        shape = graph.add("Shape", outputs, start=0, end=len(sizes))
        whole = graph.add("Concat", shape, graph.whole([horizon, levels]), axis=0)
        scaled = graph.add("Reshape", scaled, whole)
        location, scale = (
            graph.add("Unsqueeze", each, graph.whole([-2, -1]))
            for each in (self.location, self.scale)
        )
        quantiles = graph.add("Add", graph.add("Mul", scaled, scale), location)
        graph.output(graph.rename(quantiles, QUANTILES), "float64", [*sizes, horizon, levels])
