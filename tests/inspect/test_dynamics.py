"""Fixed points of layers that are solved by hand, and of a network that remembers two bits."""

import pytest
import torch
from torch.nn import functional

from throughtime.errors import OptionError
from throughtime.inspect import fixed_points, principal_components, replay, saturation
from throughtime.layers import GRU, LSTM, RNN, make
from throughtime.layers.gru import GRUState


def test_a_contracting_layer_rests_in_one_point_and_moves_there():
    torch.manual_seed(1)
    layer, x = LSTM(2, 4, forget_bias=0.0), torch.tensor([0.3, -0.2])
    starts = layer.initial_state(12)
    starts = type(starts)(*(torch.randn_like(leaf) for leaf in starts))
    found = fixed_points(layer, x, starts)
    assert found.found.tolist() == [12]
    assert found.unstable.tolist() == [0]
    with torch.no_grad():
        _, end = layer(x.expand(1, 400, 2))
    wanted = torch.cat([end.h, end.c], 1).double()
    torch.testing.assert_close(found.points, wanted, rtol=1e-4, atol=1e-5)


def test_a_linear_recurrence_rests_where_its_equation_says():
    layer = make("lru", 1, 3)
    x = torch.tensor([0.7])
    found = fixed_points(layer, x, torch.randn(5, layer.state_size))
    a, b = layer.double().coefficients(x.double()[None, None])
    rest = torch.view_as_real((b / (1 - a)).detach()).flatten()
    torch.testing.assert_close(found.points[0], rest, rtol=1e-6, atol=1e-8)
    sizes = a.detach().abs().flatten().sort(descending=True).values.repeat_interleave(2)
    torch.testing.assert_close(found.eigenvalues[0].abs(), sizes)


def test_a_unit_that_remembers_a_bit_rests_at_both_and_between():
    layer = RNN(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_hh.fill_(2.0)
    starts = layer.initial_state(21)._replace(h=torch.linspace(-1, 1, 21)[:, None])
    found = fixed_points(layer, torch.zeros(1), starts)
    points = dict(zip(found.points.flatten().tolist(), found.unstable.tolist(), strict=True))
    assert sorted(points) == pytest.approx([-0.957504, 0.0, 0.957504], abs=1e-5)
    assert [points[each] for each in sorted(points)] == [0, 1, 0]
    assert int(found.found.sum()) == 21


def test_impossible_inputs_are_refused():
    with pytest.raises(OptionError, match=r"expected x as \(2,\), got \(1, 2\)"):
        fixed_points(RNN(2, 3), torch.zeros(1, 2), RNN(2, 3).initial_state(1))
    with pytest.raises(OptionError, match="a count of 1 to 3 directions, got 4"):
        principal_components(torch.randn(2, 9, 3), 4)


def test_components_are_the_directions_of_most_variance():
    rows = torch.randn(4, 50, 3) * torch.tensor([5.0, 1.0, 0.1])
    found = principal_components(rows, 3)
    assert (found.axes.abs().argmax(1) == torch.arange(3)).all()
    torch.testing.assert_close(found.shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    back = found.points @ found.axes + found.mean
    torch.testing.assert_close(back, rows.double())


def test_saturation_counts_shut_and_open_gates():
    layer = GRU(1, 3)
    with torch.no_grad():
        layer.bias_ih[3:6] = torch.tensor([9.0, -9.0, 0.0])
    shut, opened = saturation(replay(layer, torch.zeros(2, 5, 1))["z"])
    assert shut.tolist() == [0.0, 1.0, 0.0]
    assert opened.tolist() == [1.0, 0.0, 0.0]


def test_steps_that_are_not_there_count_for_nothing():
    layer, x, lengths = GRU(2, 3), torch.randn(3, 9, 2), torch.tensor([9, 4, 0])
    padded = replay(layer, x, lengths=lengths)
    rows = torch.cat([padded["h"][0], padded["h"][1, :4]])[None]
    found = principal_components(padded["h"], 3, lengths=lengths)
    alone = principal_components(rows, 3)
    torch.testing.assert_close(found.mean, alone.mean)
    torch.testing.assert_close(found.shares, alone.shares)
    torch.testing.assert_close(found.points @ found.axes + found.mean, padded["h"].double())
    gates = torch.cat([padded["z"][0], padded["z"][1, :4]])[None]
    for with_lengths, wanted in zip(
        saturation(padded["z"], lengths=lengths), saturation(gates), strict=True
    ):
        torch.testing.assert_close(with_lengths, wanted)
    assert not torch.equal(saturation(padded["z"])[0], saturation(gates)[0])


def flip_flop(lanes, steps, generator):
    """Two bits, each set by pulses of its own; wanted is what the last pulse said."""
    pulses = torch.rand(lanes, steps, 2, generator=generator) < 0.15
    signs = torch.rand(lanes, steps, 2, generator=generator).round() * 2 - 1
    x = pulses * signs
    x[:, 0] = signs[:, 0]
    wanted, bit = [], torch.zeros(lanes, 2)
    for each in x.unbind(1):
        bit = torch.where(each != 0, each, bit)
        wanted.append(bit)
    return x, torch.stack(wanted, 1)


@pytest.mark.slow
def test_a_network_that_remembers_two_bits_has_four_stable_points_and_saddles():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layer, head = GRU(2, 16), torch.nn.Linear(16, 2)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    for _ in range(600):
        x, wanted = flip_flop(64, 50, generator)
        loss = functional.mse_loss(head(layer(x)[0]), wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    x, wanted = flip_flop(64, 50, generator)
    with torch.no_grad():
        h = layer(x)[0]
        assert float((head(h).sign() == wanted).double().mean()) > 0.995
    # Where the network goes, and not where it never is.
    starts = h[:, ::5].flatten(0, 1)
    starts = starts + 0.01 * torch.randn(starts.shape, generator=generator)
    found = fixed_points(layer, torch.zeros(2), GRUState(starts))
    assert found.unstable.tolist() == [0, 0, 0, 0]
    bits = head(found.points.float()).detach().sign()
    assert len(torch.unique(bits, dim=0)) == 4
    # Saddles are between the points that they lead to.
    shares = torch.linspace(0.2, 0.8, 13).double()[:, None, None, None]
    between = shares * found.points[:, None] + (1 - shares) * found.points[None]
    between = between.reshape(-1, 16)
    edges = fixed_points(layer, torch.zeros(2), GRUState(between.float()))
    saddles = edges.unstable[edges.unstable > 0]
    print(f"4 stable points, saddles unstable along {sorted(saddles.tolist())}")
    assert (saddles == 1).sum() >= 3
