"""Law 8: float32 against float64, bfloat16 autocast, gradients in eval mode, export."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.errors import LawBrokenError
from throughtime.recurrent import LinearRecurrent, Recurrent
from throughtime.state import State
from throughtime.testing.precision import coarseness, parameters_in
from throughtime.testing.report import Tolerance, differences
from throughtime.testing.runs import Run, Runner, widened
from throughtime.testing.specification import oracle, ways, whole

COARSE = 1e-5
"""Noise in the fourth difference above this is far more than float32 makes (about 5e-7)."""

AUTOCAST = Tolerance(2e-2, 5e-2)
"""How far bfloat16 autocast may lie from float64."""

_DRAWS = 3
_FLOAT32 = "keep the state and what adds up over time in float32"


def check_resolution(run: Runner, lanes: int) -> None:
    """The maths inside is not coarser than float32, in `forward` and in `step`."""
    state, x = run.reached(lanes), run.sequences(lanes, 3)

    def several(x: Tensor) -> Tensor:
        return _joined(*run.forward(8, x, state))

    def single(x: Tensor) -> Tensor:
        return _joined(*run.step(8, x, state))

    with torch.no_grad():
        noise = {"forward": coarseness(several, x, 3e-3)}
        if run.layer.streamable:
            noise["step"] = coarseness(single, x[:, 0], 3e-3)
    for name, amount in noise.items():
        run.ledger.require(
            8,
            not amount > COARSE,
            f"{name} {run.mode} rounds to steps of about {amount:.0e} on the way (limit "
            f"{COARSE:.0e}); compute and keep state in float32 at least",
        )


def check_backward(run: Runner, x: Tensor, state: State) -> None:
    """A backward pass exists and runs, in eval mode as in training mode."""
    mend = "gradients must work in both modes; no_grad, detach and numpy are the caller's choice"
    weights, along = run.draw(*x.shape[:2], run.layer.output_size), 1e-3 * run.draw(*x.shape)
    flows = {}
    for name, way in ways(run):
        # What only forward breaks, in training, is a difference from step (law 1).
        law = 1 if name == "forward" and run.layer.training else 8
        run.measure(law, way, x, state)
        given = x.detach().clone().requires_grad_()
        y, _ = way(run, law, given, state)
        gradient = run.gradients(law, (weights * y).sum(), {"x": given})["x"]
        with torch.no_grad():
            moved = differences(way(run, law, x + along, state)[0], y) > 1e-6
        # A layer of thresholds hardly moves and has no gradient; neither has one that ignores x.
        flows[name] = bool(gradient.any()) or float(moved.double().mean()) < 0.5
    law = 8 if len(set(flows.values())) == 1 or not run.layer.training else 1
    for name, flowing in flows.items():
        finding = f"no gradient flows from the output of {name} to x {run.mode}; {mend}"
        run.ledger.require(law, flowing, finding)


def check_eval_gradients(run: Runner, x: Tensor, state: State) -> None:
    """In eval mode, forward has the gradients of step, and of training where nothing is random."""
    mend = "gradients must work in eval mode as in training mode"
    runs: dict[bool | str, Run] = {}
    for training in (True, False):
        run.layer.train(training)
        runs[training] = run.measure(8, whole, x, state)
    runs["step"] = run.measure(8, oracle(run), x, state)
    for name, wanted in (("step", runs["step"]), ("training mode", runs[True])):
        # Where results differ already, the difference is no matter of gradients.
        if float(differences(runs[False].y, wanted.y).max()) <= run.tolerance.values:
            when = f"of forward, held against {name},"
            got = Run(wanted.y, wanted.end, runs[False].gradients)
            run.same(8, got, wanted, when, mend)


def check_precision(
    layer: Recurrent, fine: Runner, single: Runner, lengths: Tensor, resets: Tensor
) -> None:
    """Float32, with the tolerance of the runner `single`, against the specification in float64."""
    x, state, wanted = _reference(layer, fine, resets.shape, lengths, resets)
    mend = "look for sums of many terms, differences of large numbers and logarithms"
    with parameters_in(layer, torch.float32):
        x, state = x.float(), _like(state, single.initial(len(x)))
        for name, way in ways(single):
            got = single.measure(8, way, x, state, lengths, resets)
            single.same(8, got, wanted, f"of {name} in float32, held against float64,", mend)


def check_long_precision(layer: Recurrent, fine: Runner, single: Runner, steps: int) -> None:
    """Over many steps, forward in float32 is as near to float64 as step in float32 is."""
    x, state, wanted = _reference(layer, fine, torch.Size([2, steps]))
    with parameters_in(layer, torch.float32):
        x, state = x.float(), _like(state, single.initial(2))
        got = single.measure(8, whole, x, state)
        limit = widened(
            single.tolerance, got, wanted, lambda: single.measure(8, oracle(single), x, state)
        )
        when = f"of forward over {steps} steps in float32, held against float64,"
        mend = "products over time leave the range of float32: work in blocks, or step by step"
        single.same(8, got, wanted, when, mend, tolerance=limit)


def check_extremes(layer: Recurrent, fine: Runner, single: Runner, sizes: torch.Size) -> None:
    """With zeros and with large inputs, what is finite in float64 is finite in float32."""
    mend = "look for exp, log and roots: use softplus, logsigmoid, log1p and their like"
    for scale, name in ((0.0, "zeros"), (100.0, "inputs of about 100")):
        x, state, wanted = _reference(layer, fine, sizes, scale=scale)
        with parameters_in(layer, torch.float32):
            x, state = x.float(), _like(state, single.initial(len(x)))
            for way_name, way in ways(single):
                got = single.measure(8, way, x, state)
                pairs = {"output": (got.y, wanted.y)}
                pairs |= {
                    f"gradient of {target}": (got.gradients[target], gradient)
                    for target, gradient in wanted.gradients.items()
                }
                for what, (a, b) in pairs.items():
                    lost = b.isfinite() & ~a.isfinite()
                    finding = (
                        f"the {what} of {way_name} in float32, on {name}, is not finite; {mend}"
                    )
                    single.ledger.require(8, not bool(lost.any()), finding)


def check_autocast(
    layer: Recurrent, fine: Runner, single: Runner, lengths: Tensor, resets: Tensor
) -> None:
    """Under bfloat16 autocast, results keep close and the state keeps its dtypes.

    A kink (relu) that rounding pushes over changes a gradient by more than rounding does, and no
    layer is to blame for that. So gradients are held by their mean square, and one input out of a
    few has to pass.
    """
    for draw in range(_DRAWS):
        x, state, wanted = _reference(layer, fine, resets.shape, lengths, resets)
        with parameters_in(layer, torch.float32):
            x, state = x.float(), _like(state, single.initial(len(x)))
            single.shape_law = 8
            before = single.ledger.largest()
            try:
                for name, way in ways(single):
                    with torch.autocast(single.device.type, dtype=torch.bfloat16):
                        got = single.measure(8, way, x, state, lengths, resets)
                    when = f"of {name} under bfloat16 autocast, held against float64,"
                    values = Run(got.y, got.end, {})
                    single.same(8, values, wanted, when, _FLOAT32, tolerance=AUTOCAST)
                    for target, gradient in wanted.gradients.items():
                        single.ledger.close(
                            8,
                            f"the root mean square of the gradient of {target} {when}",
                            torch.zeros(()),
                            _distance(got.gradients[target], gradient),
                            AUTOCAST.gradients,
                            _FLOAT32,
                            gradient=True,
                        )
                if isinstance(layer, LinearRecurrent):
                    _check_linear_state(single, x, state)
            except LawBrokenError:
                if draw == _DRAWS - 1:
                    raise
                single.ledger.values, single.ledger.gradients = before
            else:
                return
            finally:
                single.shape_law = 6


def _check_linear_state(run: Runner, x: Tensor, state: State) -> None:
    """The state of a linear recurrence holds more than bfloat16 can, so it adds up in float32."""
    with torch.no_grad(), torch.autocast(run.device.type, dtype=torch.bfloat16):
        for name, end in (
            ("forward", run.forward(8, x, state)[1]),
            ("step", run.step(8, x[:, 0], state)[1]),
        ):
            floats = [leaf for leaf in states.leaves(end) if leaf.is_floating_point()]
            coarse = floats and all(torch.equal(leaf, leaf.bfloat16().float()) for leaf in floats)
            run.ledger.require(
                8,
                not coarse,
                f"under bfloat16 autocast, {name} rounds the state of a linear recurrence to "
                "bfloat16; multiply and add in the state's own dtype",
            )


def check_export(run: Runner, lanes: int) -> None:
    """`torch.export` takes `step`, for any number of lanes, in plain aten operations; it saves."""
    lanes = max(lanes, 2)
    x, state = run.draw(lanes, run.layer.input_size), run.reached(lanes)
    batch = torch.export.Dim("batch", min=1, max=2**20)
    shapes = ({0: batch}, states.tree_map(lambda _: {0: batch}, state))
    with run.ledger.attempt(8, "torch.export of step with any number of lanes"), _quiet():
        program = torch.export.export(_Step(run.layer), (x, state), dynamic_shapes=shapes)
    with (
        run.ledger.attempt(
            8,
            "torch.export.save of step (is its state registered by throughtime.state.register?)",
        ),
        _quiet(),
    ):
        torch.export.save(program, io.BytesIO())
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    foreign = [
        str(call)
        for call in calls
        if isinstance(call, torch._ops.OpOverload) and call.namespace not in ("aten", "prim")
    ]
    run.ledger.require(
        8,
        not foreign,
        f"the exported step calls {', '.join(foreign)}, expected plain aten operations; "
        "step computes the reference maths and never a native op",
    )
    more, after = run.draw(lanes + 2, run.layer.input_size), run.reached(lanes + 2)
    with torch.no_grad(), run.ledger.attempt(8, "the exported step with more lanes"), _quiet():
        got = program.module()(more, after)
        wanted = run.layer.step(more, after)
    limit, mend = run.tolerance.values, "no branch may depend on values"
    run.ledger.close(8, "the output of the exported step", got[0], wanted[0], limit, mend)
    run.same_state(8, got[1], wanted[1], "the state of the exported step", mend, limit)


class _Step(nn.Module):
    """What `torch.export` traces: a module whose forward is the layer's `step`."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layer.step(x, state)


