"""The linter's machinery: what it puts back, what it reads, what it measures, what it survives."""

import json
import math
import re
from collections import deque
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.inspect import Finding, LintReport, lint, lint_run
from throughtime.inspect.health import half_life
from throughtime.inspect.lint.findings import NAMES, Skipped, in_order
from throughtime.inspect.lint.keeping import Kept, kept_closure, kept_optimiser
from throughtime.inspect.lint.memory import Need
from throughtime.inspect.lint.probing import Probe
from throughtime.inspect.lint.training import train

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"
LENGTHS = torch.tensor([12, 5, 8, 12])


def x():
    return torch.randn(4, 12, 3)


def names_of(report):
    return [finding.name for finding in report.findings]


class Around(nn.Module):
    """A GRU whose outputs another function makes something of."""

    def __init__(self, read, **options):
        super().__init__()
        self.rnn = nn.GRU(3, 6, batch_first=True, **options)
        self.read = read

    def forward(self, x):
        return self.read(self.rnn(x)[0])


# What a report says


def test_a_report_has_findings_in_order_and_says_what_was_not_checked():
    late = Finding(NAMES[8], 0.5, "differs by 0.5", "write this", "drop")
    early = Finding(NAMES[0], math.inf, "reads 4 samples", "write that")
    report = in_order([late, early], [Skipped(NAMES[9], "no step"), Skipped(NAMES[0], "found")])
    assert report.findings == (early, late)
    assert report.skipped == (Skipped(NAMES[9], "no step"),)
    assert not report.clean
    assert str(report).splitlines() == [
        "batch-and-time-swapped: reads 4 samples",
        "  mend: write that",
        "noise-in-evaluation in drop: differs by 0.5",
        "  mend: write this",
        "not checked: no-clipping: no step",
    ]
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [each["figure"] for each in content["findings"]] == [None, 0.5]
    assert content["clean"] is False
    assert len(content["checked"]) == 11


def test_a_clean_report_says_what_was_looked_for():
    text = str(LintReport((), (Skipped("not-causal", "no stream"),)))
    assert text.startswith("clean: looked for batch-and-time-swapped, unbatched-input")
    assert "not-causal" not in text.splitlines()[0]
    assert text.splitlines()[1] == "not checked: not-causal: no stream"


# What is put back


