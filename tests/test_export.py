import subprocess
import sys

import pytest

PROGRAM = """
import io
import sys
import warnings

import torch

import throughtime as tt
from throughtime import state as states

warnings.simplefilter("error")


class Step(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, state):
        return self.layer.step(x, state)


def drawn(state):
    return states.tree_map(
        lambda leaf: torch.randn_like(leaf) if leaf.is_floating_point() else leaf, state
    )


for layer in (
    tt.RNN(3, 4, nonlinearity="relu"),
    tt.LSTM(3, 4, learned_initial_state=True),
    tt.GRU(3, 4, bias=False),
    tt.Stack([tt.GRU(3, 3), tt.LSTM(3, 5)], dropout=0.5, residual=True, norm=True),
):
    layer.eval()
    lanes = torch.export.Dim("lanes", min=1, max=4096)
    state = drawn(layer.initial_state(2))
    shapes = ({0: lanes}, states.tree_map(lambda _: {0: lanes}, state))
    program = torch.export.export(
        Step(layer), (torch.randn(2, 3), state), dynamic_shapes=shapes, strict=sys.argv[1] == "True"
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    step = torch.export.load(file).module()
    for count in (1, 2, 7):
        own = exported = drawn(layer.initial_state(count))
        for _ in range(3):
            x = torch.randn(count, 3)
            y, own = layer.step(x, own)
            exported_y, exported = step(x, exported)
            torch.testing.assert_close(exported_y, y)
            assert type(exported) is type(own)
            for a, b in zip(states.leaves(exported), states.leaves(own), strict=True):
                torch.testing.assert_close(a, b)
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert {c.namespace for c in calls if isinstance(c, torch._ops.OpOverload)} == {"aten"}, calls
"""


@pytest.mark.parametrize("strict", [False, True])
def test_step_exports_with_any_number_of_lanes_and_comes_back_from_disk(strict):
    """In a process of its own, because tracing can't see through checks of types at run time."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(strict)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
