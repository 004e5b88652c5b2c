"""The linter finds each planted fault and nothing untrue, has nothing to say of clean models, and
leaves models as they were."""

import functools
import math
from typing import Any, NamedTuple

import pytest
import torch
from clean_models import CLEAN
from planted_faults import PLANTED

from throughtime.inspect.lint import lint
from throughtime.inspect.lint.findings import NAMES

EVERY = {**PLANTED, **CLEAN}


class Linted(NamedTuple):
    """What the linter said of a model, and what the model was before and after."""

    case: Any
    report: Any
    before: dict
    after: dict


def everything_of(model):
    """Return what a linter must not change: weights, gradients, modes, hooks, random numbers."""
    modules = dict(model.named_modules())
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        },
        "wanted": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in modules.items()},
        "hooks": {
            name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for name, m in modules.items()
        },
        "methods": {name: "forward" in vars(module) for name, module in modules.items()},
        "random": torch.get_rng_state(),
    }


@functools.cache
def linted(key, training=True):
    """Build a case, lint it once for all tests, and note what was there before and after."""
    torch.manual_seed(1)
    case = EVERY[key]()
    case.model.train(training)
    before = everything_of(case.model)
    report = lint(case.model, case.batch, case.train_step, **case.options)
    return Linted(case, report, before, everything_of(case.model))


def test_every_name_is_planted_twice_or_more():
    torch.manual_seed(1)
    planted = [make().name for make in PLANTED.values()]
    assert set(planted) == set(NAMES)
    assert min(map(planted.count, NAMES)) >= 2


@pytest.mark.parametrize("key", PLANTED)
def test_planted_fault_is_found(key):
    case, report, *_ = linted(key)
    assert case.name in [finding.name for finding in report.findings], str(report)
    assert not report.clean


@pytest.mark.parametrize("key", PLANTED)
def test_nothing_untrue_is_found(key):
    case, report, *_ = linted(key)
    assert {finding.name for finding in report.findings} <= {case.name} | case.may_also, str(report)


@pytest.mark.parametrize("key", CLEAN)
def test_clean_model_has_no_findings(key):
    report = linted(key).report
    assert report.findings == (), str(report)
    assert report.clean


@pytest.mark.parametrize("key", EVERY)
def test_model_is_left_as_it_was(key):
    _, _, before, after = linted(key)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("key", ["packed_classifier", "functional_dropout", "centred_convolution"])
def test_model_in_evaluation_is_left_so(key):
    case, report, before, after = linted(key, training=False)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    wanted = [case.name] if key in PLANTED else []
    assert [finding.name for finding in report.findings] == wanted


@pytest.mark.parametrize("key", PLANTED)
def test_findings_say_how_much_and_what_to_do(key):
    for finding in linted(key).report.findings:
        assert finding.name in NAMES
        assert math.isfinite(finding.figure)
        assert any(letter.isdigit() for letter in finding.text), finding.text
        assert finding.mend.strip()
