"""Traces accelerated modules with torch's own tools; `test_accelerate_modules` runs this file.

It is a program of its own because no tracer goes through the type checks that the tests put around
every function. It prints a line for each tool that saw what it saw before.
"""

import copy
import sys
import warnings

import torch
from torch import nn

from throughtime import kernels
from throughtime.layers import accelerate


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.below = nn.Linear(3, 3)
        self.rnn = nn.LSTM(3, 4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(self.below(x))[0])


def compiled(plain, fast, x):
    """Compile around the modules (torch's compiler steps over them), and through them if asked."""
    same(torch.compile(fast, backend="eager")(x), plain(x))
    with torch._dynamo.config.patch(allow_rnn=True):
        same(torch.compile(fast, backend="eager", fullgraph=True)(x), plain(x))


def exported(plain, fast, x):
    graphs = [torch.export.export(model, (x,)).graph for model in (plain, fast)]
    assert str(graphs[0]) == str(graphs[1])


def traced(plain, fast, x):
    graphs = [torch.jit.trace(model, (x,)).inlined_graph for model in (plain, fast)]
    kinds = [sorted(node.kind() for node in graph.nodes()) for graph in graphs]
    assert kinds[0] == kinds[1]
    assert "aten::lstm" in kinds[0]


def transformed(plain, fast, x):
    def slopes(model):
        def loss(weights, x):
            assert model is plain or "transform" in fast.rnn.backend
            return torch.func.functional_call(model, weights, (x,)).square().sum()

        weights = {name: value.detach() for name, value in model.named_parameters()}
        return torch.func.grad(loss)(weights, x)

    wanted, got = slopes(plain), slopes(fast)
    for name, value in wanted.items():
        same(got[name], value)
    with torch.autograd.forward_ad.dual_level():
        assert "transform" in fast.rnn.backend


def same(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def main():
    warnings.simplefilter("error")
    # All three are what torch says of its own modules and tracer, without us.
    warnings.filterwarnings("ignore", "The tensor attributes self.rnn._flat_weights")
    warnings.filterwarnings("ignore", ".*torch.jit.*deprecated")
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = Model()
    fast = accelerate(copy.deepcopy(plain))
    with kernels.use("reference"):
        for tool in (compiled, exported, traced, transformed):
            tool(plain, fast, torch.randn(2, 5, 3))
            print(tool.__name__)


if __name__ == "__main__":
    sys.exit(main())
