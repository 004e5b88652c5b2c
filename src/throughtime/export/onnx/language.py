"""Language models in ONNX: from symbols to the logits and probabilities of the next one."""

from collections.abc import Sequence
from typing import Any

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
from throughtime.tasks.language import LanguageTask

SYMBOLS, LOGITS, PROBABILITIES = "symbols", "logits", "probabilities"


class LanguageGraphs:
    """Writes the graphs of a language run.

    Args:
        task: its task.
        network: its network.
    """

    def __init__(self, task: LanguageTask, network: Network) -> None:
        self.task = task
        self.network = network

    def step(self) -> Graph:
        """Return the graph of one symbol of each lane."""
        graph = Graph()
        x = graph.input(SYMBOLS, "int64", [LANES])
        reset = graph.input("reset", "bool", [LANES])
        past = add_past(graph, self.network)
        outputs, present = write_step(graph, self.network, x, reset, past)
        return self._finished(graph, outputs, present, [LANES])

    def sequence(self) -> Graph:
        """Return the graph of many symbols of each lane."""
        graph = Graph()
        x = graph.input(SYMBOLS, "int64", [LANES, STEPS])
        lengths = graph.input("lengths", "int64", [LANES])
        resets = graph.input("resets", "bool", [LANES, STEPS])
        past = add_past(graph, self.network)
        outputs, present = write_sequence(graph, self.network, x, lengths, resets, past)
        return self._finished(graph, outputs, present, [LANES, STEPS])

    def metadata(self) -> dict[str, Any]:
        """Return what a file says of the task."""
        vocabulary = self.task.vocabulary_json()
        return {"vocabulary": vocabulary, "independent": self.task.independent}

    def _finished(
        self, graph: Graph, outputs: str, present: Sequence[str], sizes: Sequence[str]
    ) -> Graph:
        shape: list[int | str | None] = [*sizes, self.network.output_size]
        logits = graph.rename(outputs, LOGITS)
        graph.output(logits, "float32", shape)
        shares = graph.add("Softmax", logits, axis=-1, name=PROBABILITIES)
        graph.output(shares, "float32", shape)
        add_present(graph, self.network, present)
        return graph
