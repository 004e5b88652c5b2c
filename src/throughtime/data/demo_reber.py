"""The embedded Reber grammar: strings that a network can only predict by remembering.

The grammar of Reber (1967) is a small graph; its embedded form (Cleeremans, Servan-Schreiber and
McClelland, 1989) puts a Reber string between two branches, and the last symbol but one repeats
the second one. Both choices of a branch are equally likely, so that the best possible score is
known exactly.
"""

import math

import numpy as np

from throughtime.data.findings import Findings
from throughtime.data.text import Text

SYMBOLS = "BEPSTVX"
STRINGS = 10_000
# node -> the symbols that may come, each with the node it leads to
_REBER: dict[str, tuple[tuple[str, str], ...]] = {
    "begin": (("B", "1"),),
    "1": (("T", "2"), ("P", "3")),
    "2": (("S", "2"), ("X", "4")),
    "3": (("T", "3"), ("V", "5")),
    "4": (("X", "3"), ("S", "6")),
    "5": (("P", "4"), ("V", "6")),
    "6": (("E", "end"),),
}
END = "end"


def _embedded() -> dict[str, tuple[tuple[str, str], ...]]:
    graph: dict[str, tuple[tuple[str, str], ...]] = {
        "start": (("B", "branch"),),
        "branch": (("T", "T:begin"), ("P", "P:begin")),
        "closing": (("E", END),),
    }
    for branch in "TP":
        for node, edges in _REBER.items():
            graph[f"{branch}:{node}"] = tuple((symbol, f"{branch}:{to}") for symbol, to in edges)
        graph[f"{branch}:{END}"] = ((branch, "closing"),)
    return graph


GRAPH = _embedded()
"""The embedded grammar: node -> (symbol, next node) of its edges, all equally likely."""


def make_reber(count: int = STRINGS, seed: int = 0) -> Text:
    """Make strings of the embedded Reber grammar; the same for the same seed.

    Args:
        count: how many strings.
        seed: of numpy's generator.

    Returns:
        A text of `count` independent documents, such as `BTBTXSETE`.
    """
    random = np.random.default_rng(seed)
    documents = tuple(make_string(random) for _ in range(count))
    counts = {"documents": count, "characters": sum(map(len, documents))}
    lines = (
        f"{count:,} independent strings, {counts['characters']:,} symbols; no model can be "
        f"better than {reber_optimum():.4f} nats a symbol",
    )
    return Text("demo:reber", documents, True, Findings(counts, lines))


def make_string(random: np.random.Generator) -> str:
    """Walk through the grammar once.

    Args:
        random: numpy's generator.

    Returns:
        The symbols from the first B to the last E.
    """
    node, symbols = "start", []
    while node != END:
        edges = GRAPH[node]
        symbol, node = edges[int(random.integers(2))] if len(edges) > 1 else edges[0]
        symbols.append(symbol)
    return "".join(symbols)


def reber_optimum() -> float:
    r"""Give the mean surprise a symbol that no model can beat, in nats.

    Each string is a sequence of its own and every symbol after the first is predicted. With `N`
    the visits to each node, `N = (I - Q)^{-T} e_start` of the grammar's Markov chain with
    transitions `Q`, and `k` the edges of a node, it is
    `sum_n N_n log k_n / sum_{n != start} N_n`.

    Returns:
        Nats a predicted symbol.

    Example:
        >>> round(reber_optimum(), 4)
        0.4411
    """
    nodes = {node: index for index, node in enumerate(GRAPH)}
    transitions = np.zeros((len(nodes), len(nodes)))
    surprise = np.zeros(len(nodes))
    for node, edges in GRAPH.items():
        surprise[nodes[node]] = math.log(len(edges))
        for _, to in edges:
            if to != END:
                transitions[nodes[node], nodes[to]] += 1 / len(edges)
    start = np.eye(len(nodes))[nodes["start"]]
    visits = np.linalg.solve(np.eye(len(nodes)) - transitions.T, start)
    return float(visits @ surprise / (visits.sum() - visits[nodes["start"]]))
