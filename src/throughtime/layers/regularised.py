"""Noise within a recurrence: dropout of the state, zoneout and dropped weights.

What is random lives in the state, as everywhere, so that windows can be cut and lanes moved.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers import noise as noises
from throughtime.layers.classic import Classic
from throughtime.layers.noise import Noise
from throughtime.recurrent import Recurrent
from throughtime.state import State

_DROP, _ZONE_H, _ZONE_C, _WEIGHTS = range(4)


@states.register
class RegularisedState(NamedTuple):
    """State of a `Regularised` layer.

    Attributes:
        layer: the state of the layer itself.
        noise: of its units; each lane has a seed of its own.
        weights: of its weights; lanes that begin together have one seed.
    """

    layer: State
    noise: Noise
    weights: Noise


class Regularised(Recurrent):
    r"""A classic layer that learns under noise in its recurrence, and so depends on no single unit.

    With masks $m$ of zeros and ones, drawn anew as often as each bullet says:

    - `recurrent_dropout` p: the gates see $h_{t-1} \odot m / (1 - p)$, one mask for a sequence
      (Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287);
    - `zoneout` z: each unit of h and of c stays as it was at a step with probability z; in
      evaluation the states move by what is expected (Krueger et al. 2016,
      https://arxiv.org/abs/1606.01305);
    - `weight_drop` w: the gates see h through $W_h \odot m / (1 - w)$, one mask for a sequence
      (Merity, Keskar and Socher 2017, https://arxiv.org/abs/1708.02182).

    Masks are functions of seeds in the state. Those that last for a sequence change at its resets
    and, where a stream has none, every `span` steps. Zoneout and recurrent dropout cost nothing
    beside the layer; dropped weights cost a copy of them for each mask that differs, of which lanes
    that began together and were reset as often share one.

    Args:
        layer: an RNN, LSTM, GRU or a variant of one, from this package.
        recurrent_dropout: p in [0, 1).
        zoneout: z in [0, 1).
        weight_drop: w in [0, 1).
        span: steps that a mask of a sequence lasts at most; None for until a reset.

    Raises:
        OptionError: for another layer, no noise at all or a share out of range.

    Example:
        >>> from throughtime.layers import LSTM
        >>> layer = Regularised(LSTM(3, 5), recurrent_dropout=0.2, zoneout=0.1)
        >>> y, state = layer(torch.ones(2, 7, 3))
        >>> y.shape, state.layer.c.shape, state.noise.seed.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 5]), torch.Size([2]))
    """

    state_class = RegularisedState

    def __init__(
        self,
        layer: Recurrent,
        *,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        weight_drop: float = 0.0,
        span: int | None = None,
    ) -> None:
        if not isinstance(layer, Classic) or getattr(layer, "variant", None) is None:
            raise OptionError(
                f"expected an RNN, LSTM, GRU or a variant of one in Regularised, got "
                f"{type(layer).__name__}: noise goes between its gates; "
                "take dropout between layers instead"
            )
        shares = {
            "recurrent_dropout": recurrent_dropout,
            "zoneout": zoneout,
            "weight_drop": weight_drop,
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise OptionError(f"expected {name} of at least 0 and below 1, got {share}")
        if not any(shares.values()):
            raise OptionError(f"expected one of {', '.join(shares)} above 0, got none")
        if span is not None and span < 1:
            raise OptionError(f"expected a span of 1 step or more, got {span}")
        super().__init__(layer.input_size, layer.output_size)
        self.layer = layer
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.weight_drop = weight_drop
        self.span = span

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> RegularisedState:
        """Return the layer's state before its first step, and seeds; drawn in training."""
        place, fresh = device or self.layer.weight_hh.device, self.training
        return RegularisedState(
            self.layer.initial_state(batch_size, device=device, dtype=dtype),
            noises.initial_noise(batch_size, place, fresh=fresh),
            noises.initial_noise(batch_size, place, fresh=fresh, common=True),
        )

    def restart(self, state: RegularisedState) -> RegularisedState:
        """Restart the layer, and go on to the next seeds."""
        return RegularisedState(
            self.layer.restart(state.layer),
            noises.restart(state.noise),
            noises.restart(state.weights),
        )

    def update(self, x: Tensor, state: RegularisedState) -> tuple[Tensor, RegularisedState]:
        """One step: x (B, F) to y (B, D)."""
        layer, before, noise = self.layer, state.layer, state.noise
        h = before.h
        if self.training and self.recurrent_dropout:
            lasting = noises.lasting(noise, self.span)
            h = noises.dropout(h, lasting, self.recurrent_dropout, _DROP)
        hidden = self._through_dropped(h, state.weights) if self._drops_weights else None
        hidden = layer.from_hidden(h) if hidden is None else layer.from_sums(hidden)
        _, after = layer.advance(layer.from_input(x), hidden, before)
        if self.zoneout:
            salts = (_ZONE_H, _ZONE_C)
            leaves = zip(before, after, salts, strict=False)
            after = type(after)(*(self._zoned(*each, noise) for each in leaves))
        rest = noises.advance(noise), noises.advance(state.weights)
        return after.h, RegularisedState(after, *rest)

    def run(
        self,
        x: Tensor,
        state: RegularisedState,
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, State]:
        """Run checked arguments, in the kernels of varied cells where they serve the layer."""
        layer = self.layer
        if not kernels.serves(layer, x, state.layer) or (
            self._drops_weights and torch.compiler.is_compiling()
        ):
            return super().run(x, state, lengths, resets)
        steps = x.shape[1]
        each, end = noises.unroll(state.noise, steps, lengths, resets)
        of_weights, end_of_weights = noises.unroll(state.weights, steps, lengths, resets)
        call = _Call(
            layer.variant(x),
            state.layer,
            None if resets is None else layer.restart(state.layer),
            lengths,
            resets,
            self._noise_of(each),
        )
        if self._drops_weights:
            y, after = self._run_in_groups(call, of_weights)
        else:
            y, after = kernels.run_variant(*call)
        return y, RegularisedState(after, end, end_of_weights)

    @property
    def backend(self) -> str:
        """What the layer would run on, and why."""
        return kernels.explain_variant(self.layer)

    @property
    def _drops_weights(self) -> bool:
        return self.training and self.weight_drop > 0

    def extra_repr(self) -> str:
        """Return the shares, as `print(layer)` shows them."""
        return (
            f"recurrent_dropout={self.recurrent_dropout}, zoneout={self.zoneout}, "
            f"weight_drop={self.weight_drop}, span={self.span}"
        )

    def _zoned(self, before: Tensor, after: Tensor, salt: int, noise: Noise) -> Tensor:
        if self.training:
            stays = noises.chosen(noise, after.shape[-1], self.zoneout, salt)
            return torch.where(stays, before, after)
        return self.zoneout * before + (1 - self.zoneout) * after

    def _through_dropped(self, h: Tensor, noise: Noise) -> Tensor:
        """Return the sums of gates through each lane's own weights, (B, G*H)."""
        weights = self._dropped(noises.lasting(noise, self.span))
        sums: Tensor = (weights @ h.to(weights.dtype)[:, :, None])[:, :, 0]
        return sums

    def _dropped(self, noise: Noise) -> Tensor:
        """Return the recurrent weights with some of them dropped: (..., G*H, P) of noise (...,)."""
        weight: Tensor = self.layer.weight_hh
        flat = weight.flatten().expand(*noise.seed.shape, -1)
        dropped = noises.dropout(flat, noise, self.weight_drop, _WEIGHTS)
        return dropped.reshape(*noise.seed.shape, *weight.shape)

    def _noise_of(self, each: Noise) -> kernels.Noise:
        """Return the noise of each step as the kernels take it."""
        if not self.training:
            return kernels.Noise(zoneout=self.zoneout)
        drop = zone_h = zone_c = None
        if self.recurrent_dropout:
            drop = noises.mixed(noises.lasting(each, self.span), _DROP)
        if self.zoneout:
            zone_h, zone_c = noises.mixed(each, _ZONE_H), noises.mixed(each, _ZONE_C)
        return kernels.Noise(
            *(drop, zone_h, zone_c),
            drop_below=noises.quantile(self.recurrent_dropout),
            drop_scale=1 / (1 - self.recurrent_dropout),
            zone_below=noises.quantile(self.zoneout),
            zoneout=self.zoneout,
        )

    def _run_in_groups(self, call: "_Call", noise: Noise) -> tuple[Tensor, State]:
        """Run stretches of steps and groups of lanes that see the same weights."""
        noise = noises.lasting(noise, self.span)
        state, outputs = call.state, []
        for begin, end in _stretches(noise, call.lengths):
            groups = _groups(Noise(noise.seed[:, begin], noise.step[:, begin]))
            parts = []
            for lanes in groups:
                some = call.part(lanes, begin, end, state)
                first = lanes[0]
                mask = Noise(noise.seed[first, begin], noise.step[first, begin])
                variant = some.variant._replace(weight=self._dropped(mask))
                parts.append(kernels.run_variant(*some._replace(variant=variant)))
            back = torch.cat(groups).argsort()
            outputs.append(torch.cat([y for y, _ in parts])[back])
            state = states.take(states.cat([after for _, after in parts]), back)
        if not outputs:
            return kernels.run_variant(*call)
        return torch.cat(outputs, dim=1), state


