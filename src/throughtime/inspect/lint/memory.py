"""How long recurrent layers remember: biases that shut a gate, and Lyapunov exponents.

Both are judged by what is left of a gradient after the steps that the task needs. Where somebody
said how many these are, a thousandth is too little. Where nobody did, the batch's own length is
taken, fifty at most, of which few tasks need all: then only what a float32 can't hold is reported.
No usual way to start a layer is as bad as that.
"""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.errors import ThroughtimeError
from throughtime.inspect.health import half_life
from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.observing import Seen
from throughtime.inspect.lyapunov import lyapunov_exponents
from throughtime.inspect.replay import replay
from throughtime.inspect.watch import watched
from throughtime.layers import GRU, LSTM, RNN, from_torch
from throughtime.recurrent import Recurrent

LEFT_OF_STATED = 1e-3
"""Share of a gradient that must be left after the steps that are said to be needed."""
LEFT_OF_ASSUMED = torch.finfo(torch.float32).tiny
"""The same where nobody said: what float32 holds."""
EXPLODES = 100.0
"""How much a gradient may grow over the window."""
ASSUMED_AT_MOST = 50
"""Steps that a task is taken to need where nobody said how many."""
FASTEST = 0.05
"""Growth by exp of this a step is judged by its sum over the window alone."""
_LANES = 4
_STEPS = 60
_SETTLING = 20


class Need(NamedTuple):
    """Steps back that a task needs.

    Attributes:
        steps: how many.
        stated: whether somebody said so; if not they follow from the length of the batch.
    """

    steps: int
    stated: bool

    @property
    def slowest(self) -> float:
        """The fastest decay by step that is slow enough, a natural logarithm below zero."""
        left = LEFT_OF_STATED if self.stated else LEFT_OF_ASSUMED
        return math.log(left) / self.steps

    def __str__(self) -> str:
        return (
            f"the {self.steps} steps needed"
            if self.stated
            else f"{self.steps} of the batch's steps"
        )


class Gate(NamedTuple):
    """The gate of an LSTM or GRU that keeps its state.

    Attributes:
        place: of the layer in the module that is measured; empty where it is the module.
        kind: what it is called.
        bias: the slowest decay by step, a natural logarithm, that the biases alone give a unit.
        driven: the same with the batch's own input; NaN where it can't be told.
    """

    place: str
    kind: str
    bias: float
    driven: float

    @property
    def decay(self) -> float:
        """The slower of the two."""
        return max(self.bias, -math.inf if math.isnan(self.driven) else self.driven)


class Measured(NamedTuple):
    """What was measured of one recurrent module.

    Attributes:
        name: of the module.
        layer: ours, with its weights.
        suffix: of the names of weights, such as `_l0`; None where the layer is one of ours.
        exponent: the largest Lyapunov exponent, NaN where it can't be told.
        gates: of the LSTMs and GRUs that it is, or consists of.
    """

    name: str
    layer: Recurrent
    suffix: str | None
    exponent: float
    gates: tuple[Gate, ...]


def measure(calls: list[Seen]) -> tuple[list[Measured], list[str]]:
    """Measure the recurrent modules that were called, and say which could not be."""
    found: list[Measured] = []
    missed: list[str] = []
    for seen in _outermost(calls):
        try:
            layer = _as_layer(seen.module)
        except ThroughtimeError as error:
            missed.append(f"{seen.name or type(seen.module).__name__}: {error}")
            continue
        if layer is None:
            continue
        x = _driving(seen)
        if x is None or x.shape[-1] != layer.input_size:
            missed.append(f"{seen.name or type(seen.module).__name__}: its input has no steps")
            continue
        exponent, reason = _exponent(layer, x)
        if reason:
            missed.append(f"{seen.name or type(seen.module).__name__}: {reason}")
        gates = tuple(_gates(layer, seen))
        found.append(Measured(seen.name, layer, _suffix(seen.module), exponent, gates))
    return found, missed


def find_forgetting(found: list[Measured], need: Need) -> list[Finding]:
    """Find gates whose biases shut them long before the steps that are needed.

    Where somebody said how many these are, each layer is judged by itself. If not, one that
    remembers is enough.
    """
    pairs = [(each, gate) for each in found for gate in each.gates]
    shut = [(each, gate) for each, gate in pairs if gate.decay <= need.slowest]
    if need.stated:
        # What a single layer remembers otherwise than by its gate counts as well.
        shut = [pair for pair in shut if len(pair[0].gates) > 1 or not _lasts(pair[0], need)]
    elif len(shut) < len(pairs) or any(_lasts(each, need) for each in found):
        return []
    return [_shut(each, gate, need) for each, gate in shut]


