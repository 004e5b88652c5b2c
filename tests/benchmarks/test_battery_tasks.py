"""The tasks of the battery: targets are right, chance is chance, and tests are apart."""

import math

import numpy as np
import pytest
import torch

from benchmarks.battery.memory import ASK, BLANK, KEPT, KEYS, NEAR
from benchmarks.battery.reading import TEXT
from benchmarks.battery.task import Batch
from benchmarks.battery.tasks import TASKS
from benchmarks.battery.tracking import MOST_DEPTH, PERMUTATIONS
from benchmarks.battery.train import accuracy_of


def drawn(name, lanes=20, length=None):
    task = TASKS[name]
    if reason := task.missing():
        pytest.skip(reason)
    generator = torch.Generator().manual_seed(3)
    return task.draw(generator, lanes, length or task.lengths[1], "train")


def rows(batch):
    """Each lane as lists: symbols, targets, scored places."""
    for x, targets, scored in zip(*batch, strict=True):
        yield x.tolist(), targets.tolist(), scored.nonzero().flatten().tolist()


def test_parity_is_that_of_the_ones_so_far():
    for x, targets, scored in rows(drawn("parity")):
        assert scored == list(range(40))
        assert targets == [x[: t + 1].count(1) % 2 for t in scored]


def test_s3_is_the_product_of_permutation_matrices():
    matrices = [np.eye(3, dtype=int)[list(element)] for element in PERMUTATIONS]
    assert len(matrices) == 6
    for x, targets, _ in rows(drawn("s3")):
        product = np.eye(3, dtype=int)
        for symbol, target in zip(x, targets, strict=True):
            product = matrices[symbol] @ product
            assert (product == matrices[target]).all()


def test_dyck_names_the_innermost_open_bracket():
    deepest = 0
    for x, targets, _ in rows(drawn("dyck", lanes=100, length=100)):
        opened = []
        for symbol, target in zip(x, targets, strict=True):
            if symbol < 2:
                opened.append(symbol)
            else:
                assert opened.pop() == symbol - 2
            assert target == (opened[-1] + 1 if opened else 0)
            deepest = max(deepest, len(opened))
    assert deepest == MOST_DEPTH


def test_counting_compares_the_two():
    for x, targets, _ in rows(drawn("counting")):
        for t, target in enumerate(targets):
            a, b = x[: t + 1].count(0), x[: t + 1].count(1)
            assert target == (0 if a < b else 2 if a > b else 1)


def test_adding_sums_one_marked_number_of_each_half():
    for x, targets, scored in rows(drawn("adding")):
        marked = [t for t, (_, mark) in enumerate(x) if mark]
        assert [t < 50 for t in marked] == [True, False]
        assert scored == [99]
        assert targets[99] == pytest.approx(sum(x[t][0] for t in marked))


@pytest.mark.parametrize("name", ["copy", "selective_copy"])
def test_copies_are_asked_for_in_order(name):
    for x, targets, scored in rows(drawn(name)):
        assert scored == list(range(48 - KEPT, 48))
        assert all(x[t] == ASK for t in scored)
        shown = [symbol for symbol in x[:-KEPT] if symbol != BLANK]
        assert [targets[t] for t in scored] == shown
        if name == "copy":
            assert x[:KEPT] == shown


def test_selective_copy_scatters_what_is_to_be_kept():
    batch = drawn("selective_copy", lanes=200)
    shown = (batch.x[:, :-KEPT] != BLANK).double().mean(dim=0)
    assert (shown > 0).all()
    assert (shown < 0.5).all()


def test_recall_asks_for_the_value_of_each_key():
    for x, targets, scored in rows(drawn("recall")):
        value_of = {x[t]: x[t + 1] - KEYS for t in range(0, 16, 2)}
        assert len(value_of) == 8
        assert scored == list(range(16, 24))
        assert sorted(x[16:]) == sorted(value_of)
        assert [targets[t] for t in scored] == [value_of[key] for key in x[16:]]


