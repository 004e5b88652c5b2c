"""The real-gated linear recurrent unit."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import kernels
from throughtime.errors import OptionError
from throughtime.layers import gates
from throughtime.recurrent import LinearRecurrent

_SHARPNESS = 8.0
"""c of the paper: how much stronger than sigma(Lambda) a state is forgotten where r is 1."""


class RGLRU(LinearRecurrent):
    r"""A linear recurrence that forgets as its input says, from a learned rate for each unit.

    $$u = W x + b, \quad r = \sigma(W_r u + b_r), \quad i = \sigma(W_i u + b_i), \quad
      a = \sigma(\Lambda)^{c r}$$
    $$h_t = a \odot h_{t-1} + \sqrt{1 - a^2} \odot (i \odot u), \quad y_t = h_t$$

    (De et al. 2024, Griffin, https://arxiv.org/abs/2402.19427, c = 8.) O(F H + H^2 / groups) a
    step; the state is H floats. Where r is 0 a unit holds what it has, exactly.

    In the battery it solves adding and long recall and fails at recall (0.49), parity (0.50) and s3
    (0.17); with negative eigenvalues it solves copy and parity too; it comes to 2.00 nats a
    character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        groups: blocks that the gates' matrices are divided into; each reads its own units.
        least_keep: units start by keeping a share between this and `most_keep` of h, for r = 1.
        most_keep: see `least_keep`.
        negative_eigenvalues: let h be kept with factors $2 a - 1$ in [-1, 1] rather than [0, 1].
            What enters is as it was, so that a unit that turns around what it has can still take
            something in. Half of the units start at an a near zero, and so turn from holding, where
            r is 0, to turning around, where it is 1.

    Raises:
        OptionError: when groups do not divide H, or the bounds are not 0 < least < most < 1.

    Example:
        >>> y, state = RGLRU(3, 4, groups=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 7, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        groups: int = 1,
        least_keep: float = 0.9,
        most_keep: float = 0.999,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        if groups < 1 or hidden_size % groups:
            raise OptionError(
                f"expected groups that divide hidden_size = {hidden_size}, got {groups}"
            )
        if not 0 < least_keep < most_keep < 1:
            raise OptionError(
                f"expected 0 < least_keep < most_keep < 1, got {least_keep} and {most_keep}"
            )
        self.hidden_size = hidden_size
        self.groups = groups
        self.negative_eigenvalues = negative_eigenvalues
        self.enter = nn.Linear(input_size, hidden_size)
        size = hidden_size // groups
        self.gate_weights = nn.Parameter(torch.randn(2, groups, size, size) / size**0.5)
        self.gate_biases = nn.Parameter(torch.zeros(2, hidden_size))
        # What a unit keeps at the start, spread so that its square is uniform; a, and Lambda from
        # a^(1/c).
        keep = torch.empty(hidden_size).uniform_(least_keep**2, most_keep**2).sqrt()
        if negative_eigenvalues:
            keep = (1 + keep) / 2
            keep[::2] = 10 ** torch.empty_like(keep[::2]).uniform_(*_FLIPPING)
        self.rate = nn.Parameter(torch.logit(keep ** (1 / _SHARPNESS)))

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, (..., H) each, from x (..., F)."""
        u = self.enter(x)
        forget, enter = (gates.sigmoid(self._gate(u, place)) for place in range(2))
        log_a = _SHARPNESS * forget * functional.logsigmoid(gates.precise(self.rate))
        # 1 - a^2 without the difference of two numbers near one.
        share = torch.sqrt(-torch.expm1(2 * log_a) + _TINY)
        a = gates.signed(torch.exp(log_a), negative=self.negative_eigenvalues)
        return a, share * (enter * u)

    def compiled(self, x: Tensor) -> kernels.Gated:
        """Return what the kernel is given for x (B, T, F)."""
        size = self.hidden_size // self.groups
        if self.input_size < size and self.input_size <= kernels.FEW_FEATURES:
            # Two maps in a row are one, and that is cheaper where there is little between them.
            weight = self.enter.weight.view(self.groups, size, -1)
            bias = self.enter.bias.view(self.groups, size, 1)
            both = torch.cat([weight, bias], dim=2)
            gated = torch.einsum("pgij,gif->pgjf", self.gate_weights, both).flatten(1, 2)
            maps = [
                kernels.Affine(each[:, :-1], each[:, -1] + bias)
                for each, bias in zip(gated, self.gate_biases, strict=True)
            ]
            given = kernels.rows(x, *maps, self.enter)
        else:
            u = self.enter(x)
            given = torch.cat([self._gate(u, 0), self._gate(u, 1), u], dim=-1), None
        return kernels.Gated(
            "rg_lru",
            *given,
            constants=_SHARPNESS * functional.logsigmoid(self.rate)[None],
            scale=gates.scale(negative=self.negative_eigenvalues),
            epsilon=_TINY,
        )

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        """Return h (..., H)."""
        return h

    def _gate(self, u: Tensor, place: int) -> Tensor:
        size = self.hidden_size // self.groups
        grouped = u.reshape(*u.shape[:-1], self.groups, size)
        products: Tensor = torch.einsum("...gi,gij->...gj", grouped, self.gate_weights[place])
        return products.flatten(-2) + self.gate_biases[place]


_FLIPPING = (-6.0, -3.0)
"""Powers of ten between which the a of units that turn around start: hundreds of turns keep most of
what they have."""

_TINY = 1e-12
"""Keeps the square root's derivative finite where a state is held exactly."""
