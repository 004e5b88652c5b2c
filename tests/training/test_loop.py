"""The loop against a loop written by hand; its losses, skips, best weights, budgets."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from trials import (
    Heard,
    config,
    forecast,
    language,
    loop_for,
    metrics,
    model_for,
    same,
    snapshot,
)

from throughtime import state as states
from throughtime.data.windows import Buckets, Example, Lanes
from throughtime.errors import ThroughtimeError
from throughtime.tasks.task import tensors
from throughtime.training.loop import MOST_SKIPPED, Loop
from throughtime.training.progress import Watcher

CPU = torch.device("cpu")


def never():
    return False


def rate(step, total, highest):
    """The learning rate of a step by hand: a tenth of warm-up, then a cosine down to 2%."""
    warm = min(1, (step + 1) / min(50, total / 10))
    return highest * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * step / total)) / 2)


@pytest.mark.parametrize(("layer", "dropout"), [("gru:6", 0.0), ("lstm:5", 0.0), ("lstm:5x2", 0.4)])
def test_truncated_bptt_is_the_loop_one_writes_by_hand(tmp_path, layer, dropout):
    task, data = language(length=400)
    examples = task.examples(data, "train")
    settings = config("30steps", steps=11, clip=0.3)
    trained = model_for(task, layer, dropout=dropout)
    byhand = model_for(task, layer, dropout=dropout).train()

    torch.manual_seed(5)
    loop = loop_for(tmp_path, task, examples, trained, settings, validate=lambda: math.nan)
    assert loop.run(never)

    torch.manual_seed(5)
    plan = Lanes(examples, settings.lanes, settings.steps, settings.seed)
    matrices = [p for p in byhand.parameters() if p.dim() > 1]
    vectors = [p for p in byhand.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.99),
    )
    symbols = sum(len(e) for e in examples)
    state = None
    for step in range(30):
        epoch, cursor = divmod(step, len(plan))
        inputs, targets, lengths, resets = tensors(plan.window(epoch, cursor), CPU)
        if cursor == 0:
            state = byhand.initial_state(settings.lanes)
        outputs, state = byhand(inputs, state, lengths=lengths, resets=resets)
        state = states.detach(state)
        there = targets >= 0
        total = functional.cross_entropy(outputs[there], targets[there], reduction="sum")
        optimiser.zero_grad()
        (total * len(plan) / symbols).backward()
        torch.nn.utils.clip_grad_norm_(byhand.parameters(), 0.3)
        for group in optimiser.param_groups:
            group["lr"] = rate(step, 30, settings.learning_rate)
        optimiser.step()
    assert len(plan) not in (1, 30)
    for name, weight in byhand.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], weight, atol=1e-6), name


def pinball(outputs, inputs, targets):
    """Twice the mean pinball loss over the levels .1 to .9, summed over targets, one by one."""
    total, count = 0.0, 0
    levels = [k / 10 for k in range(1, 10)]
    for b, t in np.ndindex(*targets.shape[:2]):
        y = float(targets[b, t, 0])
        if math.isnan(y):
            continue
        quantiles = [float(inputs[b, t, 0]) + float(q) for q in outputs[b, t]]
        errors = [y - q for q in quantiles]
        each = [max(p * e, (p - 1) * e) for p, e in zip(levels, errors, strict=True)]
        total += 2 * sum(each) / 9
        count += 1
    return total, count


def test_the_reported_loss_is_total_over_total(tmp_path):
    task, data = forecast(rows=60, series=2, missing=0.3)
    examples = task.examples(data, "train")
    model = model_for(task)
    # With a learning rate of next to nothing, ten windows are scored by the same weights.
    settings = config("120steps", steps=5, learning_rate=1e-30, weight_decay=0.0)
    loop = loop_for(tmp_path, task, examples, model, settings)
    total, count, counts = 0.0, 0, []
    state = None
    for step in range(10):
        epoch, cursor = divmod(step, len(loop.plan))
        inputs, targets, lengths, resets = tensors(loop.plan.window(epoch, cursor), CPU)
        state = state if cursor else model.initial_state(3)
        with torch.no_grad():
            outputs, state = model(inputs, state, lengths=lengths, resets=resets)
        loss, valid = pinball(outputs, inputs, targets)
        total, count = total + loss, count + valid
        counts.append(valid)
    assert len(set(counts)) > 2, "windows of different weight"
    assert not loop.run(lambda: loop.course.step == 10)
    (row,) = metrics(tmp_path)
    assert float(row["loss"]) == pytest.approx(total / count, rel=1e-5)


def test_each_target_weighs_the_same_in_whichever_window(tmp_path, monkeypatch):
    task, data = forecast(rows=61, series=2, missing=0.3)
    examples = task.examples(data, "train")
    model = model_for(task)
    settings = config("1epochs", steps=7, learning_rate=1e-30, weight_decay=0.0, clip=1e9)
    loop = loop_for(tmp_path, task, examples, model, settings)
    seen = [torch.zeros_like(p) for p in model.parameters()]

    def keep():
        for total, parameter in zip(seen, model.parameters(), strict=True):
            total += parameter.grad

    monkeypatch.setattr(loop.optimiser, "step", keep)
    assert loop.run(never)
    # The gradient of an epoch is that of the mean loss over its targets, times the windows.
    model.zero_grad()
    state, losses, count = model.initial_state(3), [], 0
    for cursor in range(len(loop.plan)):
        inputs, targets, lengths, resets = tensors(loop.plan.window(0, cursor), CPU)
        outputs, state = model(inputs, states.detach(state), lengths=lengths, resets=resets)
        there = ~targets.isnan()
        error = (targets - inputs[..., :1])[there][:, None] - outputs[there[..., 0]]
        levels = torch.arange(1, 10) / 10
        losses.append((2 * torch.where(error > 0, levels, levels - 1) * error).mean(-1).sum())
        count += int(there.sum())
    assert count == sum(int((~np.isnan(e.targets)).sum()) for e in examples)
    (sum(losses) / count * len(loop.plan)).backward()
    for total, parameter in zip(seen, model.parameters(), strict=True):
        assert torch.allclose(total, parameter.grad, rtol=1e-4, atol=1e-5)


def test_batches_of_independent_sequences_carry_no_state(tmp_path, monkeypatch):
    task, said = language(length=600, independent=True)
    plan = Buckets(task.examples(said, "train"), 4, 0)
    model = model_for(task)
    given = []
    forward = type(model).forward

    def watch(self, inputs, state=None, **options):
        given.append(states.leaves(state)[0].abs().max())
        return forward(self, inputs, state, **options)

    monkeypatch.setattr(type(model), "forward", watch)
    settings = config("5steps", lanes=4)
    Loop(task, model, plan, lambda: 1.0, settings, tmp_path, Watcher(), {}).run(never)
    assert len(given) == 5
    assert not any(given)


def spoiled(length=64, lanes=4, at=(1, 9)):
    """A tape whose inputs hold a number that is none, in the second window of one lane."""
    task, data = forecast(rows=120)
    (whole,) = task.examples(data, "train")
    inputs = whole.inputs[:length].copy()
    inputs[at[0] * length // lanes + at[1], 0] = np.nan
    return task, Example(inputs, whole.targets[:length], whole.starts[:length])


def unturned(monkeypatch):
    """Let the tape begin where it begins."""
    monkeypatch.setattr(np.random, "default_rng", lambda seed: _Zero())


class _Zero:
    def integers(self, high):
        return 0


def test_a_gradient_that_is_not_finite_is_skipped_and_said(tmp_path, monkeypatch):
    task, example = spoiled()
    unturned(monkeypatch)
    model = model_for(task, "lstm:5")
    heard = Heard()
    settings = config("2steps", lanes=4, steps=8)
    loop = loop_for(tmp_path, task, [example], model, settings, watcher=heard)
    loop.course.validated_at = 10.0
    kept = {}
    step = loop._step

    def watch():
        kept[loop.course.step] = snapshot(model), repr(loop.optimiser.state_dict()["state"])
        return step()

    monkeypatch.setattr(loop, "_step", watch)
    assert loop.run(never)
    weights, optimiser = kept[1]
    assert not same(weights, kept[0][0]), "the first step is taken"
    assert same(snapshot(model), weights)
    assert repr(loop.optimiser.state_dict()["state"]) == optimiser
    assert (loop.skipped, loop.skipped_in_a_row) == (1, 1)
    (line,) = heard.lines
    assert line.startswith("step 2: the gradient of layers.")
    assert line.endswith("is not finite; step skipped, 1 so far")
    row = metrics(tmp_path)[-1]
    assert (row["skipped"], row["step"]) == ("1", "2")
    assert not math.isfinite(float(row["gradient_norm"]))
    # The lane with the fault starts afresh; the others keep what they have seen.
    h, c = states.leaves(loop.carried)
    assert not h[1].any()
    assert not c[1].any()
    assert all(h[lane].any() and h[lane].isfinite().all() for lane in (0, 2, 3))


def test_training_goes_on_after_a_skip(tmp_path, monkeypatch):
    task, example = spoiled()
    unturned(monkeypatch)
    model = model_for(task, "gru:5x2", dropout=0.3)
    loop = loop_for(tmp_path, task, [example], model, config("8steps", lanes=4, steps=8))
    assert loop.run(never)
    assert loop.skipped == 4, "once an epoch"
    assert loop.skipped_in_a_row in (0, 1)
    assert all(w.isfinite().all() for w in model.state_dict().values())


def test_too_many_skips_in_a_row_end_in_one_line(tmp_path):
    task, example = spoiled()
    bad = Example(np.full_like(example.inputs, np.nan), example.targets, example.starts)
    model = model_for(task)
    before, heard = snapshot(model), Heard()
    loop = loop_for(tmp_path, task, [bad], model, config("80steps", patience=None), watcher=heard)
    with pytest.raises(ThroughtimeError, match="got 50 steps in a row without") as caught:
        loop.run(never)
    assert "\n" not in str(caught.value)
    assert loop.course.step == MOST_SKIPPED - 1
    assert len(heard.lines) == MOST_SKIPPED == 50
    assert same(snapshot(model), before)


def test_the_best_weights_are_kept_and_patience_ends_early(tmp_path):
    task, data = forecast(rows=120)
    model = model_for(task)
    losses = iter([5.0, 3.0, 4.0, math.nan, 3.0, 1.0, 0.0])
    taken = []

    def validate():
        taken.append(snapshot(model))
        return next(losses)

    settings = config("60steps", patience=3)
    loop = loop_for(
        tmp_path, task, task.examples(data, "train"), model, settings, validate=validate
    )
    assert loop.run(never)
    assert len(taken) == 5
    assert (loop.course.step, loop.best.step, loop.best.loss) == (25, 10, 3.0)
    assert same(snapshot(model), taken[1])
    shown = [r["validation_loss"] for r in metrics(tmp_path) if r["validation_loss"]]
    assert shown == ["5.0", "3.0", "4.0", "nan", "3.0"]


def test_without_a_validation_loss_the_last_weights_are_kept(tmp_path):
    task, data = forecast(rows=120)
    model = model_for(task)
    last = {}

    def validate():
        last.update(snapshot(model))
        return math.nan

    loop = loop_for(
        tmp_path, task, task.examples(data, "train"), model, config(), validate=validate
    )
    assert loop.run(never)
    assert same(snapshot(model), last)


@pytest.mark.parametrize(("budget", "steps"), [("7steps", 7), ("3epochs", None), ("1steps", 1)])
def test_budgets_of_steps_and_epochs_are_exact(tmp_path, budget, steps):
    task, data = forecast(rows=90)
    loop = loop_for(tmp_path, task, task.examples(data, "train"), model_for(task), config(budget))
    assert loop.run(never)
    wanted = 3 * len(loop.plan) if steps is None else steps
    assert loop.course.step == wanted
    last = metrics(tmp_path)[-1]
    assert int(last["step"]) == wanted
    assert last["validation_loss"] == "1.0", "the last step is validated"
    assert float(last["learning_rate"]) == pytest.approx(rate(wanted - 1, wanted, 1e-2))


class Clock:
    """A clock that goes on when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def timed(tmp_path, budget, *, step=1.0, validation=2.0, save=0.5, monkeypatch, **options):
    """A loop whose steps, validations and checkpoints take so many seconds."""
    task, data = forecast(rows=120)
    clock = Clock()

    def validate():
        clock.now += validation
        return 1.0

    loop = loop_for(
        tmp_path, task, task.examples(data, "train"), model_for(task), config(budget, **options),
        validate=validate, clock=clock,
    )  # fmt: skip
    real_step, real_save = loop._step, loop.save

    def slow_step():
        clock.now += step
        return real_step()

    def slow_save():
        real_save()
        clock.now += save

    monkeypatch.setattr(loop, "_step", slow_step)
    monkeypatch.setattr(loop, "save", slow_save)
    return loop, clock