def test_long_recall_asks_for_the_first_symbol_at_the_end():
    for x, targets, scored in rows(drawn("long_recall")):
        assert scored == [399]
        assert targets[399] == x[0] < 8
        assert min(x[1:]) >= 8


@pytest.mark.parametrize("name", ["digits", "permuted_digits"])
def test_digits_are_those_of_scikit_learn(name):
    batch = drawn(name)
    datasets = pytest.importorskip("sklearn.datasets")
    known = datasets.load_digits()
    label_of = {tuple(image): label for image, label in zip(known.data, known.target, strict=True)}
    order = torch.arange(64)
    if name == "permuted_digits":
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        assert not torch.equal(order, torch.arange(64))
    for x, targets, scored in rows(batch):
        assert scored == [63]
        image = torch.zeros(64)
        image[order] = torch.tensor(x)[:, 0]
        assert targets[63] == label_of[tuple((16 * image).tolist())]


def test_language_asks_for_the_next_character():
    batch = drawn("language", lanes=5)
    text = TEXT.read_text()
    letters = sorted(set(text))
    assert len(letters) == TASKS["language"].inputs
    for x, targets, scored in rows(batch):
        assert scored == list(range(64))
        window = "".join(letters[symbol] for symbol in [*x, targets[-1]])
        assert window in text[: int(0.8 * len(text))]
        assert targets[:-1] == x[1:]


@pytest.mark.parametrize("name", TASKS)
def test_guessing_comes_to_the_chance_level(name):
    task = TASKS[name]
    if reason := task.missing():
        pytest.skip(reason)
    batch = task.evaluation("test", 1000)
    batch = Batch(*(part[:, -64:] for part in batch))
    if task.tolerance is not None:
        assert task.tolerance == NEAR
        scores = torch.ones(*batch.targets.shape, 1)
    else:
        scores = torch.randn(*batch.targets.shape, task.outputs)
    accuracy = accuracy_of(task, scores, batch)
    error = math.sqrt(task.chance * (1 - task.chance) / int(batch.scored.sum()))
    assert abs(accuracy - task.chance) < 4 * error
    assert task.solved > task.chance


@pytest.mark.parametrize("name", TASKS)
def test_evaluation_sets_are_fixed_and_apart(name):
    task = TASKS[name]
    if reason := task.missing():
        pytest.skip(reason)
    test, again = (task.evaluation("test", 8) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(test, again, strict=True))
    assert not torch.equal(test.x, task.evaluation("validation", 8).x)
    assert test.targets[test.scored].min() >= 0
    if task.tolerance is None:
        assert test.targets[test.scored].max() < task.outputs


def test_where_it_is_to_generalise_only_longer_prefixes_are_scored():
    longer = [task for task in TASKS.values() if task.generalises]
    assert {task.name for task in longer} == {"parity", "s3", "dyck", "counting"}
    for task in longer:
        generator = torch.Generator().manual_seed(0)
        trained = [task.training(generator, 1).x.shape[1] for _ in range(200)]
        assert {min(trained), max(trained)} == set(task.lengths)
        scored = task.evaluation("test", 4).scored
        # What is asked for at step t depends on t + 1 symbols.
        assert scored.shape[1] == task.tested
        assert int(scored.int().argmax()) + 1 > max(trained)
        assert scored[:, max(trained) :].all()


def test_parts_of_the_data_share_no_image():
    pytest.importorskip("sklearn")
    parts = [
        {tuple(x.flatten().tolist()) for x in TASKS["digits"].evaluation(part, 179).x}
        for part in ("validation", "test")
    ]
    trained = TASKS["digits"].draw(torch.Generator().manual_seed(0), 1437, 64, "train").x
    parts.append({tuple(x.flatten().tolist()) for x in trained})
    assert len(set.union(*parts)) == sum(len(part) for part in parts) > 1790