def _reference(
    layer: Recurrent,
    fine: Runner,
    sizes: torch.Size,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    *,
    scale: float = 1.0,
) -> tuple[Tensor, State, Run]:
    """Return x, a state that float32 can hold, and what the specification makes of them."""
    with parameters_in(layer, fine.dtype):
        x, state = scale * fine.sequences(*sizes), fine.reached(sizes[0])
        state = states.tree_map(
            lambda leaf: leaf.float().to(leaf.dtype) if leaf.is_floating_point() else leaf, state
        )
        return x, state, fine.measure(8, oracle(fine), x, state, lengths, resets)


def _like(state: State, model: State) -> State:
    return states.tree_map(lambda leaf, other: leaf.to(other.dtype), state, model)


def _distance(got: Tensor, wanted: Tensor) -> Tensor:
    """Return the root mean square of a difference, relative to that of what is wanted."""
    got, wanted = got.double(), wanted.double()
    scale = 1 + wanted.square().mean().sqrt()
    return ((got - wanted).square().mean().sqrt() / scale).cpu()


def _joined(y: Tensor, state: State) -> Tensor:
    floats = [leaf for leaf in states.leaves(state) if leaf.is_floating_point()]
    return torch.cat([tensor.flatten().double() for tensor in (y, *floats)])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own warnings and log lines about its exporter to itself."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
