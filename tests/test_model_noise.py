"""A model that drops symbols: out of its state, on every way to run, and only where asked."""

import pytest
import torch
from pydantic import ValidationError

from throughtime import state as states
from throughtime.errors import ShapeError, StateError
from throughtime.model import ModelConfig, NoisyState, SequenceModel


def make(layer="gru:8", **options):
    usual = {"embedding_dropout": 0.5, "mask_span": 4}
    return SequenceModel(
        ModelConfig(symbols=7, embedding=5, layer=layer, outputs=4, **usual | options)
    )


def fold(model, inputs, state, lengths, resets):
    """Run step by step, lane by lane; outputs beyond the lengths are left zero."""
    outputs, ends = torch.zeros(*inputs.shape, 4), []
    for lane in range(len(inputs)):
        one = states.take(state, torch.tensor([lane]))
        for t in range(int(lengths[lane])):
            reset = resets[lane, t][None]
            y, one = model.step(inputs[lane, t][None], one, reset=reset)
            outputs[lane, t] = y[0]
        ends.append(one)
    return outputs, states.cat(ends)


def assert_same(got, wanted):
    for a, b in zip(states.leaves(got), states.leaves(wanted), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layer", ["gru:8", "rg_lru:6x2:conv:block"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_is_the_fold_of_step_from_a_given_state(layer, training):
    model = make(layer, dropout=0.3 if "x2" in layer else 0.0).train(training)
    inputs, lengths = torch.randint(7, (3, 23)), torch.tensor([23, 9, 0])
    resets = torch.rand(3, 23) < 0.1
    with torch.no_grad():
        _, start = model(inputs[:, :3], model.initial_state(3))
        wanted, end = fold(model, inputs, start, lengths, resets)
        y, after = model(inputs, start, lengths=lengths, resets=resets)
        there = torch.arange(23) < lengths[:, None]
        torch.testing.assert_close(y * there[:, :, None], wanted, atol=1e-6, rtol=1e-5)
        assert_same(after, end)
        first, middle = model(inputs[:, :10], start)
        rest, cut = model(inputs[:, 10:], middle)
        whole, uncut = model(inputs, start)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, atol=1e-6, rtol=1e-5)
    assert_same(cut, uncut)


def test_only_training_drops_and_both_count():
    model = make()
    plain = make(embedding_dropout=0.0)
    plain.load_state_dict(model.state_dict())
    inputs, start = torch.randint(7, (2, 9)), model.initial_state(2)
    trained, after = model(inputs, start)
    assert torch.equal(trained, model(inputs, start)[0]), "from a state, all is settled"
    assert not torch.equal(trained, model(inputs)[0]), "from none, seeds are drawn"
    y, end = model.eval()(inputs, start)
    assert torch.equal(y, plain.eval()(inputs)[0])
    assert end.noise.step.tolist() == after.noise.step.tolist() == [9, 9]
    assert torch.equal(end.noise.seed, start.noise.seed)


def test_a_symbol_is_there_or_not_for_a_span_of_steps():
    """The head reads what the layer reads: a layer that only passes on shows the masks."""
    model = make(mask_span=6)
    model.layers.run = lambda x, state, lengths, resets: (x, state)
    model.head = torch.nn.Identity()
    inputs = torch.randint(7, (4, 18))
    with torch.no_grad():
        y, _ = model(inputs)
    seen = torch.zeros(4, 3, 7, 2, dtype=torch.bool)
    for lane in range(4):
        for t in range(18):
            dropped = bool((y[lane, t] == 0).all())
            if not dropped:
                torch.testing.assert_close(y[lane, t], 2 * model.embedding.weight[inputs[lane, t]])
            seen[lane, t // 6, inputs[lane, t], int(dropped)] = True
    assert not seen.all(dim=3).any(), "never both within a span"
    assert seen.any(dim=1).all(dim=2).any(), "and both over the spans of a lane"


def test_without_it_states_and_configurations_are_what_they_were():
    model = make(embedding_dropout=0.0, mask_span=128)
    assert [leaf.name for leaf in states.spec(model.initial_state(1))] == ["h"]
    assert set(model.config.model_dump()) == {
        *("features", "symbols", "embedding", "layer", "dropout", "memory", "outputs")
    }
    for options in ({"embedding_dropout": 0.1}, {"learned_initial_state": True}):
        config = ModelConfig(symbols=7, layer="gru:4", outputs=4, **options)
        assert options.items() <= config.model_dump(mode="json").items()
        assert ModelConfig.model_validate(config.model_dump(mode="json")) == config


def test_what_does_not_fit_is_refused():
    model = make()
    inputs = torch.randint(7, (2, 9))
    state = model.initial_state(2)
    with pytest.raises(StateError, match=r"expected a NoisyState .* got GRUState; make states"):
        model(inputs, state.layers)
    with pytest.raises(StateError, match="expected a NoisyState"):
        model.step(inputs[:, 0], state.layers)
    with pytest.raises(StateError):
        model(inputs, NoisyState(state.layers, model.initial_state(1).noise))
    with pytest.raises(StateError, match=r"a state of B = 2 lanes, got \[3\]"):
        model(inputs, model.initial_state(3))
    with pytest.raises(StateError, match=r"a state of B = 2 lanes, got \[1\]"):
        model.step(inputs[:, 0], model.initial_state(1))
    with pytest.raises(ShapeError, match="lengths between 0 and T = 9, got 2 to 10"):
        model(inputs, state, lengths=torch.tensor([2, 10]), resets=inputs > 7)
    with pytest.raises(ShapeError, match="resets as"):
        model(inputs, state, resets=inputs)
    with pytest.raises(ShapeError, match="call step"):
        model(inputs[:, 0], state)
    with pytest.raises(ShapeError, match="reset as"):
        model.step(inputs[:, 0], state, reset=torch.tensor([True]))
    with pytest.raises(ValidationError, match="expected symbols with embedding_dropout"):
        ModelConfig(features=3, layer="gru:4", outputs=2, embedding_dropout=0.1)


def test_a_learned_beginning_is_where_a_lane_starts_and_starts_again():
    model = make("gru:4+rg_lru:4:block+lstm:3", embedding_dropout=0.0, learned_initial_state=True)
    first, _, last = model.layers.layers
    with torch.no_grad():
        first.initial.normal_()
        last.initial.normal_()
    begin = model.initial_state(2)
    torch.testing.assert_close(begin[0].h, first.initial.expand(2, 4))
    torch.testing.assert_close(begin[2].c, last.initial[1].expand(2, 3))
    inputs, lengths = torch.randint(7, (2, 9)), torch.tensor([9, 6])
    resets = torch.zeros(2, 9, dtype=torch.bool)
    resets[0, 4] = True
    y, _ = model(inputs, lengths=lengths, resets=resets)
    fresh, _ = model(inputs[:1, 4:])
    torch.testing.assert_close(y[:1, 4:], fresh)
    y[0, 4:].sum().backward()
    slopes = [first.initial.grad.clone(), last.initial.grad.clone()]
    model.zero_grad()
    fresh.sum().backward()
    torch.testing.assert_close(slopes, [first.initial.grad, last.initial.grad])
    assert all(slope.abs().max() > 0 for slope in slopes)
