"""A finite automaton: what it accepts, how it differs from another, and how it is drawn as text."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime.errors import OptionError

Word = tuple[int, ...]


@dataclass(frozen=True)
class Automaton:
    """A complete deterministic automaton. State 0 is the one it starts in.

    Attributes:
        alphabet: a name for each letter; letters are their places.
        transitions: by state and letter, the next state.
        accepting: by state, whether a word that ends there is accepted.

    Raises:
        OptionError: when sizes do not fit or a transition leads nowhere.

    Example:
        An even number of b:

        >>> even = Automaton(("a", "b"), ((0, 1), (1, 0)), (True, False))
        >>> even.accepts((1, 0, 1)), even.accepts((1,))
        (True, False)
    """

    alphabet: tuple[str, ...]
    transitions: tuple[tuple[int, ...], ...]
    accepting: tuple[bool, ...]

    def __post_init__(self) -> None:
        count = len(self.transitions)
        if not count or len(self.accepting) != count:
            raise OptionError(
                f"expected as many rows of transitions as states, got {count} for "
                f"{len(self.accepting)}"
            )
        for row in self.transitions:
            if len(row) != len(self.alphabet) or not all(0 <= to < count for to in row):
                raise OptionError(
                    f"expected a state of {count} for each of {len(self.alphabet)} letters, "
                    f"got {row}"
                )

    def __len__(self) -> int:
        return len(self.transitions)

    def accepts(self, word: Sequence[int]) -> bool:
        """Return whether a word is accepted."""
        state = 0
        for letter in word:
            state = self.transitions[state][letter]
        return self.accepting[state]

    def run(self, words: Tensor) -> Tensor:
        """Return whether each prefix is accepted: words (N, T) int64 to (N, T + 1) bool."""
        table, accepting = torch.tensor(self.transitions), torch.tensor(self.accepting)
        state = torch.zeros(len(words), dtype=torch.int64)
        found = [accepting[state]]
        for letters in words.unbind(1):
            state = table[state, letters]
            found.append(accepting[state])
        return torch.stack(found, 1)

    def difference(self, other: "Automaton") -> Word | None:
        """Return a shortest word that one accepts and the other does not, None where there is none.

        Raises:
            OptionError: when the alphabets differ.
        """
        if self.alphabet != other.alphabet:
            raise OptionError(
                f"expected automata of one alphabet, got {self.alphabet} and {other.alphabet}"
            )
        words: dict[tuple[int, int], Word] = {(0, 0): ()}
        waiting = deque(words)
        while waiting:
            pair = waiting.popleft()
            if self.accepting[pair[0]] != other.accepting[pair[1]]:
                return words[pair]
            for letter in range(len(self.alphabet)):
                after = self.transitions[pair[0]][letter], other.transitions[pair[1]][letter]
                if after not in words:
                    words[after] = (*words[pair], letter)
                    waiting.append(after)
        return None

    def arrows(self) -> dict[tuple[int, int], str]:
        """Return the letters that lead from one state to another, as they are drawn."""
        found: dict[tuple[int, int], list[str]] = {}
        for state, row in enumerate(self.transitions):
            for letter, to in enumerate(row):
                found.setdefault((state, to), []).append(self.alphabet[letter])
        return {pair: ", ".join(letters) for pair, letters in found.items()}

    def to_dot(self) -> str:
        """Write it in Graphviz's language."""
        lines = ["digraph {", "  rankdir=LR", '  start [shape=point, label=""]', "  start -> 0"]
        lines += [
            f"  {state} [shape={'doublecircle' if accepting else 'circle'}]"
            for state, accepting in enumerate(self.accepting)
        ]
        lines += [
            f"  {first} -> {to} [label={_quoted(label)}]"
            for (first, to), label in self.arrows().items()
        ]
        return "\n".join([*lines, "}"]) + "\n"

    def to_mermaid(self) -> str:
        """Write it in Mermaid's language."""
        lines = ["stateDiagram-v2", "  direction LR", "  [*] --> s0"]
        lines += [
            f"  s{first} --> s{to}: {label.replace(':', '#58;').replace(';', '#59;')}"
            for (first, to), label in self.arrows().items()
        ]
        lines += [
            f"  s{state}: {state} accepts"
            for state, accepting in enumerate(self.accepting)
            if accepting
        ]
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
