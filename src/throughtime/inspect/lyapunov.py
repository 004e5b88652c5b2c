"""Lyapunov exponents: how fast states that are nearly the same come together or apart."""

import copy

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.inspect.layer import as_layer
from throughtime.inspect.leaves import float_leaves, is_float
from throughtime.recurrent import Recurrent
from throughtime.state import State

SETTLING = 20
"""Steps before exponents are measured: until then directions are those that were begun with."""


def lyapunov_exponents(
    layer: nn.Module,
    x: Tensor,
    *,
    count: int = 1,
    state: State | None = None,
    settling: int = SETTLING,
    seed: int = 0,
) -> Tensor:
    r"""Return the largest Lyapunov exponents of a layer that is driven by an input.

    $$\lambda_i = \frac{1}{T} \sum_t \ln |R_{ii}(t)|, \quad Q(t) R(t) = J(t) \, Q(t - 1), \quad
      J(t) = \partial s_t / \partial s_{t-1}$$

    (Benettin et al. 1980; for recurrent networks Vogt et al. 2020,
    https://arxiv.org/abs/2006.14123.) A gradient changes by exp of the first one in a step back, on
    average: below zero it vanishes, above it explodes. All in float64, in evaluation mode.

    Args:
        layer: any layer or stack whose state has floating-point leaves, or one of torch.nn's.
        x: (B, T, F): what drives it; exponents are means over lanes and steps.
        count: how many, from the largest down.
        state: before step 0; the initial one when None.
        settling: steps that are run and not counted.
        seed: of the directions that are begun with.

    Returns:
        (B, count), in natural logarithms a step.

    Raises:
        OptionError: when there are fewer numbers in the state than exponents, or no lane or step to
            measure.

    Example:
        >>> from throughtime.layers import RNN
        >>> _ = torch.manual_seed(0)
        >>> found = lyapunov_exponents(RNN(1, 16), torch.randn(2, 100, 1), count=2)
        >>> found.shape, bool((found[:, 0] < 0).all())
        (torch.Size([2, 2]), True)
    """
    lanes, steps = x.shape[:2]
    if not lanes or steps <= settling:
        raise OptionError(
            f"expected more than {settling} steps to measure, got {steps} in {lanes} lanes"
        )
    layer = copy.deepcopy(as_layer(layer)).double().eval()
    current = layer.initial_state(lanes) if state is None else states.to(state, dtype=torch.float64)
    size = sum(leaf[0].numel() for leaf in float_leaves(current).values())
    if not 1 <= count <= size:
        raise OptionError(f"expected a count of 1 to the {size} numbers of the state, got {count}")
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(lanes, size, count, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(basis)[0]
    total = torch.zeros(lanes, count, dtype=torch.float64)
    with kernels.use("reference"):
        for t in range(steps):
            current, moved = _step(layer, x[:, t].detach().double(), current, basis)
            basis, triangle = torch.linalg.qr(moved)
            if t >= settling:
                total += triangle.diagonal(dim1=1, dim2=2).abs().log()
    return total / (steps - settling)


@torch.enable_grad()
def _step(layer: Recurrent, x: Tensor, state: State, basis: Tensor) -> tuple[State, Tensor]:
    """Return the next state, and the directions (B, S, count) as the step turns them."""
    leaves = float_leaves(state)
    flat = torch.cat([leaf.flatten(1) for leaf in leaves.values()], 1).detach().requires_grad_()
    pieces = torch.split(flat, [leaf[0].numel() for leaf in leaves.values()], 1)
    shaped = zip(pieces, leaves.values(), strict=True)
    parts = iter([piece.view(leaf.shape) for piece, leaf in shaped])
    begun = states.tree_map(lambda leaf: next(parts) if is_float(leaf) else leaf, state)
    _, after = layer.step(x, begun)
    moved = torch.cat([leaf.flatten(1) for leaf in float_leaves(after).values()], 1)
    # J^T v is linear in v, so its derivative by v along u is J u.
    v = torch.zeros_like(moved, requires_grad=True)
    (back,) = torch.autograd.grad(moved, flat, v, create_graph=True)
    turned = [
        torch.autograd.grad(back, v, column, retain_graph=True, materialize_grads=True)[0]
        for column in basis.unbind(2)
    ]
    return states.detach(after), torch.stack(turned, 2)
