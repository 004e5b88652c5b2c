"""How far back the whole model's last output sees: its derivative by the input of each step."""

from typing import Any

import torch
from torch import Tensor, nn

from throughtime.inspect.lint.hooks import hooked
from throughtime.inspect.lint.probing import Probe


def input_gradients(probe: Probe) -> Tensor | None:
    """Return norms of the gradient of the last output by the input of each step, (T,) float64.

    Of symbols it is the gradient by what the first embedding gives. None where there is none.

    Raises:
        Refused: when the model can't be run with gradients.
    """
    if probe.steps is None:
        return None
    entered: list[Tensor] = []

    def enter(name: str, module: nn.Module, given: Any, named: Any, result: Any) -> Any:
        if entered or not isinstance(module, nn.Embedding) or result.dim() != 3:
            return None
        entered.append(result.detach().requires_grad_())
        return entered[0]

    if probe.is_symbols:
        with hooked(probe.model, enter):
            y = probe.raw(probe.x, gradients=True)
    else:
        # The run clones its input, and a clone passes the gradient on.
        entered.append(probe.x.detach().clone().requires_grad_())
        y = probe.raw(entered[0], gradients=True)
    if not entered or not y.requires_grad:
        return None
    y = probe.ordered(y)
    generator = torch.Generator().manual_seed(0)
    last = y[:, -1] if probe.per_step else y
    weights = torch.randn(last.shape, generator=generator).to(last)
    found = torch.autograd.grad(
        (last * weights).sum(), entered[0], allow_unused=True, materialize_grads=True
    )[0]
    if found.shape[0] == probe.steps != probe.samples:
        found = found.transpose(0, 1)
    if found.shape[1] != probe.steps:
        return None
    norms: Tensor = torch.linalg.vector_norm(found.double().transpose(0, 1).flatten(1), dim=1)
    return norms
