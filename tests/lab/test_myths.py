"""The parts of the experiments on myths, remarks and uses, against what they should compute."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from throughtime.lab import small
from throughtime.lab.experiments import (
    always_best,
    clipping_and_initialisation,
    compressed_summary,
    fixed_memory,
    forecast_honestly,
    gates_and_their_bias,
    parallel_or_step_by_step,
    perfect_memory,
    sharing_and_long_dependencies,
    streaming_cost,
)
from throughtime.tasks.baselines import last_value


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_holding_rnn_shrinks_every_state_by_its_gain():
    torch.manual_seed(0)
    layer = perfect_memory.holding_rnn(6, 0.9)
    values = torch.linalg.svdvals(layer.get_parameter("weight_hh").detach())
    torch.testing.assert_close(values, torch.full((6,), 0.9))


def test_doubling_computes_the_linear_recurrence():
    torch.manual_seed(0)
    layer = parallel_or_step_by_step.LinearRecurrence()
    x = torch.randn(2, 11, parallel_or_step_by_step.WIDTH)
    gate, value = torch.sigmoid(layer.gate(x)), layer.value(x)
    h, wanted = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = gate[:, t] * h + (1 - gate[:, t]) * value[:, t]
        wanted.append(h)
    torch.testing.assert_close(layer(x), torch.stack(wanted, 1))


def test_depth_counts_the_longest_chain():
    x = torch.ones(3, requires_grad=True)
    y = x
    for _ in range(500):
        y = y * x
    # The leaf's own node, and a product for each turn; the sum beside it is shorter.
    assert parallel_or_step_by_step.depth(y + (x + 1)) == 1 + 500 + 1


def test_what_comes_later_is_seen_to_move_earlier_outputs():
    x = torch.randn(2, 8, 3, generator=seeded())
    assert parallel_or_step_by_step.earlier_change(lambda x: x.cumsum(1), x) == 0
    assert parallel_or_step_by_step.earlier_change(lambda x: x.flip(1).cumsum(1), x) > 0


def test_symbols_are_given_back_after_a_delay():
    symbols, answers = fixed_memory.give_back(7, 3, seeded(), 4)
    assert (answers[:, :3] == -1).all()
    assert answers[:, 3:].tolist() == symbols[:, :4].tolist()


def test_recall_answers_with_the_value_of_the_key():
    x, answers = always_best.recall(5, 20, seeded())
    kinds = always_best.KINDS
    keys, values = (x > 0).long().split(kinds, dim=-1)
    assert (answers[:, :-1] == -1).all()
    for lane in range(20):
        (place,) = (keys[lane, :-1] * keys[lane, -1]).sum(-1).nonzero().flatten().tolist()
        assert values[lane, place].argmax() == answers[lane, -1]
        assert values[lane, -1].sum() == 0


def test_the_best_choice_loses_what_it_falls_behind_most():
    scores = {
        "follow": {"GRU": 1.0, "Transformer": 0.6},
        "look up": {"GRU": 0.3, "Transformer": 0.9},
    }
    assert always_best.loss_of_the_best_choice(scores) == pytest.approx(0.4)
    scores["look up"]["Transformer"] = 0.2
    assert always_best.loss_of_the_best_choice(scores) == 0


def test_a_linear_read_out_finds_what_is_there_and_nothing_else():
    symbols = torch.randint(0, compressed_summary.KINDS, (2000, 3, 2), generator=seeded())
    states = nn.functional.one_hot(symbols[:, :, 0], compressed_summary.KINDS).flatten(1).float()
    found = compressed_summary.read_off(states, symbols)
    assert found[:, 0].tolist() == [1, 1, 1]
    assert (found[:, 1] - 1 / compressed_summary.KINDS).abs().max() < 0.06


def test_gradients_are_products_of_jacobians():
    draw = sharing_and_long_dependencies.gradients
    gain, steps = 1e-3, 4
    shared = draw(3, steps, gain, 0, shared=True)
    own = draw(3, steps, gain, 0, shared=False)
    assert shared.shape == own.shape == (steps + 1, 3)
    torch.testing.assert_close(shared[0], torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    # So small a gain leaves tanh' of the inputs alone, about 1: a step costs three powers of ten.
    assert ((shared[-1] + 3 * steps).abs() < 0.5).all()
    assert ((own[-1] + 3 * steps).abs() < 0.5).all()
    assert not torch.equal(shared, own)


def test_an_orthogonal_start_keeps_lengths_and_torch_does_not():
    torch.manual_seed(0)
    units = clipping_and_initialisation.UNITS
    weight = clipping_and_initialisation.start(orthogonal=True).get_parameter("weight_hh_l0")
    torch.testing.assert_close(weight @ weight.T, torch.eye(units), atol=1e-5, rtol=0)
    plain = clipping_and_initialisation.start(orthogonal=False).get_parameter("weight_hh_l0")
    assert plain.abs().max() <= 1 / math.sqrt(units)


def test_only_the_forget_gate_is_given_a_bias():
    torch.manual_seed(0)
    plain = gates_and_their_bias.torch_lstm(3, added=0.0)
    torch.manual_seed(0)
    raised = gates_and_their_bias.torch_lstm(3, added=3.0)
    size = gates_and_their_bias.HIDDEN
    moved = raised.get_parameter("bias_ih") - plain.get_parameter("bias_ih")
    wanted = torch.zeros(4, size)
    wanted[1] = 3.0
    torch.testing.assert_close(moved.view(4, size), wanted)


def test_attention_with_a_cache_is_causal_attention():
    torch.manual_seed(0)
    layer = streaming_cost.CachedAttention(8, most=5)
    x = torch.randn(5, 8)
    with torch.inference_mode():
        stepped = torch.cat([layer.step(x[t : t + 1], t) for t in range(5)])
        heads = layer.enter(x).view(5, 3, streaming_cost.HEADS, -1).permute(1, 2, 0, 3)
        query, key, value = heads.unbind(0)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        seen = (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)
        torch.testing.assert_close(stepped, layer.leave(seen))
    assert layer.carried_bytes(4) == 2 * 5 * 8 * 4


def test_windows_in_time_order_share_no_year_to_forecast():
    split = forecast_honestly.series()
    years = [
        {int(begin) + forecast_honestly.PAST + k for begin in part for k in range(12)}
        for part in forecast_honestly.in_time_order(split)
    ]
    assert max(years[0]) < min(years[1])
    assert max(years[1]) < min(years[2])
    assert max(years[2]) == len(split.y) - 1


def test_windows_dealt_out_are_as_many_and_none_twice():
    split = forecast_honestly.series()
    ordered = forecast_honestly.in_time_order(split)
    dealt = forecast_honestly.shuffled(split, seeded())
    assert [len(part) for part in dealt] == [len(part) for part in ordered]
    together = torch.cat(dealt).tolist()
    assert len(set(together)) == len(together)


def test_a_baseline_is_judged_on_the_years_of_the_windows():
    split = forecast_honestly.series()
    past, ahead = forecast_honestly.windows(split)
    chosen = torch.tensor([3, 50, 200])
    baseline = last_value([split], horizon=forecast_honestly.AHEAD)
    wanted = float((ahead[chosen] - past[chosen][:, -1]).abs().mean())
    found = forecast_honestly.baseline_error(baseline, split, chosen)
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("where", ["games", "follow"])
def test_cups_follow_the_ball(where: str):
    if where == "games":
        moves, cups = small.games(30, 9, seeded())
    else:
        x, cups = always_best.follow(9, 30, seeded())
        moves = x.argmax(-1)
    exchanged = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 2)}
    for lane in range(30):
        ball = [1, 0, 0]
        for move, cup in zip(moves[lane].tolist(), cups[lane].tolist(), strict=True):
            a, b = exchanged[move]
            ball[a], ball[b] = ball[b], ball[a]
            assert int(np.argmax(ball)) == cup
