"""How much context is used, of models that can see so much and no more."""

import numpy as np
import pytest
import torch

from throughtime.data.text import Vocabulary
from throughtime.data.windows import Example
from throughtime.errors import DataError, OptionError
from throughtime.inspect import order, usage
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageOptions, LanguageTask


def language(layer, symbols="abcd", **options):
    torch.manual_seed(0)
    task = LanguageTask(LanguageOptions(), Vocabulary.from_documents([symbols]))
    model = SequenceModel(task.model_config(layer, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return task, model


def example(steps, seed=0, symbols=5):
    ids = np.random.default_rng(seed).integers(symbols, size=steps + 1)
    starts = np.zeros(steps, dtype=bool)
    starts[0] = True
    return Example(ids[:-1], ids[1:], starts)


def test_a_convolution_uses_what_it_sees_and_no_more():
    task, model = language("convolution:16")
    (state,) = model.initial_state(1)
    width = 1 + state.shape[1]
    curve = usage(task, model, [example(600)], contexts=(1, 2, width, width + 3, 20))
    place = curve.contexts.index(width)
    torch.testing.assert_close(curve.losses[place], curve.losses[-1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(curve.losses[0], curve.losses[-1], atol=1e-2)
    mixed = order(task, model, [example(600)], contexts=(1, 2, width, 20))
    place = mixed.contexts.index(width)
    torch.testing.assert_close(mixed.losses[place], mixed.losses[-1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mixed.losses[0], mixed.losses[-1], atol=1e-2)


def test_the_whole_context_in_order_is_what_the_model_says():
    task, model = language("gru:12")
    data = example(40)
    curve = usage(task, model, [data], contexts=(5, 40), positions=10)
    with torch.no_grad():
        outputs, _ = model(torch.from_numpy(data.inputs)[None])
    wanted = torch.nn.functional.cross_entropy(outputs[0, -1], torch.tensor(int(data.targets[-1])))
    assert curve.losses.shape == (2, 1)
    assert float(curve.losses[-1, 0]) == pytest.approx(float(wanted), rel=1e-5)
    assert curve.intervals[-1] == (0.0, 0.0)


def test_windows_don_t_cross_a_fresh_start_or_lack_a_target():
    task, model = language("gru:12")
    data = example(40)
    data.starts[20] = True
    data.targets[30:] = -1
    curve = usage(task, model, [data], contexts=(1, 10))
    # Steps 9 to 19, and 29.
    assert curve.losses.shape == (2, 12)


def test_a_horizon_is_where_it_gets_no_better_any_more():
    class Known(LanguageTask):
        def __init__(self):
            pass

        def loss(self, outputs, inputs, targets):
            return outputs.sum(), torch.tensor(1)

    class Falling(SequenceModel):
        """A loss of 1 + 1 / k for k steps."""

        def __init__(self):
            torch.nn.Module.__init__(self)
            self.weight = torch.nn.Parameter(torch.ones(1))

        def parameter_count(self):
            return 1

        def forward(self, x):
            return torch.full((len(x), x.shape[1], 1), 1 + 1 / x.shape[1]), None

    curve = usage(Known(), Falling(), [example(400)], contexts=(1, 2, 50, 80, 200))
    assert curve.horizon == 80
    assert curve.means.tolist() == pytest.approx([2, 1.5, 1.02, 1.0125, 1.005])
    assert usage(Known(), Falling(), [example(400)], contexts=(1, 2, 3)).horizon is None


def test_impossible_contexts_are_refused():
    task, model = language("gru:4")
    with pytest.raises(OptionError, match=r"expected contexts of 1 step or more, got \(0, 3\)"):
        usage(task, model, [example(40)], contexts=(0, 3))
    with pytest.raises(DataError, match="a target with 50 steps up to it in one sequence, got 40"):
        usage(task, model, [example(40)], contexts=(50,))
