"""Gradients of a window where its last steps have no target, as at the end of a series."""

import torch

from throughtime.data.text import Vocabulary
from throughtime.inspect.loss import gradients_of_window
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageOptions, LanguageTask


def test_lanes_count_from_their_last_target():
    torch.manual_seed(0)
    task = LanguageTask(LanguageOptions(), Vocabulary.from_documents(["abcd"]))
    model = SequenceModel(task.model_config("gru:6"))
    inputs, targets = torch.randint(0, 4, (2, 3, 12)).unbind()
    resets = torch.zeros(3, 12, dtype=torch.bool)
    lengths = torch.tensor([12, 12, 9])
    targets[0, 7:] = -1
    targets[1] = -1
    targets[2, 5] = -1
    found = gradients_of_window(task, model, (inputs, targets, lengths, resets), None)
    assert found.norms.shape == (12, 2)
    for column, (lane, steps) in enumerate(((0, 7), (2, 9))):
        cut = (inputs[lane, None, :steps], targets[lane, None, :steps])
        window = (*cut, torch.tensor([steps]), resets[lane, None, :steps])
        alone = gradients_of_window(task, model, window, None)
        torch.testing.assert_close(found.norms[:steps, column], alone.norms[:, 0])
        assert (found.norms[:steps, column] > 0).all()
        assert found.norms[steps:, column].isnan().all()


def test_where_no_step_has_a_target_there_is_nothing():
    task = LanguageTask(LanguageOptions(), Vocabulary.from_documents(["abcd"]))
    model = SequenceModel(task.model_config("gru:6"))
    inputs, resets = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 5, dtype=torch.bool)
    window = (inputs, inputs - 1, torch.tensor([5, 5]), resets)
    assert gradients_of_window(task, model, window, None) is None
