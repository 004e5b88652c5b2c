"""Memory that is used again belongs to one tensor at a time, and nobody reads what was in it."""

import gc
import mmap
import threading

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import throughtime as tt
from throughtime.kernels import memory

pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_FREE"), reason="no MADV_FREE here")
LIKE = torch.empty(0)
ROWS = memory.WORTH_PARKING * 3 // 2 // 4 // 256


@pytest.fixture(autouse=True)
def nothing_parked(monkeypatch):
    monkeypatch.setattr(memory, "_parked", [])


def test_a_freed_tensor_is_used_again_by_one_of_about_its_size():
    first = memory.new(ROWS, 256, LIKE)
    at = first.data_ptr()
    assert (first.shape, first.dtype, at % 64) == ((ROWS, 256), torch.float32, 0)
    del first
    half = memory.new(ROWS, 256, LIKE, torch.bfloat16)
    assert half.data_ptr() != at, "half of it is too little to be worth parking"
    again = memory.new(ROWS - 7, 257, LIKE)
    assert again.data_ptr() == at
    assert memory.new(ROWS, 256, LIKE).data_ptr() != at
    del again
    assert memory.new(3 * ROWS, 256, LIKE).data_ptr() != at, "too small"


def test_memory_is_not_parked_while_a_view_is_alive():
    first = memory.new(ROWS, 256, LIKE)
    view = first[3:].view(torch.int32)
    view.fill_(7)
    del first
    gc.collect()
    other = memory.new(ROWS, 256, LIKE).fill_(0.0)
    assert (view == 7).all()
    del view
    assert len(memory._parked) == 1
    assert other.data_ptr() != memory.new(ROWS, 256, LIKE).data_ptr()


def test_not_more_is_parked_than_a_few():
    many = [memory.new(ROWS, 256, LIKE) for _ in range(memory.MOST_PARKED + 3)]
    while many:
        del many[0]
    assert len(memory._parked) == memory.MOST_PARKED


def test_small_tensors_and_traces_are_left_to_torch():
    assert memory.new(3, 4, LIKE).shape == (3, 4)
    with FakeTensorMode() as mode:
        traced = memory.new(ROWS, 256, mode.from_tensor(LIKE))
    assert type(traced) is not torch.Tensor
    assert not memory._parked


def test_threads_never_share_memory():
    wrong = []

    def work(number):
        for _ in range(50):
            mine = memory.new(ROWS, 256, LIKE)
            mine.fill_(number)
            wrong.append(bool((mine != number).any()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(wrong)


def test_training_does_not_read_what_the_step_before_left():
    layer, x = tt.LSTM(8, 64), torch.randn(16, 200, 8)

    def gradients():
        layer.zero_grad()
        y, _ = layer(x)
        y.square().sum().backward()
        return [each.grad.clone() for each in layer.parameters()]

    first = gradients()
    for parked in memory._parked:
        parked[:] = b"\xff" * len(parked)  # NaN
    assert memory._parked or not layer.backend.startswith("native")
    for before, after in zip(first, gradients(), strict=True):
        assert torch.equal(before, after)


def test_an_output_changed_in_place_is_an_error_and_no_wrong_gradient():
    layer = tt.GRU(3, 4)
    if not layer.backend.startswith("native"):
        pytest.skip("the native kernels keep the output for backward")
    y, _ = layer(torch.randn(2, 5, 3))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
