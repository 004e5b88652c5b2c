"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import throughtime

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(throughtime.__path__, "throughtime.")
    if not module.name.endswith(("__main__", ".libthroughtime"))
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    with_examples = [
        name
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name)))
    ]
    assert len(with_examples) > 20
