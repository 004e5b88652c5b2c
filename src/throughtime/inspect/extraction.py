"""From a trained recogniser to the automaton that it is, by asking it.

The learner is AALpy's L* (Angluin 1987; Muskardin et al. 2022, "AALpy: an active automata learning
library"): it asks whether words are accepted until a table of answers is an automaton, and tests
that with words that go on from every state. What a model has learned by halves shows as states
that the language has not.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from throughtime.errors import OptionError, ThroughtimeError
from throughtime.inspect.automaton import Automaton, Word
from throughtime.state import State

Accept = Callable[[Tensor], Tensor]

QUERIES, SECONDS = 20_000, 60.0
"""What a learner may spend when nobody says otherwise."""
WALKS, WALK_LENGTH = 60, 25
"""Words that go on from each state of a guess at random, and how far."""


@runtime_checkable
class Stepped(Protocol):
    """What reads a symbol at a time, as a `SequenceModel` does."""

    def eval(self) -> Any:
        """Go to evaluation mode."""

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step, for B lanes."""

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step: symbols (B,) int64 to outputs (B, O)."""


class Recogniser:
    """A model that says after each symbol whether it accepts what it has read.

    Args:
        model: of symbols.
        accept: from outputs (B, O) to (B,) bool; above zero in the first output when None.
        begin: a symbol that is read before each word; what the model says after it is of the empty
            word. None where there is no such symbol; then `empty` says it.
        empty: whether the empty word is accepted, where the model can't say so.
    """

    def __init__(
        self,
        model: Stepped,
        *,
        accept: Accept | None = None,
        begin: int | None = None,
        empty: bool | None = None,
    ) -> None:
        if (begin is None) == (empty is None):
            raise OptionError(
                "expected one of begin, a symbol before each word, and empty, whether the empty "
                f"word is accepted; got begin={begin}, empty={empty}"
            )
        self.model = model
        model.eval()
        self.accept: Accept = accept or (lambda outputs: outputs[:, 0] > 0)
        self.begin = begin
        self.empty = empty

    @torch.no_grad()
    def start(self, count: int = 1) -> tuple[Tensor, State]:
        """Return whether so many empty words are accepted, (B,), and the states after them."""
        state = self.model.initial_state(count)
        if self.begin is None:
            return torch.full((count,), bool(self.empty)), state
        return self.step(torch.full((count,), self.begin), state)

    @torch.no_grad()
    def step(self, symbols: Tensor, state: State) -> tuple[Tensor, State]:
        """Return whether what was read is accepted after one more symbol, (B,) int64."""
        outputs, state = self.model.step(symbols, state)
        return self.accept(outputs), state

    def run(self, words: Tensor) -> Tensor:
        """Return whether each prefix is accepted: words (N, T) int64 to (N, T + 1) bool."""
        accepted, state = self.start(len(words))
        found = [accepted]
        for symbols in words.unbind(1):
            accepted, state = self.step(symbols, state)
            found.append(accepted)
        return torch.stack(found, 1)


class Extraction(NamedTuple):
    """What was learned of a recogniser.

    Attributes:
        automaton: the least that answers as the model did to all that was asked.
        complete: whether the learner ended by itself; otherwise its last guess is here.
        queries: words that were asked.
        seconds: how long it took.
        counterexamples: words by which a guess was found wrong, in order.
    """

    automaton: Automaton
    complete: bool
    queries: int
    seconds: float
    counterexamples: tuple[Word, ...]


def extract_automaton(
    recogniser: Recogniser,
    symbols: Sequence[int],
    *,
    alphabet: Sequence[str] | None = None,
    queries: int = QUERIES,
    seconds: float = SECONDS,
    seed: int = 0,
) -> Extraction:
    """Learn the automaton that a recogniser is.

    Args:
        recogniser: what is asked.
        symbols: the numbers of the symbols that words are made of; they become letters 0, 1, ...
        alphabet: names of the letters; the numbers themselves when None.
        queries: words that may be asked.
        seconds: that may be taken.
        seed: of the words that guesses are tested with.

    Returns:
        The automaton, and how it came about.

    Raises:
        OptionError: when there are no symbols, or not as many names.
        ThroughtimeError: when AALpy is not installed, or what may be spent is spent before there is
            a first guess.
    """
    names = tuple(map(str, symbols if alphabet is None else alphabet))
    if not symbols or len(names) != len(symbols):
        raise OptionError(f"expected a name for each of 1 symbol or more, got {names}")
    try:
        from aalpy.learning_algs import run_Lstar
    except ImportError:
        raise ThroughtimeError(
            "expected the package aalpy to learn automata with, got none; "
            "pip install 'throughtime[inspect]'"
        ) from None
    asked = _Asked(recogniser, symbols, queries, time.monotonic() + seconds)
    begun = time.monotonic()
    before = random.getstate()
    random.seed(seed)
    try:
        learned = run_Lstar(
            list(range(len(symbols))), asked.system, asked.oracle, "dfa", print_level=0
        )
        complete = True
    except _SpentError:
        learned, complete = asked.guess, False
    finally:
        random.setstate(before)
    if learned is None:
        raise ThroughtimeError(
            f"expected a first guess within {queries} queries and {seconds:g} s, got none; "
            "give it more of both"
        )
    return Extraction(
        _automaton(learned, names),
        complete,
        asked.queries,
        time.monotonic() - begun,
        tuple(asked.counterexamples),
    )


def fidelity(
    recogniser: Recogniser,
    automaton: Automaton,
    symbols: Sequence[int],
    *,
    words: int = 500,
    length: int = 100,
    seed: int = 0,
) -> float:
    """Return the share of prefixes of long random words that both judge alike.

    Args:
        recogniser: the model.
        automaton: what was learned of it.
        symbols: the numbers of the automaton's letters.
        words: how many.
        length: of each, in letters.
        seed: of the words.
    """
    generator = torch.Generator().manual_seed(seed)
    letters = torch.randint(len(symbols), (words, length), generator=generator)
    said = recogniser.run(torch.tensor(symbols)[letters])
    return float((said == automaton.run(letters)).double().mean())


class _SpentError(Exception):
    """What may be spent is spent."""


class _Asked:
    """A recogniser as AALpy asks one, and what it was told of guesses."""

    def __init__(
        self, recogniser: Recogniser, symbols: Sequence[int], queries: int, until: float
    ) -> None:
        from aalpy.base import SUL, Oracle
        from aalpy.oracles import StatePrefixEqOracle

        self.guess: Any = None
        self.queries = 0
        self.counterexamples: list[Word] = []
        asked = self
        given = [torch.tensor([symbol]) for symbol in symbols]

        class System(SUL):  # type: ignore[misc]
            def pre(self) -> None:
                if asked.queries >= queries or time.monotonic() > until:
                    raise _SpentError
                asked.queries += 1
                self.accepted, self.state = recogniser.start()

            def post(self) -> None:
                pass

            def step(self, letter: int | None) -> bool:
                if letter is not None:
                    self.accepted, self.state = recogniser.step(given[letter], self.state)
                return bool(self.accepted)

        self.system = System()
        letters = list(range(len(symbols)))
        walks = StatePrefixEqOracle(
            letters, self.system, walks_per_state=WALKS, walk_len=WALK_LENGTH
        )

        class Remembering(Oracle):  # type: ignore[misc]
            def find_cex(self, hypothesis: Any) -> Any:
                asked.guess = hypothesis
                found = walks.find_cex(hypothesis)
                if found is not None:
                    asked.counterexamples.append(tuple(found))
                return found

        self.oracle = Remembering(letters, self.system)


def _automaton(learned: Any, names: tuple[str, ...]) -> Automaton:
    """Number the states in the order in which words reach them."""
    order = [learned.initial_state]
    places = {id(learned.initial_state): 0}
    rows = []
    for state in order:
        row = []
        for letter in range(len(names)):
            after = state.transitions[letter]
            if id(after) not in places:
                places[id(after)] = len(order)
                order.append(after)
            row.append(places[id(after)])
        rows.append(tuple(row))
    return Automaton(names, tuple(rows), tuple(bool(state.is_accepting) for state in order))
