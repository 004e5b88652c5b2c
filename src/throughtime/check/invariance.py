"""What outputs must not depend on: later inputs, padding, the other lanes, what a restart forgets.

Each is tried by changing just that. Ways of running that must agree are in `parity`.
"""

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.check.batch import Batch
from throughtime.check.comparison import Comparison, examine
from throughtime.check.parity import offline
from throughtime.check.report import Item
from throughtime.model import SequenceModel

_GARBAGE = (torch.nan, 1e30, -torch.inf)
_PADDING = 5
_MOMENTS = (0.1, 0.5, 0.9)
_NOISE = 3.0


def check_any_batch(model: SequenceModel, batch: Batch, symbols: int) -> Item:
    """Run the lanes in another order, alone, and among lanes of noise and of garbage."""

    def fill(comparison: Comparison) -> str:
        wanted, end = offline(model, batch)
        count = len(batch.lengths)
        generator = torch.Generator().manual_seed(1)

        order = torch.randperm(count, generator=generator).roll(1)
        outputs, state = offline(model, batch.take(order))
        back = order.argsort()
        how = " in another order of lanes"
        comparison.outputs(outputs[back], wanted, batch.lengths, what=f"outputs{how}")
        comparison.state(states.take(state, back), end, batch.lengths, how=how)

        alone = [offline(model, batch.take(torch.tensor([lane]))) for lane in range(count)]
        how = " of lanes run alone"
        outputs = torch.cat([outputs for outputs, _ in alone])
        comparison.outputs(outputs, wanted, batch.lengths, what=f"outputs{how}")
        comparison.state(states.cat([state for _, state in alone]), end, batch.lengths, how=how)

        others = [_random_like(batch.inputs, symbols, generator)]
        if not batch.symbolic:
            others += [torch.full_like(batch.inputs[:1], value) for value in _GARBAGE]
        strangers = torch.cat(others)
        steps = batch.inputs.shape[1]
        mixed = Batch(
            torch.cat([strangers, batch.inputs]),
            torch.cat([torch.full((len(strangers),), steps), batch.lengths]),
            torch.cat([torch.zeros(len(strangers), steps, dtype=torch.bool), batch.resets]),
            "",
        )
        outputs, state = offline(model, mixed)
        own = torch.arange(len(strangers), len(mixed.lengths))
        how = " among lanes of noise and garbage"
        comparison.outputs(outputs[own], wanted, batch.lengths, what=f"outputs{how}")
        comparison.state(states.take(state, own), end, batch.lengths, how=how)
        return f"lanes permuted, alone, and among {len(strangers)} strangers"

    return examine("inside any batch", fill)


def check_causal(model: SequenceModel, batch: Batch, symbols: int) -> Item:
    """Change everything after a step, and take the gradient: no output may know of it."""

    def fill(comparison: Comparison) -> str:
        wanted, _ = offline(model, batch)
        steps = batch.inputs.shape[1]
        generator = torch.Generator().manual_seed(2)
        moments = sorted({min(int(share * steps), steps - 1) for share in _MOMENTS})
        for t in moments:
            changed = batch.inputs.clone()
            changed[:, t + 1 :] = _random_like(batch.inputs, symbols, generator)[:, t + 1 :]
            outputs, _ = offline(model, _with_inputs(batch, changed))
            comparison.outputs(
                outputs[:, : t + 1],
                wanted[:, : t + 1],
                batch.lengths,
                what=f"outputs up to step {t} with other inputs after it",
            )
        if batch.symbolic:
            return f"other inputs after steps {_shown(moments)}"
        for t in moments:
            _check_gradient(comparison, model, batch, t)
        return f"other inputs after steps {_shown(moments)}; gradients"

    return examine("causal", fill)


def check_padding(model: SequenceModel, batch: Batch, symbols: int) -> Item:
    """Fill what lies beyond the lengths with NaN, huge numbers or other symbols."""

    def fill(comparison: Comparison) -> str:
        wanted, end = offline(model, batch)
        steps = batch.inputs.shape[1]
        generator = torch.Generator().manual_seed(3)
        longer = torch.cat([batch.inputs, batch.inputs[:, :_PADDING]], dim=1)
        beyond = torch.arange(longer.shape[1]) >= batch.lengths[:, None]
        none = torch.zeros(len(beyond), longer.shape[1] - steps, dtype=torch.bool)
        fillings: list[tuple[str, Tensor]]
        if batch.symbolic:
            noise = _random_like(longer, symbols, generator)
            fillings = [("other symbols", torch.where(beyond, noise, longer))]
        else:
            fillings = [
                (f"{value:g}", longer.masked_fill(beyond[:, :, None], value)) for value in _GARBAGE
            ]
        for name, inputs in fillings:
            padded = Batch(inputs, batch.lengths, torch.cat([batch.resets, none], dim=1), "")
            outputs, state = offline(model, padded)
            how = f" with {name} in the padding"
            comparison.outputs(outputs[:, :steps], wanted, batch.lengths, what=f"outputs{how}")
            comparison.state(state, end, batch.lengths, how=how)
        return f"padding of {', '.join(name for name, _ in fillings)}"

    return examine("padding", fill)


def check_restart(model: SequenceModel, batch: Batch) -> Item:
    """Restart halfway: what follows must equal a run that begins there."""

    def fill(comparison: Comparison) -> str:
        half = batch.inputs.shape[1] // 2
        resets = batch.resets.clone()
        resets[:, half] = True
        restarting = Batch(batch.inputs, batch.lengths, resets, "")
        outputs, _ = offline(model, restarting)
        rest = restarting.cut(half, batch.inputs.shape[1])
        wanted, _ = offline(model, rest)
        comparison.outputs(
            outputs[:, half:], wanted, rest.lengths, start=half, what="outputs after a restart"
        )
        return f"at step {half}, against a run from there"

    return examine("restarted", fill)


def _check_gradient(comparison: Comparison, model: SequenceModel, batch: Batch, t: int) -> None:
    """Demand that the outputs up to step t have no gradient at all on later inputs."""
    with torch.enable_grad():
        inputs = batch.inputs.clone().requires_grad_()
        outputs, _ = offline(model, _with_inputs(batch, inputs))
        there = torch.arange(t + 1) < batch.lengths[:, None]
        total = (outputs[:, : t + 1] * there[:, :, None]).sum()
        (gradient,) = torch.autograd.grad(total, inputs)
    later = gradient[:, t + 1 :]
    comparison.outputs(
        later,
        torch.zeros_like(later),
        (batch.lengths - t - 1).clamp(min=0),
        start=t + 1,
        what=f"gradients of the outputs up to step {t} on later inputs",
    )


def _random_like(inputs: Tensor, symbols: int, generator: torch.Generator) -> Tensor:
    """Return noise, or random symbols."""
    if inputs.is_floating_point():
        return torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype) * _NOISE
    return torch.randint(symbols, inputs.shape, generator=generator)


def _with_inputs(batch: Batch, inputs: Tensor) -> Batch:
    return Batch(inputs, batch.lengths, batch.resets, batch.origin)


def _shown(moments: list[int]) -> str:
    return ", ".join(map(str, moments))
