"""The seven languages of Tomita 1982, their least automata, and recognisers that learn them."""

import re

import torch
from torch.nn import functional

from throughtime.inspect import Automaton, Recogniser
from throughtime.model import ModelConfig, SequenceModel

BEGIN = 2
"""The symbol before each word."""


def in_language(number, word):
    text = "".join(map(str, word))
    if number == 1:
        return "0" not in text
    if number == 2:
        return text == "10" * (len(text) // 2)
    if number == 3:
        # After an odd run of ones, no odd run of zeros.
        return not re.search(r"(^|0)1(11)*0(00)*(1|$)", text)
    if number == 4:
        return "000" not in text
    if number == 5:
        return text.count("0") % 2 == 0 and text.count("1") % 2 == 0
    if number == 6:
        return (text.count("0") - text.count("1")) % 3 == 0
    return re.fullmatch("0*1*0*1*", text) is not None


STATES = {1: 2, 2: 3, 3: 5, 4: 4, 5: 4, 6: 3, 7: 5}


def least_automaton(number, longest=5):
    """The states are the ways in which words go on: what the words of some length say of them."""
    tails = [
        tuple(map(int, f"{n:0{size}b}")) if size else ()
        for size in range(longest + 1)
        for n in range(2**size)
    ]

    def ways(word):
        return tuple(in_language(number, (*word, *tail)) for tail in tails)

    words, rows = [()], []
    known = {ways(()): 0}
    for word in words:
        row = []
        for letter in (0, 1):
            after = (*word, letter)
            if ways(after) not in known:
                known[ways(after)] = len(words)
                words.append(after)
            row.append(known[ways(after)])
        rows.append(tuple(row))
    return Automaton(("0", "1"), tuple(rows), tuple(in_language(number, word) for word in words))


def words_of(number, count, longest, generator):
    """Draw words and what of their prefixes is in a language."""
    machine = least_automaton(number)
    words = torch.randint(2, (count, longest), generator=generator)
    # In sparse languages a random word leaves for ever at once: keep half of them within.
    alive = [any(reaches(machine, to)) for to in range(len(machine))]
    stay = torch.rand(words.shape, generator=generator) < 0.9
    for row, wanted in zip(words[: count // 2], stay, strict=False):
        state = 0
        for t in range(longest):
            letter = int(row[t])
            if wanted[t] and not alive[machine.transitions[state][letter]]:
                letter = 1 - letter
                row[t] = letter
            state = machine.transitions[state][letter]
    return words, machine.run(words)


def reaches(machine, state):
    """Whether each state that can be reached from one accepts."""
    seen = [state]
    for each in seen:
        seen += [to for to in machine.transitions[each] if to not in seen]
    return [machine.accepting[each] for each in seen]


def trained(number, layer="gru:24", updates=1500, seed=0, longest=20):
    """A recogniser of a language, trained until it makes no mistake on its words."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    words, accepted = words_of(number, 2000, longest, generator)
    symbols = torch.cat([torch.full((len(words), 1), BEGIN), words], 1)
    wanted = accepted.float()
    model = SequenceModel(ModelConfig(symbols=3, embedding=4, layer=layer, outputs=1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(updates):
        rows = torch.randint(len(words), (128,), generator=generator)
        outputs, _ = model(symbols[rows])
        loss = functional.binary_cross_entropy_with_logits(outputs[..., 0], wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if float(loss.detach()) < 2e-4:
            break
    return Recogniser(model, begin=BEGIN)