def _lasts(each: Measured, need: Need) -> bool:
    return need.slowest < each.exponent <= FASTEST


def _shut(each: Measured, gate: Gate, need: Need) -> Finding:
    with_input = ""
    if not math.isnan(gate.driven):
        with_input = f" ({half_life(gate.driven):.2g} with the input of the batch)"
    return Finding(
        names.FORGET_BIAS_NEAR_ZERO,
        half_life(gate.bias),
        f"the {gate.kind} biases keep half of a state for {half_life(gate.bias):.2g} steps at "
        f"most{with_input}, for {need}",
        _mend_of_bias(each, gate, need),
        ".".join(filter(None, (each.name, gate.place if each.suffix is None else ""))),
    )


def find_exponents(found: list[Measured], need: Need, window: int) -> list[Finding]:
    """Find layers whose gradients explode, or vanish long before the steps that are needed.

    Args:
        found: what was measured.
        need: the steps.
        window: T of the batch.
    """
    findings = []
    known = [each for each in found if math.isfinite(each.exponent)]
    for each in known:
        steps = max(need.steps, window)
        growth = each.exponent * steps
        if each.exponent > FASTEST and growth > math.log(EXPLODES):
            findings.append(
                Finding(
                    names.LYAPUNOV_FAR_FROM_ZERO,
                    each.exponent,
                    f"the largest Lyapunov exponent is {each.exponent:+.3f} a step: a gradient "
                    f"grows {_times(growth)} times over {steps} steps",
                    "start from smaller recurrent weights, "
                    f"`torch.nn.init.orthogonal_({_weight_of(each)})`, and clip gradients",
                    each.name,
                )
            )
    if known and len(known) == len(found) and all(e.exponent <= need.slowest for e in known):
        slowest = max(known, key=lambda each: each.exponent)
        findings.append(
            Finding(
                names.LYAPUNOV_FAR_FROM_ZERO,
                slowest.exponent,
                f"the largest Lyapunov exponent is {slowest.exponent:+.3f} a step: a gradient "
                f"halves every {half_life(slowest.exponent):.2g} steps, and of {need} "
                f"{_times(slowest.exponent * need.steps)} is left",
                _mend_of_exponent(slowest, need),
                slowest.name,
            )
        )
    return findings


def _outermost(calls: list[Seen]) -> list[Seen]:
    """Return the first call of each recurrent module that is in no other one."""
    first: dict[str, Seen] = {}
    for seen in calls:
        known = isinstance(seen.module, Recurrent | nn.RNNBase | nn.RNNCellBase)
        streamable = getattr(seen.module, "streamable", True)
        if known and streamable and seen.x.shape[1]:
            first.setdefault(seen.name, seen)
    # A stack has the exponents of all its layers.
    whole = {name for name, seen in first.items() if isinstance(seen.module, Recurrent)}
    return [
        seen
        for name, seen in first.items()
        if not any(name != above and _is_inside(name, above) for above in whole)
    ]


def _is_inside(name: str, above: str) -> bool:
    return not above or name.startswith(f"{above}.")


def _as_layer(module: nn.Module) -> Recurrent | None:
    if isinstance(module, Recurrent):
        return module
    if isinstance(module, nn.RNNBase):
        return from_torch(module)
    kinds: dict[type[nn.Module], type[RNN] | type[LSTM] | type[GRU]]
    kinds = {nn.RNNCell: RNN, nn.LSTMCell: LSTM, nn.GRUCell: GRU}
    kind = kinds.get(type(module))
    if kind is None:
        return None
    options = {"nonlinearity": module.nonlinearity} if kind is RNN else {}
    weights = [module.weight_ih, module.weight_hh]
    if module.bias_ih is not None:
        weights += [module.bias_ih, module.bias_hh]
    return kind.around(weights, **options)  # type: ignore[arg-type]


def _driving(seen: Seen) -> Tensor | None:
    """Return the input of some lanes, repeated to enough steps; None where no lane has any."""
    lanes: list[Tensor] = []
    for lane in range(len(seen.x)):
        length = seen.x.shape[1] if seen.lengths is None else int(seen.lengths[lane])
        if length and len(lanes) < _LANES:
            again = torch.arange(_STEPS + _SETTLING, device=seen.x.device) % length
            lanes.append(seen.x[lane, again])
    return torch.stack(lanes) if lanes else None


