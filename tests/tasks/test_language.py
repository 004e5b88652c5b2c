"""Language: every symbol of the last part is scored, next to the n-grams."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from throughtime.data.findings import Findings
from throughtime.data.text import Text
from throughtime.data.windows import Example
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.tasks.ngram import fit_ngram
from throughtime.tasks.task import mean_loss, run_over


def text(length=2000, documents=None, seed=0):
    letters = np.array(list("abcde fgh\n"))
    rng = np.random.default_rng(seed)
    if documents is None:
        whole = ("".join(rng.choice(letters, length)),)
    else:
        whole = tuple("".join(rng.choice(letters, n)) for n in documents)
    return Text("letters", whole, documents is not None, Findings())


def task_for(said):
    return LanguageTask.fit(said, LanguageOptions())


def model_for(task, layer="gru:5"):
    torch.manual_seed(0)
    return SequenceModel(task.model_config(layer, embedding=4)).eval()


def nats_by_step(task, model, said):
    """The loss of a text, symbol by symbol, after its first one."""
    ids, state, total = task.vocabulary.encode(said), model.initial_state(1), 0.0
    with torch.no_grad():
        for seen, wanted in pairwise(ids):
            logits, state = model.step(torch.tensor([seen]), state)
            total -= float(torch.log_softmax(logits[0].double(), 0)[wanted])
    return total, len(ids) - 1


def test_every_symbol_of_the_last_part_is_scored():
    said = text()
    task = task_for(said)
    model = model_for(task)
    total, count = nats_by_step(task, model, said.documents[0][1799:])
    assert count == 200
    (part,) = task._examples(said, 1)
    assert len(part) == int((part.targets >= 0).sum()) == 200
    figures = task.evaluate(model, said)["validation"]
    assert figures["nats"] == pytest.approx(total / 200, rel=1e-5)
    assert figures["bits"] == pytest.approx(figures["nats"] / math.log(2))
    assert figures["perplexity"] == pytest.approx(math.exp(figures["nats"]))


def test_independent_documents_are_scored_one_by_one():
    said = text(documents=[3, 9, 1, 30, 2, 12, 7, 5, 1, 20] * 3)
    task = task_for(said)
    model = model_for(task)
    scores = [nats_by_step(task, model, d) for d in said.documents[27:] if len(d) > 1]
    total, count = map(sum, zip(*scores, strict=True))
    assert task.independent
    assert task.evaluate(model, said)["validation"]["nats"] == pytest.approx(
        total / count, rel=1e-5
    )


def test_the_vocabulary_is_of_the_training_part():
    said = text()
    rare = Text("rare", (said.documents[0][:1990] + "qzqzqzqzqz",), False, Findings())
    task = task_for(rare)
    assert set("qz").isdisjoint(task.vocabulary.symbols)
    assert task.vocabulary.encode("q").tolist() == [0]
    assert math.isfinite(task.evaluate(model_for(task), rare)["validation"]["nats"])


def test_training_and_validation_share_no_target():
    said = text()
    task = task_for(said)
    (train,) = task.examples(said, "train")
    ids = task.vocabulary.encode(said.documents[0])
    assert train.inputs.tolist() == ids[:1799].tolist()
    assert train.targets.tolist() == ids[1:1800].tolist()
    pieces = task.examples(said, "validation")
    assert all(piece.starts[0] and not piece.starts[1:].any() for piece in pieces)
    whole = np.concatenate([np.append(p.inputs, p.targets[-1]) for p in pieces])
    assert whole.tolist() == ids[1799:].tolist()


def test_long_validation_texts_are_judged_in_pieces_side_by_side():
    said = text(60_000)
    task = task_for(said)
    pieces = task.examples(said, "validation")
    assert 2 <= len(pieces) <= 32
    assert sum(map(len, pieces)) >= 6000 - len(pieces)
    model = model_for(task)
    whole = task.evaluate(model, said)["validation"]["nats"]
    assert mean_loss(task, model, pieces) == pytest.approx(whole, rel=0.01)


def test_the_baselines_score_the_same_symbols():
    said = text()
    task = task_for(said)
    found = task.baselines(said)["validation"]
    ids = task.vocabulary.encode(said.documents[0])
    unigram = fit_ngram([ids[:1800]], len(task.vocabulary), order=1)
    assert found["unigram"]["nats"] == pytest.approx(unigram.nats([ids[1799:]]))
    assert len(found) in (1, 2)
    repeated = Text("r", ("abcabd" * 200,), False, Findings())
    names = list(task_for(repeated).baselines(repeated)["validation"])
    assert names[0] == "unigram"
    assert names[1].endswith("-gram")


def test_documents_are_read_as_the_training_text_was(tmp_path):
    task = task_for(text())
    reber = task.read("demo:reber")
    assert not reber.independent
    assert len(task.examples(reber, "train")) == 1
    independent = task_for(text(documents=[20] * 10))
    path = tmp_path / "one.txt"
    path.write_text("abc " * 50)
    assert independent.read(path).independent


def test_the_task_goes_through_json():
    task = task_for(text(documents=[20] * 10))
    again = LanguageTask.from_json(task.to_json(), task.vocabulary_json())
    assert again.options == task.options
    assert again.vocabulary == task.vocabulary
    assert again.independent


def test_running_over_sequences_is_the_same_in_any_batches():
    """Each from its own initial state, in evaluation mode, whoever shares the batch."""
    said = text(documents=[3, 90, 17, 60, 2, 30, 17, 5])
    model = model_for(task_for(said), "gru:5x2").train()
    ids = [np.arange(n) % 7 for n in (3, 90, 17, 60, 2)]
    examples = [Example(i, i, np.zeros(len(i), dtype=bool)) for i in ids]

    def outputs(lanes, steps):
        found = {}
        for batch, start, _, made, _, lengths in run_over(
            model, examples, lanes=lanes, steps=steps
        ):
            for lane, index in enumerate(batch):
                whole = found.setdefault(int(index), [])
                assert sum(map(len, whole)) == min(start, len(examples[index]))
                whole.append(made[lane, : int(lengths[lane])])
        return {index: torch.cat(parts) for index, parts in found.items()}

    wanted = {
        i: model.eval()(torch.from_numpy(e.inputs)[None])[0][0].detach()
        for i, e in enumerate(examples)
    }
    model.train()
    for lanes, steps in ((1, 7), (2, 1000), (5, 16)):
        found = outputs(lanes, steps)
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[i], wanted[i], atol=1e-6) for i in wanted)
        assert model.training
        assert torch.is_grad_enabled()