def test_a_budget_of_seconds_ends_on_time_and_validated(tmp_path, monkeypatch):
    loop, clock = timed(tmp_path, "200s", monkeypatch=monkeypatch)
    assert loop.run(never)
    assert 195 <= clock.now - 1000 <= 200.5
    assert loop.course.seconds == pytest.approx(clock.now - 1000)
    rows = metrics(tmp_path)
    assert rows[-1]["step"] == str(loop.course.step)
    assert rows[-1]["validation_loss"] == "1.0"
    validations = sum(bool(row["validation_loss"]) for row in rows)
    assert 4 <= validations <= 6, "a twentieth of the time goes into validation"
    assert float(rows[-1]["learning_rate"]) < 0.025 * 1e-2, "the schedule is at its end"


def test_a_resumed_budget_of_seconds_has_the_seconds_that_are_left(tmp_path, monkeypatch):
    from throughtime.training import checkpoint

    loop, clock = timed(tmp_path, "100s", monkeypatch=monkeypatch)
    assert not loop.run(lambda: clock.now >= 1060)
    saved = clock.now - 1000
    again, clock = timed(tmp_path, "100s", monkeypatch=monkeypatch)
    again.restore(checkpoint.load(tmp_path))
    assert again.course.seconds == pytest.approx(60, abs=1)
    clock.now = 5000.0
    assert again.run(never)
    assert 94 <= saved + clock.now - 5000 <= 101.5
    assert again.course.step > loop.course.step


def test_a_checkpoint_is_written_at_each_validation_and_every_few_minutes(tmp_path, monkeypatch):
    loop, _ = timed(tmp_path, "36steps", step=50.0, save=0.0, monkeypatch=monkeypatch)
    loop.course.validated_at = 0.0
    saved = []
    save = loop.save
    monkeypatch.setattr(loop, "save", lambda: (saved.append(loop.course.step), save()))
    assert loop.run(never)
    assert saved == list(range(3, 37, 3))
    saved.clear()
    loop, _ = timed(tmp_path, "1200steps", step=50.0, monkeypatch=monkeypatch)
    save = loop.save
    monkeypatch.setattr(loop, "save", lambda: (saved.append(loop.course.step), save()))
    assert not loop.run(lambda: loop.course.step == 20)
    assert saved == [6, 12, 18, 20]
