"""Compiles models of cells; `test_native_autograd` runs it: native_compiled.py BACKEND CELL...

It is a program of its own because no tracer goes through the type checks that the tests put around
every function. It prints a line for each cell: how often it was compiled, and for how many steps.
"""

import sys

import torch
from native_runs import cell_layer
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

STEPS = (6, 9, 23)
LANES = 4


class Model(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.layer, self.head = cell_layer(cell, 3, 18), nn.Linear(18, 2)

    def forward(self, x, lengths, resets):
        y, end = self.layer(x, lengths=lengths, resets=resets)
        return self.head(y), end


def results(model, parameters, steps):
    """Outputs, ends and the gradients of the parameters."""
    torch.manual_seed(steps)
    x, resets = torch.randn(LANES, steps, 3), torch.rand(LANES, steps) < 0.3
    for each in (x, resets):
        torch._dynamo.mark_dynamic(each, 1)
    y, end = model(x, torch.tensor([steps, 0, 3, steps - 1]), resets)
    loss = y.square().sum() + sum(leaf.square().sum() for leaf in end)
    return [y, *end, *torch.autograd.grad(loss, parameters)]


def main(backend, *cells):
    for cell in cells:
        torch._dynamo.reset()
        model, counter = Model(cell), CompileCounterWithBackend(backend)
        assert model.layer.backend.startswith("native")
        traced = torch.compile(model, fullgraph=True, backend=counter)
        parameters = list(model.parameters())
        for steps in STEPS:
            for got, wanted in zip(
                results(traced, parameters, steps), results(model, parameters, steps), strict=True
            ):
                torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        called = [str(node.target) for node in counter.graphs[0].graph.nodes]
        native = sum("throughtime.sequence" in target for target in called)
        print(f"{cell}: {counter.frame_count} graphs, {native} native, {len(STEPS)} lengths")


if __name__ == "__main__":
    main(*sys.argv[1:])
