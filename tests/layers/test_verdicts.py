"""Docstrings say what the battery found, and no more."""

import inspect

import pytest

from benchmarks.battery.verdicts import read_matrix, verdict
from throughtime import layers
from throughtime.layers.registry import maker_of


@pytest.mark.parametrize("name", layers.names())
def test_a_docstring_says_what_the_battery_found(name):
    said = " ".join((inspect.getdoc(maker_of(name)) or "").split())
    assert verdict(read_matrix(), name) in said, "run scripts/verdicts.py"
