"""The check of all laws on one layer: which inputs, in which numbers, in which order."""

import torch

from throughtime.errors import LawBrokenError, OptionError
from throughtime.recurrent import Recurrent
from throughtime.testing import boundaries, laws, numbers, shape
from throughtime.testing.cases import mixed_lengths, mixed_resets
from throughtime.testing.precision import coarseness, parameters_in
from throughtime.testing.report import Ledger, Report, Tolerance
from throughtime.testing.runs import Runner

TIGHT = Tolerance(1e-9, 1e-9)
"""What rounding may do in float64."""

LONG = 131
"""Steps of the longest sequence checked: more than a block of 128, and prime."""


def check_recurrent(
    layer: Recurrent,
    *,
    batch_size: int = 3,
    steps: int = 7,
    seed: int = 0,
    tolerance: float | None = None,
) -> Report:
    """Check a layer against the laws that every recurrent layer here obeys; run it on your own.

    1. **Step.** `forward` equals the loop of `step`: outputs, final state, gradients.
    2. **Chunking.** Cut the sequence anywhere and carry the state over: nothing changes.
    3. **Hold.** A step beyond a lane's length is not there, whatever stands in the padding.
    4. **Reset.** What follows a reset does not know what was before it, and starts as a fresh run.
    5. **Lanes.** No lane sees another: permute, drop or add some, and the others stay the same.
    6. **Shape.** The state keeps its tree, shapes and dtypes; inputs and module stay as they are.
    7. **Causality.** No output depends on a later input.
    8. **Numbers.** Float32 is as good as float32 can be, bfloat16 autocast too; gradients work in
       eval mode; `step` can be exported.

    The laws about structure are checked in float64, in training and in eval mode, and once more in
    float32. A layer that is not streamable is checked for laws 3, 4, 5, 6 and 8, against itself
    on each segment alone. The layer, its gradients and torch's random generator are afterwards as
    they were.

    Args:
        layer: any `Recurrent`. A small one is checked in a second or two.
        batch_size: B, 2 or more.
        steps: T, 4 or more.
        seed: of inputs, lengths, resets and of whatever the layer draws.
        tolerance: what float32 outputs may differ by, relative: |a - b| <= tolerance * (1 + |b|);
            gradients by ten times as much. 1e-6 by default; large layers and long sequences round
            more.

    Returns:
        What was checked, with the largest difference found for each law.

    Raises:
        LawBrokenError: for the first law found broken: which, where, by how much, the likely mend.
        OptionError: when batch_size or steps are too few to tell.

    Example:
        >>> from throughtime.layers import GRU
        >>> report = check_recurrent(GRU(2, 3))
        >>> [row.law for row in report.rows]
        [1, 2, 3, 4, 5, 6, 7, 8]
    """
    if batch_size < 2 or steps < 4:
        raise OptionError(
            f"expected batch_size of 2 or more and steps of 4 or more, got {batch_size} and {steps}"
        )
    ledger = Ledger()
    single = Tolerance(1e-6, 1e-5) if tolerance is None else Tolerance(tolerance, 10 * tolerance)
    generator = torch.Generator().manual_seed(seed)
    device = next((parameter.device for parameter in layer.parameters()), torch.device("cpu"))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), parameters_in(layer, None):
        torch.manual_seed(seed)
        check = _Check(layer, ledger, generator, device, (batch_size, steps), single)
        check.structure()
        check.numbers()
    text = " ".join(repr(layer).split())
    return ledger.report(text if len(text) <= 100 else f"{text[:97]}...")


