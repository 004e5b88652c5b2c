"""Runs of the native kernels, runs of the reference in float64, and how the two are compared."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from throughtime import state as states
from throughtime.kernels import library, operators
from throughtime.kernels.reference import fold
from throughtime.layers import GRU, LSTM, RNN
from throughtime.layers.classic import Classic

assert operators  # which defines torch.ops.throughtime
OF_FLOAT32 = ("portable", "avx2", "avx512")
OF_BFLOAT16 = ("avx512_bf16", "amx")
"""These have the former's kernels for everything else."""
SETS = OF_FLOAT32 + OF_BFLOAT16
CELLS = tuple(library.CELLS)
OUTPUTS, GRADIENTS = 1e-6, 1e-5

needs_library = pytest.mark.skipif(
    library.why_missing() is not None, reason=f"needs the native library: {library.why_missing()}"
)
needs_bfloat16 = pytest.mark.skipif(
    library.why_missing() is not None or not library.load().tt_has_bfloat16(),
    reason="needs the native library on a machine that multiplies bfloat16",
)


class Conditions(NamedTuple):
    """What must not change a result: the instruction set, how many threads, whose they are."""

    instruction_set: str
    threads: int = 1
    pool: bool = True


def sets_here(among: tuple[str, ...] = OF_FLOAT32) -> tuple[str, ...]:
    """Those of some instruction sets that the library was built for and this machine has."""
    if library.why_missing() is not None:
        return ()
    use = library.load().tt_use_instruction_set
    before = library.load().tt_instruction_set()
    found = tuple(name for name in among if not use(name.encode()))
    use(before)
    return found


def conditions_here(bfloat16: bool = False) -> list[Conditions]:
    """Each instruction set on one thread; the best on two of torch's and on two of its own."""
    sets = sets_here(OF_BFLOAT16 if bfloat16 else OF_FLOAT32)
    return [
        *(Conditions(name) for name in sets),
        *(Conditions(name, 2, pool) for name in sets[-1:] for pool in (True, False)),
    ]


