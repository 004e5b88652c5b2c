"""The linter's examples are what they are called, shown by plain torch and without the linter.

A planted fault does the harm that its name says, and a clean model does none of it.
"""

import copy
import math
import re

import pytest
import torch
from clean_models import CLEAN
from lint_cases import LENGTHS, B, call, input_of, present, with_input
from planted_faults import PLANTED
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from throughtime.recurrent import Recurrent

MOVED = 1e-5
"""Outputs are of about 1, and float32 can tell apart what differs by a hundredth of this."""


def build(make):
    torch.manual_seed(1)
    return make()


def evaluate(model, batch):
    """Return the output of a copy that has not run before, in evaluation mode."""
    torch.manual_seed(2)
    with torch.no_grad():
        return call(copy.deepcopy(model).eval(), batch)


def changed(batch, where):
    """Return the batch with other numbers, or symbols, in the input where that is so."""
    x = input_of(batch)
    torch.manual_seed(3)
    other = (x + 3) % 12 if not x.is_floating_point() else x + torch.randn_like(x)
    where = where.reshape(where.shape + (1,) * (x.dim() - where.dim())).expand_as(x)
    return with_input(batch, torch.where(where, other, x))


def movement(case, where):
    """Return how much each output (B, ...) moves when the input is changed there."""
    before = evaluate(case.model, case.batch)
    return (evaluate(case.model, changed(case.batch, where)) - before).abs()


def leak(case):
    """How much outputs of other samples move when the first or the last one is changed."""
    x = input_of(case.batch)
    most = 0.0
    for sample in (0, B - 1):
        where = torch.zeros(x.shape[:2], dtype=torch.bool)
        where[sample] = True
        moved = movement(case, where)
        moved[sample] = 0
        most = max(most, float(moved.max()))
    return most


def padding(case):
    """How much real outputs move when the padding is changed."""
    moved = movement(case, ~present())
    return float((moved if moved.dim() == 2 else moved * present()[..., None]).max())


def blindness(case):
    """How much summaries of short samples move when their last real step is changed."""
    where = torch.zeros(B, 24, dtype=torch.bool)
    where[torch.arange(B), LENGTHS - 1] = True
    return float(movement(case, where)[LENGTHS < 24].max())


def foresight(case):
    """How much outputs before a step move when it is changed."""
    x = input_of(case.batch)
    where = torch.zeros(x.shape[:2], dtype=torch.bool)
    where[:, -1] = True
    return float(movement(case, where)[:, :-1].max())


def noise(case):
    """How much the outputs of two fresh copies differ on the same input."""
    model = copy.deepcopy(case.model).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        first, second = call(copy.deepcopy(model), case.batch), call(model, case.batch)
    return float((first - second).abs().max())


def graph_sizes(case, steps):
    """Return how many nodes lead up to the loss in each training step."""
    sizes, backward = [], torch.Tensor.backward

    def counted(loss, *args, **options):
        seen, todo = set(), [loss.grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [after for after, _ in node.next_functions]
        sizes.append(len(seen))
        backward(loss, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", counted)
        for _ in range(steps):
            case.train_step(case.batch)
    return sizes


def largest_gradient(case, steps=5):
    """Return the largest norm of gradients with which an optimizer made a step."""
    norms = []

    def seen(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in grads if g is not None]).norm()))

    hook = register_optimizer_step_pre_hook(seen)
    try:
        for _ in range(steps):
            case.train_step(case.batch)
    finally:
        hook.remove()
    return math.inf if any(not math.isfinite(norm) for norm in norms) else max(norms)


def keeping(layer):
    """Return the biases of the gates that keep the state, one tensor for each layer of a module."""
    if isinstance(layer, Recurrent):
        names = [("bias_ih", "bias_hh")]
    else:
        names = [(f"bias_ih_l{k}", f"bias_hh_l{k}") for k in range(layer.num_layers)]
    size = layer.hidden_size
    return [sum(getattr(layer, name).detach()[size : 2 * size] for name in pair) for pair in names]


def gated(model):
    kinds = nn.LSTM | nn.GRU
    ours = {"LSTM", "GRU"}
    return [m for m in model.modules() if isinstance(m, kinds) or type(m).__name__ in ours]


def shortest_half_life(case):
    """The least median half-life, in steps, that gate biases give to a layer."""
    biases = [bias for layer in gated(case.model) for bias in keeping(layer)]
    return min(float((math.log(0.5) / nn.functional.logsigmoid(b)).median()) for b in biases)


def separation(rnn, x):
    """Return the logarithm of by how much two near states come apart at a step, on average."""
    rnn = copy.deepcopy(rnn).double().eval()
    x = x.double()
    torch.manual_seed(4)
    ours = isinstance(rnn, Recurrent)
    shape = (len(x), rnn.hidden_size) if ours else (1, len(x), rnn.hidden_size)
    start = torch.zeros(shape, dtype=x.dtype)
    direction = torch.randn(shape, dtype=x.dtype)
    direction /= direction.norm(dim=-1, keepdim=True)
    total, steps = 0.0, x.shape[1]
    for t in range(steps):
        near = start + 1e-7 * direction
        states = [type(rnn.initial_state(1))(h) if ours else h for h in (start, near)]
        with torch.no_grad():
            after = [rnn(x[:, t : t + 1], state)[1] for state in states]
        start, near = (state.h if ours else state for state in after)
        apart = (near - start).norm(dim=-1, keepdim=True)
        total += float((apart / 1e-7).log().mean())
        direction = (near - start) / apart
    return total / steps


