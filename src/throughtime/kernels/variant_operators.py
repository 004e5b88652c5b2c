"""The native kernels of the classic cells' variants as torch operators, with fakes and gradients.

`throughtime::variant` runs a cell over whole sequences from the input's share of its gates, and
`throughtime::variant_backward` is its derivative but for the weights, which are products over all
rows that torch makes.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.errors import ShapeError
from throughtime.kernels import library
from throughtime.kernels.views import address, call, dense, once

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "coupled_lstm": 3, "gru": 3, "slstm": 4}
_SLOTS = GATES | {"gru": 4, "slstm": 5}
_CELLS = {"lstm": 1, "coupled_lstm": 1, "slstm": 3}

_operators: Any = torch.library.Library("throughtime", "FRAGMENT")  # type: ignore[no-untyped-call]
_NOISE = (
    "Tensor? drop, Tensor? zone_h, Tensor? zone_c, int drop_below, float drop_scale, "
    "int zone_below, float zoneout, str cell"
)
_operators.define(
    "variant(Tensor enter, Tensor h, Tensor? c, Tensor weight, Tensor? bias, Tensor? gain, "
    "Tensor? cell_gain, Tensor? cell_bias, Tensor? peepholes, Tensor? project, "
    f"Tensor? h_restart, Tensor? c_restart, Tensor? lengths, Tensor? resets, {_NOISE}, bool keep) "
    "-> (Tensor y, Tensor h_end, Tensor c_end, Tensor slots, Tensor normal, Tensor c_before, "
    "Tensor hidden)"
)
_operators.define(
    "variant_backward(Tensor? dy, Tensor? dh_end, Tensor? dc_end, Tensor h, Tensor weight, "
    "Tensor? gain, Tensor? cell_gain, Tensor? cell_bias, Tensor? peepholes, Tensor? project, "
    "Tensor? h_restart, Tensor? lengths, Tensor? resets, Tensor y, Tensor slots, Tensor normal, "
    f"Tensor c_before, {_NOISE}) -> (Tensor denter, Tensor dsums, Tensor doutput, Tensor output, "
    "Tensor dh, Tensor dc, Tensor dh_restart, Tensor dc_restart, Tensor dbias, Tensor dgain, "
    "Tensor dcell_gain, Tensor dcell_bias, Tensor dpeepholes)"
)


class Noise(NamedTuple):
    """What is random in a call, as the operator takes it.

    Attributes:
        drop: (B, T) int32 or None: of which units of h are dropped where h is multiplied.
        zone_h: (B, T) int32 or None: of which units of h stay as they were.
        zone_c: the same of c.
        drop_below: threshold of the hashes of `drop`.
        drop_scale: what is not dropped is times this.
        zone_below: threshold of the hashes of `zone_h` and `zone_c`.
        zoneout: share of a state that stays where nothing is random.
    """

    drop: Tensor | None = None
    zone_h: Tensor | None = None
    zone_c: Tensor | None = None
    drop_below: int = 0
    drop_scale: float = 1.0
    zone_below: int = 0
    zoneout: float = 0.0


class _Sizes(NamedTuple):
    lanes: int
    steps: int
    gates: int
    slots: int
    units: int
    outputs: int
    cells: int


def _sizes(h: Tensor, steps: int, weight: Tensor, cell: str) -> _Sizes:
    rows, outputs = weight.shape
    gates = GATES[cell]
    units = rows // gates
    cells = _CELLS.get(cell, 0) * units
    return _Sizes(h.shape[0], steps, gates, _SLOTS[cell], units, outputs, cells)


def _new_results(
    enter: Tensor, h: Tensor, c: Tensor | None, weight: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    """Return y, h_end, c_end, slots, normal, c_before and hidden, not filled."""
    _, gain, *_, cell, keep = others
    s = _sizes(h, enter.shape[1], weight, cell)
    new, kept = h.new_empty, s.lanes if keep else 0
    return (
        new(s.lanes, s.steps, s.outputs),
        new(s.lanes, s.outputs),
        new(s.lanes if s.cells else 0, s.cells),
        new(kept, s.steps, s.slots * s.units),
        new(kept if gain is not None else 0, s.steps, s.gates * s.units + s.gates),
        new(kept if s.cells else 0, s.steps, s.cells),
        new(kept, s.steps, s.outputs),
    )


def _run(enter: Tensor, h: Tensor, c: Tensor | None, *others: Any) -> tuple[Tensor, ...]:
    *tensors, drop_below, drop_scale, zone_below, zoneout, cell, keep = others
    weight = tensors[0]
    check_sizes(enter, (h, c), tuple(tensors), cell)
    results = _new_results(enter, h, c, *others)
    given = [dense(each) for each in (*tensors, h, c, enter)]
    at = dict(zip(_GIVEN, map(_place, given), strict=True))
    kept = dict(zip(_KEPT, map(_place, results[3:]), strict=True)) if keep else {}
    if not results[4].numel():
        kept["normal"] = None
    s = _sizes(h, enter.shape[1], weight, cell)
    view = library.Variant(
        cell=library.VARIANTS[cell],
        drop_below=drop_below,
        drop_scale=drop_scale,
        zone_below=zone_below,
        zoneout=zoneout,
        threads=torch.get_num_threads(),
        lanes=s.lanes,
        steps=s.steps,
        units=s.units,
        outputs=s.outputs,
        **at,
        **dict(zip(("y", "h_end", "c_end"), map(_place, results[:3]), strict=True)),
        **kept,
    )
    call(library.load().tt_variant_forward, ctypes.byref(view))
    return results


_WEIGHTS = ("weight", "bias", "gain", "cell_gain", "cell_bias", "peepholes", "project")
_CONDITIONS = ("h_restart", "c_restart", "lengths", "resets", "drop", "zone_h", "zone_c")
_GIVEN = (*_WEIGHTS, *_CONDITIONS, "h", "c", "enter")
_KEPT = ("slots", "normal", "c_before", "hidden")


def check_sizes(
    enter: Tensor,
    state: tuple[Tensor, Tensor | None],
    tensors: tuple[Tensor | None, ...],
    cell: str,
) -> None:
    """Hold every tensor to its size and type: the kernels go through plain pointers.

    Args:
        enter: (B, T, G*H).
        state: h and c.
        tensors: of `_WEIGHTS` and `_CONDITIONS`, in their order.
        cell: one of `library.VARIANTS`.

    Raises:
        ShapeError: for another size or dtype.
    """
    h, c = state
    named = dict(zip((*_WEIGHTS, *_CONDITIONS), tensors, strict=True))
    weight, lengths = named["weight"], named["lengths"]
    assert weight is not None
    lanes, steps = enter.shape[:2]
    s = _sizes(h, steps, weight, cell)
    rows, each = (s.gates * s.units,), (lanes, steps)
    if (c is None) == bool(s.cells):
        raise ShapeError(f"expected the state of a {cell}, got one with other leaves")
    if named["resets"] is not None and (
        named["h_restart"] is None or (named["c_restart"] is None) == bool(s.cells)
    ):
        raise ShapeError("expected the state that resets go to beside resets, got None")
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "enter": ((lanes, steps, *rows), torch.float32),
        "weight": ((*rows, s.outputs), torch.float32),
        "bias": (rows, torch.float32),
        "gain": (rows, torch.float32),
        "cell_gain": ((s.units,), torch.float32),
        "cell_bias": ((s.units,), torch.float32),
        "peepholes": ((3, s.units), torch.float32),
        "project": ((s.outputs, s.units), torch.float32),
        "h": ((lanes, s.outputs), torch.float32),
        "c": ((lanes, s.cells), torch.float32),
        "h_restart": ((lanes, s.outputs), torch.float32),
        "c_restart": ((lanes, s.cells), torch.float32),
        "lengths": ((lanes,), torch.int64),
        "resets": (each, torch.bool),
        "drop": (each, torch.int32),
        "zone_h": (each, torch.int32),
        "zone_c": (each, torch.int32),
    }
    for name, tensor in {**named, "enter": enter, "h": h, "c": c}.items():
        size, dtype = wanted[name]
        if tensor is not None and (tensor.shape != size or tensor.dtype != dtype):
            raise ShapeError(
                f"expected {name} as {dtype} {size} in a native {cell}, got "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )
    if named["project"] is None and s.outputs != s.units:
        raise ShapeError(f"expected H = P without a projection, got {s.units} and {s.outputs}")
    if lengths is not None and len(lengths) and not 0 <= lengths.min() <= lengths.max() <= steps:
        raise ShapeError(
            f"expected lengths between 0 and T = {steps}, got {lengths.flatten()[:5].tolist()}"
        )


def _new_gradients(*arguments: Any) -> tuple[Tensor, ...]:
    """Return what backward computes, not filled."""
    h, weight, gain, cell_gain, _, peepholes, project, _, _, resets, y = arguments[3:14]
    s = _sizes(h, y.shape[1], weight, arguments[-1])
    new, rows = h.new_empty, s.gates * s.units
    projected, again = (s.lanes if each is not None else 0 for each in (project, resets))
    normal = s.units if cell_gain is not None else 0
    return (
        new(s.lanes, s.steps, rows),
        new(s.lanes, s.steps, rows),
        new(projected, s.steps, s.outputs),
        new(projected, s.steps, s.units),
        new(s.lanes, s.outputs),
        new(s.lanes, s.cells),
        new(again, s.outputs),
        new(again, s.cells),
        new(rows),
        new(rows if gain is not None else 0),
        new(normal),
        new(normal),
        new(3 if peepholes is not None else 0, s.units),
    )


def _run_backward(*arguments: Any) -> tuple[Tensor, ...]:
    h, weight, *others = arguments[3:]
    *tensors, drop, zone_h, zone_c, drop_below, drop_scale, zone_below, zoneout, cell = others
    results = _new_gradients(*arguments)
    s = _sizes(h, tensors[8].shape[1], weight, cell)
    names = (
        *("dy", "dh_end", "dc_end", "h", "weight", *_WEIGHTS[2:], "h_restart", "lengths"),
        *("resets", "y", "slots", "normal", "c_before", "drop", "zone_h", "zone_c"),
    )
    given = [dense(each) for each in (*arguments[:5], *tensors, drop, zone_h, zone_c)]
    at = dict(zip(names, map(_place, given), strict=True))
    gradients = library.VariantGradients(
        *(at.pop(name) for name in ("dy", "dh_end", "dc_end")),
        *map(_place, results),
    )
    view = library.Variant(
        cell=library.VARIANTS[cell],
        drop_below=drop_below,
        drop_scale=drop_scale,
        zone_below=zone_below,
        zoneout=zoneout,
        threads=torch.get_num_threads(),
        lanes=s.lanes,
        steps=s.steps,
        units=s.units,
        outputs=s.outputs,
        **at,
    )
    if view.lanes:
        call(library.load().tt_variant_backward, ctypes.byref(view), ctypes.byref(gradients))
    else:
        for each in results[8:]:
            each.zero_()
    return results


def _place(tensor: Tensor | None) -> int | None:
    """Return its address; that of nothing is as good as none, and torch gives it any."""
    return address(tensor) if tensor is not None and tensor.numel() else None


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, h, _, weight, _, *weights = inputs[:10]
    h_restart, _, lengths, resets, drop, zone_h, zone_c, *options = inputs[10:-1]
    y, _, _, *kept = output
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        *(h, weight, *weights, h_restart, lengths, resets, y, *kept, drop, zone_h, zone_c)
    )
    ctx.options = options


def _backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    hidden = saved.pop(-4)
    found = torch.ops.throughtime.variant_backward(*gradients[:3], *saved, *ctx.options)
    denter, dsums, doutput, output, dh, dc, dh_restart, dc_restart, dbias, *more = found
    dgain, dcell_gain, dcell_bias, dpeepholes = more

    def over_rows(left: Tensor, right: Tensor) -> Tensor:
        return left.flatten(0, 1).T @ right.flatten(0, 1)

    needed = ctx.needs_input_grad
    results: tuple[Any, ...] = (
        *(denter, dh, dc, over_rows(dsums, hidden) if needed[3] else None),
        *(dbias, dgain, dcell_gain, dcell_bias, dpeepholes),
        over_rows(doutput, output) if needed[9] else None,
        *(dh_restart, dc_restart),
    )
    if torch.is_grad_enabled():
        results = once(results)
    results += (None,) * (len(needed) - len(results))
    return tuple(
        gradient if wanted else None for gradient, wanted in zip(results, needed, strict=True)
    )


_operators.impl("variant", _run, "CPU")
_operators.impl("variant_backward", _run_backward, "CPU")
torch.library.register_fake("throughtime::variant", _new_results)
torch.library.register_fake("throughtime::variant_backward", _new_gradients)
torch.library.register_autograd("throughtime::variant", _backward, setup_context=_remember)