class Hoard(nn.Module):
    """Has something in every kind of attribute, and changes all of it in each call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(()))
        self.tensor = torch.zeros(2)
        self.pair = (torch.zeros(2), [torch.zeros(2)])
        self.queue = deque([torch.zeros(1)], maxlen=3)
        self.named = {"a": torch.zeros(1)}
        self.generator = torch.Generator().manual_seed(3)
        self.calls = 0

    def forward(self, x):
        self.count += 1
        self.tensor = self.tensor + 1
        self.pair[0].add_(1)
        self.pair[1].append(torch.ones(1))
        self.queue.append(torch.ones(1))
        self.named["a"].add_(1)
        self.named["b"] = 2
        self.calls += 1
        self.extra = torch.rand(1, generator=self.generator)
        return self.layer(x)


def test_attributes_of_every_kind_are_put_back():
    model = Hoard()
    kept = Kept(model)
    tensor, queue, drawn = model.tensor, model.queue, model.generator.get_state()
    first = model(torch.ones(1, 3))
    with torch.no_grad():
        model.layer.weight.add_(1)
    model.layer.weight.grad = torch.ones(2, 3)
    model.layer.bias.requires_grad_(False)
    model.eval()
    model.layer.register_forward_hook(lambda *_: None)
    kept.put_back()
    assert model.tensor is tensor
    assert model.queue is queue
    assert [part.tolist() for part in queue] == [[0.0]]
    assert model.pair[0].tolist() == [0, 0]
    assert [part.tolist() for part in model.pair[1]] == [[0, 0]]
    assert model.named == {"a": torch.zeros(1)}
    assert model.calls == model.count == 0
    assert not hasattr(model, "extra")
    assert torch.equal(model.generator.get_state(), drawn)
    assert torch.equal(model(torch.ones(1, 3)), first)
    assert model.layer.weight.grad is None
    assert model.layer.bias.requires_grad
    assert model.training
    assert model.layer.training
    assert not model.layer._forward_hooks


def test_a_gradient_that_was_there_is_put_back_with_its_values():
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    gradient = model.weight.grad
    kept = Kept(model)
    gradient.zero_()
    model.weight.grad = None
    kept.put_back()
    assert model.weight.grad is gradient
    assert gradient.tolist() == [[1.0, 1.0]]


def test_an_optimiser_and_the_surroundings_of_a_step_are_put_back():
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    state, losses = torch.zeros(2), []

    def step():
        nonlocal state
        state = state + 1
        losses.append(1.0)
        weight.square().sum().backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] *= 0.5

    step()
    before = {name: value.clone() for name, value in optimiser.state[weight].items()}
    undo = [kept_optimiser(optimiser), kept_closure(step)]
    step()
    for each in undo:
        each()
    assert optimiser.param_groups[0]["lr"] == 0.05
    assert optimiser.param_groups[0]["params"][0] is weight
    assert all(torch.equal(optimiser.state[weight][name], before[name]) for name in before)
    assert state.tolist() == [1, 1]
    assert losses == [1.0, 1.0]  # what is no state is the user's own


def test_batch_and_random_numbers_are_left_alone():
    class Writes(nn.Module):
        def forward(self, x):
            return x.mul_(2) + torch.rand(1)

    batch = x()
    before, drawn = batch.clone(), torch.get_rng_state()
    lint(Writes(), batch)
    assert torch.equal(batch, before)
    assert torch.equal(torch.get_rng_state(), drawn)


# What is read


@pytest.mark.parametrize(
    "read",
    [
        lambda y: y,
        lambda y: y.transpose(0, 1),
        lambda y: y.transpose(1, 2),
        lambda y: y[:, :, 0],
        lambda y: (y, y[:, -1]),
        lambda y: {"out": y},
    ],
)
def test_outputs_are_read_by_samples_and_steps(read):
    model = Around(read)
    probe = Probe(model, x(), None)
    probe.start()
    assert probe.per_step
    assert probe.y.shape[:2] == (4, 12)
    found = lint(model, x(), stream=True)
    assert found.clean, str(found)


def test_a_summary_of_as_many_numbers_as_steps_is_no_output_by_step():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 12))
    probe = Probe(model, x(), None)
    probe.start()
    assert not probe.per_step


def test_series_of_numbers_that_a_model_reads_as_steps_have_time():
    class OfNumbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(1, 6, batch_first=True, bidirectional=True)

        def forward(self, x):
            return self.rnn(x[:, :, None])[0]

    found = lint(OfNumbers(), torch.randn(4, 9), stream=True)
    assert names_of(found) == ["not-causal"]


def test_lengths_are_known_by_name_or_by_value_and_packed_batches_have_them():
    class Packs(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 6, batch_first=True)

        def forward(self, x, counts):
            packed = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][0]

    probe = Probe(Packs(), (x(), LENGTHS), LENGTHS)
    assert probe.told
    assert "padding-changes-results" in lint(Packs(), (x(), LENGTHS), lengths=LENGTHS).checked
    packed = pack_padded_sequence(x(), LENGTHS, batch_first=True, enforce_sorted=False)
    report = lint(nn.GRU(3, 6), packed)
    assert report.clean
    assert "read-out-of-padding" in report.checked


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (None, {}),
        ({}, {}),
        (torch.randn(4), {}),
        (torch.randn(4, 12, 5), {}),
        (torch.randn(0, 12, 3), {}),
        (torch.randn(4, 0, 3), {}),
        (torch.randn(4, 12, 3), {"lengths": torch.tensor([1, 2])}),
        (torch.randn(4, 12, 3), {"lengths": torch.tensor([1, 2, 3, 13])}),
        (torch.randn(4, 12, 3), {"memory": 0}),
    ],
)
def test_what_can_not_be_run_is_one_line(batch, options):
    with pytest.raises(OptionError) as caught:
        lint(nn.GRU(3, 6, batch_first=True), batch, **options)
    assert "\n" not in str(caught.value)


def test_a_loss_that_comes_before_the_outputs_is_no_output():
    def leaking(y):
        return {"loss": y.mean(), "logits": y[:, -1] - y[:, -1].mean(0)}

    assert names_of(lint(Around(leaking), x())) == ["samples-leak"]
    assert lint(Around(lambda y: (y.mean(), y[:, -1])), x()).clean


def test_a_model_without_weights_yet_is_refused():
    with pytest.raises(OptionError, match="lazy"):
        lint(nn.LazyLinear(3), x())


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_model_without_a_number_in_its_output_is_refused(factor):
    with pytest.raises(OptionError, match="NaN or infinite throughout"):
        lint(Around(lambda y: (y.abs() + 1) * factor), x())


# What is survived


@pytest.mark.parametrize("read", [lambda y: y.sum(), lambda y: y.argmax(2)])
def test_odd_outputs_are_no_finding(read):
    report = lint(Around(read), x(), stream=True)
    assert report.clean, str(report)


def test_a_model_that_takes_but_its_own_batch_is_looked_at_as_far_as_it_goes():
    batch = x()

    class Picky(nn.Module):
        def forward(self, given):
            if not torch.equal(given, batch):
                raise RuntimeError("another batch\nof two lines")
            return given

    report = lint(Picky(), batch, stream=True)
    assert report.clean
    reasons = {each.reason for each in report.skipped if each.name == "samples-leak"}
    assert reasons == {"RuntimeError: another batch of two lines"}


def test_noise_that_no_seed_governs_is_found_and_nothing_is_compared_through_it():
    drawn = iter(range(10_000))

    class Odd(nn.Module):
        def forward(self, x):
            return x + next(drawn)

    report = lint(Odd(), x(), stream=True)
    assert names_of(report) == ["noise-in-evaluation"]
    assert {"samples-leak", "not-causal"} <= {each.name for each in report.skipped}


def test_noise_of_a_generator_in_the_model_is_noise_and_no_state():
    class Noisy(Around):
        def __init__(self):
            super().__init__(lambda y: y + torch.rand(y.shape, generator=self.generator))
            self.generator = torch.Generator()

    model = Noisy()
    drawn = model.generator.get_state()
    assert names_of(lint(model, x(), stream=False)) == ["noise-in-evaluation"]
    assert torch.equal(model.generator.get_state(), drawn)


def test_a_training_step_that_fails_is_a_reason_and_no_finding():
    model = nn.GRU(3, 6, batch_first=True)

    def step(batch):
        raise ValueError("no such loss")

    report = lint(model, x(), step)
    assert report.clean
    said = [each.reason for each in report.skipped if each.name == "no-clipping"]
    assert said == ["train_step raised ValueError: no such loss"]


# What is measured


def test_the_leak_is_the_one_there_is():
    class Adds(nn.Module):
        """Sample 2 gets a tenth of what sample 0 has."""

        def forward(self, x):
            y = x.clone()
            y[2] += 0.1 * x[0]
            return y

    batch = x()
    (found,) = lint(Adds(), batch).findings
    assert found.name == "samples-leak"
    assert "sample 0 changes the output of sample 2" in found.text
    moved = Probe(Adds(), batch, None).changed(torch.arange(4) == 0) - batch
    assert found.figure == pytest.approx(float(0.1 * moved.abs().max()), rel=1e-4)


def test_layers_that_only_say_batch_first_are_no_finding():
    class Says(nn.Module):
        batch_first = False

        def forward(self, x):
            return x.cumsum(1)

    assert lint(Says(), x(), stream=True).clean


@pytest.mark.parametrize(("half", "wanted"), [(8.0, True), (12.0, False)])
def test_gates_are_judged_by_a_thousandth_after_the_memory(half, wanted):
    # 100 steps are ten half-lives of ten steps. All that happens is c = f c.
    layer = nn.LSTM(3, 5, batch_first=True)
    keep = 0.5 ** (1 / half)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0[5:10] = math.log(keep / (1 - keep))
    report = lint(layer, x(), memory=100)
    found = {each.name: each for each in report.findings}
    assert bool(found) is wanted
    if wanted:
        assert found["forget-bias-near-zero"].figure == pytest.approx(half, rel=1e-5)
        exponent = found["lyapunov-far-from-zero"].figure
        assert exponent == pytest.approx(math.log(keep), rel=1e-4)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("steps", [20, 50, 200])
def test_no_usual_start_is_a_finding_where_no_memory_is_stated(kind, steps):
    assert lint(kind(3, 8, batch_first=True), torch.randn(3, steps, 3)).clean


def test_the_need_and_the_half_life_are_what_they_say():
    assert half_life(Need(100, True).slowest) == pytest.approx(100 * math.log(2) / math.log(1e3))
    assert half_life(math.log(0.5)) == 1
    assert half_life(0.1) == math.inf


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 8, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.rnn(x)[0]


def test_the_mend_of_a_bias_is_code_that_mends():
    model = Two()
    report = lint(model, x(), memory=60)
    mends = [each.mend for each in report.findings if each.name == "forget-bias-near-zero"]
    assert len(mends) == len(set(mends)) == 4
    for mend in mends:
        exec(re.search("`(.+?)`", mend)[1], {"torch": torch, "rnn": model.rnn})
    assert lint(model, x(), memory=60).clean


def test_the_mend_of_an_exploding_layer_is_code_that_mends():
    layer = nn.RNN(3, 24, batch_first=True)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(8)
    (found,) = lint(layer, torch.randn(4, 40, 3)).findings
    assert found.name == "lyapunov-far-from-zero"
    assert found.figure > 0
    exec(re.search("`(.+?)`", found.mend)[1], {"torch": torch, "layer": layer})
    assert lint(layer, torch.randn(4, 40, 3)).clean


@pytest.mark.parametrize("clip", [None, 0.01])
def test_norms_are_those_that_backward_left_and_that_the_optimiser_found(clip):
    model = nn.GRU(3, 6, batch_first=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    wanted = []

    def step(batch):
        optimiser.zero_grad()
        model(batch)[0].square().sum().backward()
        gradients = [each.grad for each in model.parameters()]
        raw = float(nn.utils.get_total_norm(gradients))
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        wanted.append((raw, float(nn.utils.get_total_norm(gradients))))
        optimiser.step()

    probe = Probe(model, x(), None)
    probe.start()
    seen = train(probe, step, [])
    assert seen.steps == len(wanted) == 4
    for norms, (raw, found) in zip(seen.norms, wanted, strict=True):
        assert norms.left == pytest.approx(raw, rel=1e-5)
        assert norms.found == pytest.approx(found, rel=1e-5)
        assert norms.untouched == (0 if clip else norms.left)
    # The same samples, in other places.
    assert [raw for raw, _ in wanted] == pytest.approx([wanted[0][0]] * 4, rel=1e-5)


def test_what_is_clipped_in_part_is_not_clipped():
    model = Around(lambda y: y)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)

    def step(batch):
        optimiser.zero_grad()
        model(batch).sum().backward()
        nn.utils.clip_grad_norm_([model.rnn.weight_hh_l0], 0.01)
        optimiser.step()

    probe = Probe(model, x(), None)
    probe.start()
    for norms in train(probe, step, []).norms:
        assert 0 < norms.untouched < norms.found < norms.left


def of_windows(model, *, cut, optimiser=None):
    """Return a step that goes through windows of a batch with the state carried."""

    def step(batch):
        state = None
        for window in batch.split(4, 1):
            y, state = model(window, state)
            if cut:
                state = state.detach()
            y.square().mean().backward(retain_graph=not cut)
        if optimiser is not None:
            optimiser.step()

    return step


def test_a_graph_through_windows_is_found_and_a_cut_one_is_none():
    model = nn.GRU(3, 6, batch_first=True)
    assert lint(model, x(), of_windows(model, cut=True)).clean
    (found,) = lint(model, x(), of_windows(model, cut=False)).findings
    assert found.name == "state-not-detached"
    assert found.figure >= 1


def test_one_backward_through_all_windows_is_full_bptt():
    model = tt.GRU(3, 6)

    def step(batch):
        state, loss = None, 0.0
        for window in batch.split(4, 1):
            y, state = model(window, state)
            loss = loss + y.square().mean()
        loss.backward()

    assert lint(model, x(), step).clean


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 6, batch_first=True)
        self.state = None

    def forward(self, x):
        y, state = self.rnn(x, self.state)
        self.state = state.detach()
        return y


@pytest.mark.parametrize("resets", [True, False])
def test_a_kept_state_is_no_fault_where_the_training_step_begins_afresh(resets):
    model = Keeps()

    def step(batch):
        if resets:
            model.state = None
        model(batch).square().mean().backward()

    report = lint(model, x(), step)
    assert names_of(report) == ([] if resets else ["state-reused"])
    assert model.state is None


def test_a_state_carried_by_the_step_is_found_unless_a_stream_is_meant():
    model = tt.LSTM(3, 6)
    state = None

    def step(batch):
        nonlocal state
        y, end = model(batch, state)
        state = tt.state.detach(end)
        y.square().mean().backward()

    assert names_of(lint(model, x(), step)) == ["state-reused"]
    assert state is None
    assert lint(model, x(), step, stream=True).clean


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda y, n: y[:, -1], "read-out-of-padding"),
        (lambda y, n: y[torch.arange(len(y)), n.clamp(max=y.shape[1] - 1)], "read-out-of-padding"),
        (lambda y, n: y.mean(1), "padding-changes-results"),
        (lambda y, n: y.amax(1), "padding-changes-results"),
        (lambda y, n: y[torch.arange(len(y)), n - 1], None),
    ],
)
def test_where_a_summary_is_read_is_told_from_what_it_is_made_of(read, name):
    class Told(Around):
        def forward(self, x, lengths):
            return self.read(self.rnn(x)[0], lengths)

    padded = x() * (torch.arange(12) < LENGTHS[:, None])[:, :, None]
    report = lint(Told(read), (padded, LENGTHS))
    assert names_of(report) == ([] if name is None else [name])


# Runs, and the page


def test_a_trained_run_is_clean_and_one_with_other_weights_is_not(tmp_path):
    run = tt.fit("demo:sunspots", layer="rnn:24", budget="5steps", out=tmp_path / "r", show=False)
    report = lint_run(run)
    assert report.clean, str(report)
    assert {"not-causal", "padding-changes-results", "samples-leak"} <= set(report.checked)
    with torch.no_grad():
        run.model.layers.weight_hh.mul_(6)
    assert "lyapunov-far-from-zero" in names_of(lint_run(run))


def test_the_examples_of_the_page_run_and_the_table_has_every_name():
    page = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) >= 3
    space: dict = {}
    for block in blocks:
        exec(block, space)
    rows = re.findall(r"^\| `([a-z-]+)` \|", page, re.M)
    assert rows == list(NAMES)


def test_the_public_name_is_the_linter():
    assert tt.lint is lint