def _exponent(layer: Recurrent, x: Tensor) -> tuple[float, str]:
    try:
        found = _largest(layer, x)
    except Exception as error:
        return (
            math.nan,
            f"no exponent ({type(error).__name__}: {' '.join(str(error).split())[:120]})",
        )
    if math.isnan(found):
        return math.nan, "no exponent: there are NaN among its inputs or states"
    if not math.isfinite(found):
        return math.nan, "no exponent: its state forgets all at once, as a window of inputs does"
    return found, ""


def _gates(layer: Recurrent, seen: Seen) -> list[Gate]:
    inside = {name: part for name, part in layer.named_modules() if isinstance(part, LSTM | GRU)}
    # Subclasses may have other rows.
    inside = {name: part for name, part in inside.items() if type(part) in (LSTM, GRU)}
    if not inside:
        return []
    lengths = None if seen.lengths is None else seen.lengths.to(torch.int64)
    try:
        taps = replay(layer, seen.x, lengths=lengths)
    except Exception:  # A layer of one's own around these may raise anything.
        taps = {}
    found = []
    for name, part in inside.items():
        letter, kind = ("f", "forget gate") if isinstance(part, LSTM) else ("z", "update gate")
        gate = taps.get(".".join(filter(None, (name, letter))))
        found.append(Gate(name, kind, _of_biases(part), math.nan if gate is None else _of(gate)))
    return found


def _of_biases(layer: LSTM | GRU) -> float:
    if layer.bias_ih is None or layer.bias_hh is None:
        return math.log(0.5)
    rows = slice(layer.hidden_size, 2 * layer.hidden_size)
    bias = (layer.bias_ih + layer.bias_hh).detach().double()[rows]
    return float(nn.functional.logsigmoid(bias).max())


def _of(gate: Tensor) -> float:
    """Return the slowest decay of a unit by step from its gate (B, T, H)."""
    there = (gate > 0).any(2)  # Zero where a step is not.
    logarithms = gate.double()[there].clamp(min=1e-30).log()
    return float(logarithms.mean(0).max()) if len(logarithms) else math.nan


def _largest(layer: Recurrent, x: Tensor) -> float:
    if layer.streamable:
        layer = copy.deepcopy(layer).cpu()
        return float(lyapunov_exponents(layer, x.cpu(), settling=_SETTLING).mean())
    # Of two directions, each is a layer of its own.
    with torch.no_grad(), watched(layer) as calls:
        layer(x)
    return max(_largest(call.layer, call.x) for of_layer in calls.values() for call in of_layer)


def _suffix(module: nn.Module) -> str | None:
    if isinstance(module, Recurrent):
        return None
    return "_l0" if isinstance(module, nn.RNNBase) else ""


def _weight_of(each: Measured) -> str:
    return f"{each.name or 'layer'}.weight_hh{each.suffix or ''}"


def _mend_of_bias(each: Measured, gate: Gate, need: Need) -> str:
    place, steps = each.name or "layer", max(need.steps, 3)
    if each.suffix is None:
        return f"make the layer with memory={steps}, which draws biases for so many steps"
    numbers = [part for part in gate.place.split(".") if part.isdigit()]
    suffix = f"_l{numbers[0]}" if numbers else each.suffix
    suffix += "_reverse" * gate.place.endswith("backward_layer")
    return (
        f"start it open: `H = {place}.hidden_size; {place}.bias_ih{suffix}.data[H:2*H] = "
        f"torch.empty(H).uniform_(1, {steps - 1}).log_()`, or use "
        f"tt.{'LSTM' if gate.kind == 'forget gate' else 'GRU'}(..., memory={steps})"
    )


def _mend_of_exponent(each: Measured, need: Need) -> str:
    if each.gates:
        return _mend_of_bias(each, each.gates[0], need)
    return (
        f"start from recurrent weights that keep lengths, `torch.nn.init.orthogonal_("
        f"{_weight_of(each)})`, or use a layer with gates, tt.GRU(..., memory={max(need.steps, 3)})"
    )


def _times(logarithm: float) -> str:
    """Return exp of a number, as a power of ten where it is far from one."""
    return (
        f"{math.exp(logarithm):.2g}"
        if abs(logarithm) < 600
        else f"1e{logarithm / math.log(10):.0f}"
    )