class _Check:
    """One check of one layer."""

    def __init__(
        self,
        layer: Recurrent,
        ledger: Ledger,
        generator: torch.Generator,
        device: torch.device,
        sizes: tuple[int, int],
        single: Tolerance,
    ) -> None:
        self.layer = layer
        self.ledger = ledger
        self.generator = generator
        self.device = device
        self.lanes, self.steps = sizes
        self.lengths = [t.to(device) for t in mixed_lengths(*sizes, generator)]
        self.resets = [t.to(device) for t in mixed_resets(*sizes, generator)]
        self.single = single
        # Two float32 results may each be off by the tolerance, and more where they add up.
        self.between = Tolerance(5 * single.values, 5 * single.gradients)

    def runner(self, dtype: torch.dtype, tolerance: Tolerance) -> Runner:
        return Runner(self.layer, self.ledger, tolerance, self.generator, dtype, self.device)

    def structure(self) -> None:
        """Laws 1 to 7, in the finest numbers that the layer works in, then in float32."""
        dtype, tolerance = self._finest()
        self.fine = self.runner(dtype, tolerance)
        with parameters_in(self.layer, dtype):
            self.layer.train()
            self._laws(self.fine)
            laws.check_many_lanes(self.fine)
            laws.check_long(self.fine, *self._long())
            self.layer.eval()
            self._laws(self.fine)
        if dtype == torch.float64:
            with parameters_in(self.layer, torch.float32):
                self.layer.train()
                self._laws(self.runner(torch.float32, self.between))

    def numbers(self) -> None:
        """Law 8, apart from the parts that come before other laws."""
        single = self.runner(torch.float32, self.single)
        case = self.layer, self.fine, single
        self.layer.train()
        numbers.check_precision(*case, self.lengths[1], self.resets[0])
        numbers.check_long_precision(*case, LONG)
        numbers.check_extremes(*case, self.resets[0].shape)
        numbers.check_autocast(*case, self.lengths[1], self.resets[0])
        if self.layer.streamable:
            with parameters_in(self.layer, torch.float32):
                self.layer.eval()
                numbers.check_export(single, self.lanes)

    def _laws(self, run: Runner) -> None:
        """Laws 1 to 7 in an order in which a fault meets the law that it breaks first.

        What disturbs every comparison comes first (shape, rounding, lanes, the future). Lengths and
        resets are first held by what their laws say when all lanes are alike, then as lanes, and
        last against the specification.
        """
        lanes, steps = self.lanes, self.steps
        (lengths, short), (resets, sparse) = self.lengths, self.resets
        shape.check_initial_state(run, lanes)
        shape.check_calls(run, lanes, steps, lengths, resets)
        numbers.check_resolution(run, lanes)
        x, state = run.sequences(lanes, steps), run.reached(lanes)
        numbers.check_backward(run, x, state)
        if not run.layer.training:
            numbers.check_eval_gradients(run, x, state)
        if run.layer.streamable:
            laws.check_lanes_of_step(run, lanes)
        laws.check_lanes(run, x, state)
        shape.check_module(run, lanes, steps)
        if run.layer.streamable:
            laws.check_causality(run, lanes, steps)
            laws.check_step(run, lanes, steps)
        else:
            laws.check_not_streamable(run, lanes, steps)
        boundaries.check_common_length(run, x, state)
        for ends in (lengths, short):
            boundaries.check_padding(run, x, state, ends)
        boundaries.check_restart(run, lanes)
        if run.layer.streamable:
            boundaries.check_reset_of_step(run, lanes)
        boundaries.check_common_reset(run, x, state)
        boundaries.check_resets_beyond(run, x, state, short)
        laws.check_lanes(run, x, state, short, resets)
        for ends in (lengths, short):
            boundaries.check_hold(run, x, state, ends)
        for flags in (resets, sparse):
            boundaries.check_reset(run, x, state, None, flags)
        boundaries.check_reset(run, x, state, lengths, resets)
        boundaries.check_reset(run, x, state, short, sparse)
        if run.layer.streamable:
            laws.check_cuts(run, x, state, lengths, resets)

    def _long(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return lengths and resets for a few lanes of many steps."""
        lengths = torch.tensor([LONG, LONG - 20], device=self.device)
        resets = torch.rand(2, LONG, generator=self.generator) < 0.05
        return lengths, resets.to(self.device)

    def _finest(self) -> tuple[torch.dtype, Tolerance]:
        """Return float64 and a tight tolerance if the layer can, float32 and its own otherwise."""
        with parameters_in(self.layer, torch.float64):
            shape.check_initial_state(self.runner(torch.float64, TIGHT), self.lanes)
        noise = self._noise(torch.float64)
        if noise is None:
            if self._noise(torch.float32) is None:
                # It runs in neither, and the laws will say why.
                return torch.float64, TIGHT
            self.ledger.notes.append(
                "checked in float32 only: the layer's own maths does not run in float64"
            )
            return torch.float32, self.between
        if noise > TIGHT.values:
            self.ledger.notes.append(
                "checked with float32's tolerance: in float64, the layer rounds as float32 does"
            )
            return torch.float64, self.between
        return torch.float64, TIGHT

    def _noise(self, dtype: torch.dtype) -> float | None:
        """Return how much a layer rounds in a dtype, None when it does not run in it."""
        run = self.runner(dtype, self.between)
        with parameters_in(self.layer, dtype), torch.no_grad():
            try:
                x, state = run.sequences(self.lanes, self.steps), run.initial(self.lanes)
                return coarseness(lambda moved: run.forward(6, moved, state)[0], x, 1e-4)
            except LawBrokenError:
                return None