@contextmanager
def under(conditions: Conditions) -> Iterator[None]:
    """Hold the conditions inside the block; what was before comes back after it."""
    native, threads = library.load(), torch.get_num_threads()
    before = native.tt_instruction_set()
    assert not native.tt_use_instruction_set(conditions.instruction_set.encode())
    if not conditions.pool:
        native.tt_use_pool(None)
    torch.set_num_threads(conditions.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        native.tt_use_pool(library._openmp_pool())
        native.tt_use_instruction_set(before)


class Case(NamedTuple):
    """A layer and a call of it. `restart` has the leaves of a state of its own for each lane."""

    layer: Classic
    x: Tensor
    state: tuple[Tensor, ...]
    restart: tuple[Tensor, ...]
    lengths: Tensor | None
    resets: Tensor | None

    def double(self) -> "Case":
        """The same in float64."""
        layer = copy.deepcopy(self.layer).double()
        state, restart = (tuple(leaf.double() for leaf in each) for each in self[2:4])
        return self._replace(layer=layer, x=self.x.double(), state=state, restart=restart)


def cell_layer(cell: str, features: int, units: int, **options: bool) -> Classic:
    """The public layer of a cell."""
    if cell.startswith("rnn"):
        return RNN(features, units, nonlinearity=cell.removeprefix("rnn_"), **options)
    return {"lstm": LSTM, "gru": GRU}[cell](features, units, **options)


def make_case(
    cell: str,
    lanes: int,
    steps: int,
    features: int,
    units: int,
    *,
    bias: bool = True,
    lengths: str | None = None,
    resets: str | None = None,
    seed: int = 0,
) -> Case:
    """Draw a case. `lengths`: some, or none of the steps; `resets`: some, first, or all of them."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=draw)

    layer = cell_layer(cell, features, units, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(*parameter.shape))
            parameter.mul_(0.8 * parameter.shape[1] ** -0.5 if parameter.dim() == 2 else 0.3)
    count = len(layer.initial_state(1))
    state, restart = (tuple(normal(lanes, units) for _ in range(count)) for _ in range(2))
    share = {None: 0.0, "some": 0.3, "first": 0.0, "all": 1.0}[resets]
    flags = torch.rand(lanes, steps, generator=draw) < share
    if resets == "first":
        flags[:, :1] = True
    most = {None: steps, "some": steps, "none": 0}[lengths]
    counts = torch.randint(0, most + 1, (lanes,), generator=draw)
    return Case(
        layer,
        normal(lanes, steps, features),
        state,
        restart,
        None if lengths is None else counts,
        None if resets is None else flags,
    )


SIZES = st.fixed_dictionaries(
    {
        "lanes": st.sampled_from([1, 2, 3, 5, 7, 13, 0, 33]),
        "steps": st.sampled_from([1, 2, 3, 5, 0, 11]),
        "features": st.sampled_from([1, 2, 3, 8, 17, 33]),
        "units": st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 65, 100]),
        "bias": st.booleans(),
        "lengths": st.sampled_from([None, "some", "none"]),
        "resets": st.sampled_from([None, "some", "first", "all"]),
        "seed": st.integers(0, 9999),
    }
)
"""Any arguments of a small `make_case`: sizes around those of vectors and register blocks."""


def native(case: Case, *, bfloat16: bool = False, keep: bool = True) -> tuple[Tensor, ...]:
    """Outputs and the leaves of the final state, by the operator."""
    layer, restarts = case.layer, case.restart if case.resets is not None else ()
    h, c = (*case.state, None)[:2]
    h_restart, c_restart = (*restarts, None, None)[:2]
    parameters = (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
    y, h_end, c_end, *_ = torch.ops.throughtime.sequence(
        *(case.x, h, c, *parameters, h_restart, c_restart, case.lengths, case.resets),
        *(layer.cell, bfloat16, keep),
    )
    return (y, h_end, c_end) if c is not None else (y, h_end)


def reference(case: Case) -> tuple[Tensor, ...]:
    """The same by the fold of the layer's own step."""
    x, resets = case.x, case.resets
    if case.lengths is not None:
        # The caller of the fold masks, as `Recurrent.forward` does.
        there = torch.arange(x.shape[1]) < case.lengths[:, None]
        x = torch.where(there[:, :, None], x, torch.zeros_like(x))
        resets = None if resets is None else resets & there
    kind, layer = type(case.layer.initial_state(1)), copy.copy(case.layer)
    layer.restart = lambda state: kind(*case.restart)
    y, end = fold(layer, x, kind(*case.state), case.lengths, resets)
    return y, *end


def loss_of(results: tuple[Tensor, ...]) -> Tensor:
    """A sum in which every number of the outputs and of the final state has a weight of its own."""
    total = results[0].new_zeros(())
    for place, result in enumerate(results):
        turns = torch.arange(result.numel(), dtype=torch.float64).view(result.shape)
        total = total + (result * torch.cos(1.3 * turns + place).to(result.dtype)).sum()
    return total


def run_with_gradients(
    run: Callable[..., tuple[Tensor, ...]], case: Case, **options: bool
) -> dict[str, Tensor]:
    """Everything that a run computes, by name: outputs first, then gradients."""
    case = Case(case.layer, *(states.tree_map(_leaf, part) for part in case[1:4]), *case[4:])
    results = run(case, **options)
    sources = {
        "d x": case.x,
        **{f"d state {place}": leaf for place, leaf in enumerate(case.state)},
        **{f"d restart {place}": leaf for place, leaf in enumerate(case.restart)},
        **{f"d {name}": parameter for name, parameter in case.layer.named_parameters()},
    }
    gradients = torch.autograd.grad(
        loss_of(results), list(sources.values()), allow_unused=True, materialize_grads=True
    )
    named = {("y", "end 0", "end 1")[place]: result for place, result in enumerate(results)}
    return {name: each.detach() for name, each in named.items()} | dict(
        zip(sources, gradients, strict=True)
    )


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def assert_agree(
    got: dict[str, Tensor],
    expected: dict[str, Tensor],
    *,
    outputs: float = OUTPUTS,
    gradients: float = GRADIENTS,
    sums: bool = False,
    where: object = "",
) -> None:
    """|a - b| <= tolerance (1 + |b|), of everything; NaN and inf in the same places.

    sums: gradients are sums of so many rows that single numbers nearly cancel, and are held
    relative to the largest of their tensor: |a - b| <= tolerance max |b|.
    """
    assert got.keys() == expected.keys()
    for name, wanted in expected.items():
        gradient = name.startswith("d ")
        each = got[name].to(wanted.dtype)
        assert each.shape == wanted.shape, f"{name} {where}"
        size = wanted.abs().max() if gradient and sums and wanted.numel() else 1 + wanted.abs()
        fits = (each - wanted).abs() <= (gradients if gradient else outputs) * size
        fits |= (each == wanted) | (each.isnan() & wanted.isnan())
        if not fits.all():
            place = tuple(torch.nonzero(~fits)[0].tolist())
            raise AssertionError(
                f"{name}: {int((~fits).sum())} of {fits.numel()} numbers differ, first at {place}: "
                f"{float(each[place])!r} instead of {float(wanted[place])!r} {where}"
            )


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], where: object = "") -> None:
    """Bit for bit, but that a zero's sign may differ."""
    assert_agree(got, expected, outputs=0.0, gradients=0.0, where=where)