class _Call(NamedTuple):
    """The arguments of `kernels.run_variant`."""

    variant: kernels.Variant
    state: State
    restart: State | None
    lengths: Tensor | None
    resets: Tensor | None
    noise: kernels.Noise

    def part(self, lanes: Tensor, begin: int, end: int, state: State) -> "_Call":
        """Return the call of some lanes and steps, from a state of all lanes."""
        steps = slice(begin, end)

        def cut(each: Tensor | None) -> Tensor | None:
            return None if each is None else each[lanes, steps]

        return _Call(
            self.variant._replace(enter=self.variant.enter[lanes, steps]),
            states.take(state, lanes),
            None if self.restart is None else states.take(self.restart, lanes),
            None if self.lengths is None else (self.lengths[lanes] - begin).clamp(0, end - begin),
            cut(self.resets),
            self.noise._replace(
                drop=cut(self.noise.drop),
                zone_h=cut(self.noise.zone_h),
                zone_c=cut(self.noise.zone_c),
            ),
        )


def _stretches(noise: Noise, lengths: Tensor | None) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of steps through which no lane's noise (B, T) changes."""
    if not noise.seed.numel():
        return
    steps = noise.seed.shape[1]
    changed = (noise.seed.diff(dim=1) != 0) | (noise.step.diff(dim=1) != 0)
    if lengths is not None:
        changed &= torch.arange(1, steps, device=changed.device) < lengths[:, None]
    cuts = (1 + torch.nonzero(changed.any(dim=0))[:, 0]).tolist()
    yield from pairwise([0, *cuts, steps])


def _groups(noise: Noise) -> list[Tensor]:
    """Return lanes of equal noise (B,), a tensor of their numbers for each."""
    keys = torch.stack(noise, dim=1)
    _, group = torch.unique(keys, dim=0, return_inverse=True)
    return [torch.nonzero(group == each)[:, 0] for each in range(int(group.max()) + 1)]
