"""The selective state space in whole numbers: step lengths, rates, long memories, every size."""

import copy

import numpy as np
import pytest
import torch
from c_exports import train
from int8_exports import running_int8

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.export import MismatchError
from throughtime.export.c.int8 import numbers
from throughtime.export.c.int8.gate import verify_twin
from throughtime.export.c.int8.rounder import Signal
from throughtime.export.c.int8.rounding import round_layers
from throughtime.export.c.int8.selective import rounded_rates
from throughtime.layers import make
from throughtime.layers.stack import Stack

BITS = 13
"""Inputs of the layers below are in units of 2^-BITS."""


@pytest.fixture(scope="module")
def selective(tmp_path_factory):
    return train(tmp_path_factory.mktemp("selective") / "run", layer="selective:18", spread=0.05)


def drawn(features, units, **options):
    """A layer whose every number was drawn."""
    torch.manual_seed(2)
    layer = make("selective", features, units, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def with_layer(run, layer):
    """A run with a layer that no command line asks for."""
    found = copy.copy(run)
    found.model = copy.deepcopy(run.model)
    found.model.layers = layer
    return found


def by_whole_numbers(layer, x, calibrated_on):
    """What a layer in whole numbers makes of x (B, T, F)."""
    with torch.no_grad():
        (rounded,), _ = round_layers(layer, Signal(calibrated_on, BITS))
    given = np.rint(x.numpy().astype(np.float64) * 2.0**BITS).astype(np.int64)
    state = {name: np.tile(leaf, (len(x), 1)) for name, leaf in rounded.start().items()}
    outputs = [rounded.step(state, given[:, t]) for t in range(x.shape[1])]
    return np.stack(outputs, axis=1) / 2.0**rounded.bits


def in_float64(layer, x):
    """What the layer makes of it."""
    with torch.no_grad(), kernels.use("reference"):
        return copy.deepcopy(layer).double()(x.double())[0].numpy()


def waves(lanes, steps):
    """Signals (B, T, 3) of short and long periods, with noise."""
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(steps)[:, None] / torch.tensor([3.0, 40.0, 900.0])
    return time.sin() + 0.3 * torch.randn(lanes, steps, 3, generator=generator)


def test_step_lengths_are_right_in_proportion_too():
    x = np.concatenate([np.arange(-(2**20), 2**21, 37), [-(2**31), 0, 2**31 - 1]])
    exact = np.minimum(np.logaddexp(0, x / 2.0**16), (2**31 - 1) / 2.0**26)
    found = numbers.step_length(x) / 2.0**26
    assert (np.abs(found - exact) <= 3e-7 * exact + 2.0**-26).all()
    # The shortest steps of a fresh layer, 0.001, are right to one part in 30,000.
    short = (exact > 0.001) & (exact < 0.1)
    assert np.abs(found[short] / exact[short] - 1).max() < 3e-5


@pytest.mark.parametrize("largest", [1e-3, 1.0, 16.0, 4096.0])
def test_rates_are_right_in_proportion(largest):
    rates = np.geomspace(largest / 32_000, largest, 999).astype(np.float32).reshape(-1, 3)
    found, bits = rounded_rates(rates)
    assert found.dtype == np.int16
    assert found.min() >= 0
    np.testing.assert_allclose(numbers.rate_of(found) / 2.0**bits, rates, rtol=1 / 4096)


@pytest.mark.parametrize(
    ("rates", "ratio"), [([0.0, 1.0], 2.0**15), ([1.0, np.inf], 2.0**16), ([0.0, 0.0], 1.0)]
)
def test_rates_out_of_reach_are_taken_as_the_nearest_within(rates, ratio):
    found, bits = rounded_rates(np.float32([rates]))
    least, most = numbers.rate_of(found)[0] / 2.0**bits
    assert 0 < least <= most < 2**28
    assert most / least == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"states": 1}, {"states": 40}, {"least_step": 1e-5}])
def test_it_stays_near_float64_over_thousands_of_steps(options):
    layer = drawn(3, 12, **options)
    x = waves(2, 3000)
    wanted = in_float64(layer, x)
    apart = by_whole_numbers(layer, x, x[:, :500]) - wanted
    size = np.sqrt((wanted**2).mean((0, 2)))
    early, late = (
        np.sqrt((apart[:, part] ** 2).mean()) / size[part].mean()
        for part in (slice(0, 1000), slice(-1000, None))
    )
    assert 0 < early < 0.01
    assert late < 1.5 * early


def test_states_alone_stay_near_float64_where_rates_lie_far_apart():
    layer = drawn(3, 12)
    with torch.no_grad():
        layer.skip.zero_()
        layer.log_rate.add_(torch.randn_like(layer.log_rate))
    x = waves(2, 3000)
    wanted = in_float64(layer, x)
    apart = by_whole_numbers(layer, x, x[:, :1000]) - wanted
    assert np.sqrt((apart[:, -1000:] ** 2).mean() / (wanted[:, -1000:] ** 2).mean()) < 0.02


@pytest.mark.parametrize("states", [1, 3, 40])
def test_any_number_of_states_gives_the_bits_of_the_twin(states, selective, tmp_path):
    run = with_layer(selective, drawn(2, 18, states=states))
    with running_int8(run, tmp_path) as (runner, twin):
        verify_twin(run, runner, twin, steps=300)


def test_layers_of_several_sizes_share_their_room(selective, tmp_path):
    run = with_layer(selective, Stack([drawn(2, 33, states=2), drawn(33, 18, states=5)]))
    with running_int8(run, tmp_path) as (runner, twin):
        verify_twin(run, runner, twin, steps=100)


def test_numbers_without_measure_give_the_bits_of_the_twin(selective, tmp_path):
    absurd = torch.tensor([1e30, -1e30, float("inf"), float("nan"), 1e5, -40000.5])
    inputs = absurd.repeat(50)[None, :, None].expand(1, 300, 2).contiguous()
    there = torch.ones(1, 300, dtype=torch.bool)
    with running_int8(selective, tmp_path) as (runner, twin):
        runner.begin(1)
        twin.begin(1)
        got, wanted = (each.run(inputs, there, ~there) for each in (runner, twin))
    assert torch.equal(got, wanted)


def test_eigenvalues_below_zero_are_one_clear_error():
    layer = drawn(3, 5, negative_eigenvalues=True)
    with pytest.raises(OptionError, match="SelectiveSSM without negative_eigenvalues for int8"):
        round_layers(layer, Signal(waves(1, 4), BITS))


FAULTS = {
    "a step length of no use to the input": ("enters = length * u[k]", "enters = 65536 * u[k]"),
    "rates of the first unit for all": ("        rate += layer->states;\n", ""),
    "a rate that is cut off": ("2048 + rate % 2048", "2048 + rate % 1024"),
    "B in the place of C": ("(int64_t)out[n] * h[n]", "(int64_t)into[n] * h[n]"),
    "what a state was before": (
        "            sum += (int64_t)out[n] * h[n];\n",
        "            sum += (int64_t)out[n] * (h[n] - entered);\n",
    ),
    "a coefficient of the step lengths": ("-536851374", "-536351374"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name, selective, tmp_path):
    before, after = FAULTS[name]
    with (
        running_int8(selective, tmp_path, alter=lambda text: text.replace(before, after)) as (
            runner,
            twin,
        ),
        pytest.raises(MismatchError, match="expected the numbers of the twin"),
    ):
        verify_twin(selective, runner, twin, steps=100)
