"""check_recurrent against layers whose mistakes are known, and against layers that have none."""

from collections.abc import Callable

import pytest
import torch
from faults import FAULTS, Fault
from honest import HEALTHY

from throughtime.errors import LawBrokenError
from throughtime.recurrent import Recurrent
from throughtime.testing import check_recurrent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_named_by_its_law(fault: Fault) -> None:
    torch.manual_seed(0)
    layer = fault.make()
    with pytest.raises(LawBrokenError) as caught:
        check_recurrent(layer)
    assert caught.value.law in fault.laws, f"{fault.why}; but: {caught.value}"
    assert f"law {caught.value.law}" in str(caught.value)


@pytest.mark.parametrize("make", HEALTHY.values(), ids=HEALTHY.keys())
@pytest.mark.parametrize(
    "training", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["train", "eval"]
)
def test_an_unusual_layer_that_keeps_the_laws_passes(
    make: Callable[[], Recurrent], training: bool
) -> None:
    torch.manual_seed(0)
    layer = make().train(training)
    check_recurrent(layer, batch_size=2, steps=5)


def test_faults_have_names_of_their_own_and_cover_every_law() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {law for fault in FAULTS for law in fault.laws} == set(range(1, 9))