def named(*names):
    """Return the planted faults of these names, as parameters."""
    return [key for key, make in PLANTED.items() if build(make).name in names]


def plain(condition):
    """Return the clean models of which that is so."""
    return [key for key, make in CLEAN.items() if condition(build(make))]


def has_lengths(case):
    return "lengths" in case.options or (isinstance(case.batch, dict) and "lengths" in case.batch)


AXES = named("batch-and-time-swapped", "unbatched-input", "samples-leak")


@pytest.mark.parametrize("key", AXES)
def test_one_sample_moves_the_output_of_another(key):
    assert leak(build(PLANTED[key])) > MOVED


@pytest.mark.parametrize("key", [*(key for key in PLANTED if key not in AXES), *CLEAN])
def test_samples_are_apart(key):
    assert leak(build({**PLANTED, **CLEAN}[key])) < MOVED


@pytest.mark.parametrize("key", named("padding-changes-results"))
def test_padding_changes_results(key):
    assert padding(build(PLANTED[key])) > MOVED


@pytest.mark.parametrize("key", named("read-out-of-padding"))
def test_read_out_of_padding_is_blind_or_moved_by_it(key):
    case = build(PLANTED[key])
    if case.may_also:
        assert padding(case) > MOVED
    else:
        assert blindness(case) == 0


@pytest.mark.parametrize("key", plain(has_lengths))
def test_padding_changes_nothing(key):
    case = build(CLEAN[key])
    assert padding(case) < MOVED
    if evaluate(case.model, case.batch).dim() == 2:
        assert blindness(case) > MOVED


@pytest.mark.parametrize("key", named("not-causal"))
def test_outputs_see_the_future(key):
    assert foresight(build(PLANTED[key])) > MOVED


@pytest.mark.parametrize("key", plain(lambda case: case.options.get("stream")))
def test_outputs_see_no_future(key):
    assert foresight(build(CLEAN[key])) < MOVED


@pytest.mark.parametrize("key", named("noise-in-evaluation"))
def test_evaluation_differs(key):
    assert noise(build(PLANTED[key])) > 1e-3


@pytest.mark.parametrize("key", CLEAN)
def test_evaluation_is_the_same(key):
    assert noise(build(CLEAN[key])) == 0


@pytest.mark.parametrize("key", named("state-reused"))
def test_the_next_batch_begins_where_the_last_ended(key):
    case = build(PLANTED[key])
    starts = []

    def seen(module, arguments):
        if len(arguments) > 1 and arguments[1] is not None:
            leaf = arguments[1]
            starts.append((leaf if isinstance(leaf, torch.Tensor) else leaf[0]).norm().item())
        else:
            starts.append(0.0)

    kinds = nn.GRU | nn.GRUCell | Recurrent
    layer = next(m for m in case.model.modules() if isinstance(m, kinds))
    layer.register_forward_pre_hook(seen)
    case.train_step(case.batch)
    of_a_batch = len(starts)
    case.train_step(case.batch)
    assert starts[0] == 0 < 0.1 < starts[of_a_batch]


@pytest.mark.parametrize("key", named("state-not-detached"))
def test_graph_goes_on_into_the_next_window(key):
    case = build(PLANTED[key])
    if key == "windows_with_a_growing_graph":
        one, two, *_, last = graph_sizes(case, 5)
        assert last > one + 3 * (two - one) > one
    else:
        case.train_step(case.batch)
        with pytest.raises(RuntimeError, match=r"second time|inplace operation"):
            case.train_step(case.batch)


@pytest.mark.parametrize("key", plain(lambda case: case.train_step))
def test_graph_stays_in_its_window(key):
    assert len(set(graph_sizes(build(CLEAN[key]), 3))) == 1


@pytest.mark.parametrize("key", named("no-clipping"))
def test_steps_are_made_with_gradients_that_explode(key):
    assert largest_gradient(build(PLANTED[key])) > 1e3


@pytest.mark.parametrize("key", plain(lambda case: case.train_step))
def test_steps_are_made_with_small_gradients(key):
    assert largest_gradient(build(CLEAN[key])) < 5


@pytest.mark.parametrize("key", named("forget-bias-near-zero"))
def test_gates_forget_long_before(key):
    case = build(PLANTED[key])
    memory = case.options.get("memory", input_of(case.batch).shape[1])
    assert shortest_half_life(case) < memory / 20


@pytest.mark.parametrize("key", plain(lambda case: gated(case.model)))
def test_gates_remember_as_long_as_is_asked(key):
    case = build(CLEAN[key])
    memory = case.options.get("memory", input_of(case.batch).shape[1])
    assert shortest_half_life(case) > memory / 6


@pytest.mark.parametrize("key", named("lyapunov-far-from-zero"))
def test_nearby_states_come_together_or_apart(key):
    case = build(PLANTED[key])
    rnn = next(m for m in case.model.modules() if re.fullmatch("RNN", type(m).__name__))
    memory = case.options.get("memory", input_of(case.batch).shape[1])
    # A gradient over the memory that is asked for changes by a factor of a thousand.
    assert abs(separation(rnn, input_of(case.batch))) * memory > math.log(1e3)
