"""Threads for the work at hand, and the caller's own number afterwards."""

import pytest
import torch

from throughtime.kernels import threads_for
from throughtime.kernels.threads import WORTH_SHARING


@pytest.fixture(params=[1, 2, 3])
def callers(request):
    """The caller's number of threads; the tests' own is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("work", [0, 1, WORTH_SHARING - 1])
def test_little_work_has_one_thread(callers, work):
    with threads_for(work):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == callers


@pytest.mark.parametrize("work", [WORTH_SHARING, 100 * WORTH_SHARING])
def test_much_work_has_the_callers_threads(callers, work):
    with threads_for(work):
        assert torch.get_num_threads() == callers
    assert torch.get_num_threads() == callers


@pytest.mark.parametrize("work", [0, WORTH_SHARING])
def test_the_callers_number_is_put_back_after_an_exception(callers, work):
    def fail():
        with threads_for(work):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == callers


def test_blocks_nest(callers):
    with threads_for(0):
        with threads_for(WORTH_SHARING):
            assert torch.get_num_threads() == 1
        with threads_for(0):
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == callers
