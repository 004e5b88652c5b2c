"""Whole, chunked and stepped: three ways of running a layer over a long sequence."""

import torch

from throughtime import state as states


def assert_close(got, expected, tolerance=1e-5):
    """Demand |a - b| <= tolerance * (1 + |b|)."""
    assert got.shape == expected.shape
    apart = ((got - expected).abs() / (1 + expected.abs())).detach()
    assert not apart.numel() or float(apart.max()) <= tolerance


def assert_same_state(got, expected, tolerance=1e-5):
    """Demand that of every leaf."""
    for a, b in zip(states.leaves(got), states.leaves(expected), strict=True):
        assert_close(a, b, tolerance)


def assert_three_ways_agree(layer, steps):
    """Run a layer over T steps whole, in chunks of 997, and step by step."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, steps, layer.input_size, generator=generator)
    with torch.no_grad():
        whole, end = layer(x)
        state, parts = None, []
        for part in x.split(997, dim=1):
            y, state = layer(part, state)
            parts.append(y)
        assert_close(torch.cat(parts, dim=1), whole)
        assert_same_state(state, end)
        state, outputs = layer.initial_state(1), []
        for t in range(steps):
            y, state = layer.step(x[:, t], state)
            outputs.append(y)
        assert_close(torch.stack(outputs, dim=1), whole)
        assert_same_state(state, end)
