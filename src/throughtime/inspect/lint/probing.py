"""Running a model on changed inputs, safely: what every finding is measured with.

A run is in evaluation mode, without gradients, from the same random seed and the same attributes
as every other, so that two runs differ by what was changed in their input and by nothing else.
Shape letters: B samples, T steps.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.errors import OptionError
from throughtime.inspect.lint.batches import (
    arguments,
    before_padding,
    first_tensor,
    is_mask,
    lengths_in,
    rebuilt,
)
from throughtime.inspect.lint.hooks import tensors_in
from throughtime.inspect.lint.keeping import Kept

SAME_SHAPE = 1e-4
"""Of the outputs' spread: what is no change where two runs have inputs of one shape. Kernels do the
same sums in both; a transform to frequencies and back leaks some 1e-6."""
OTHER_SHAPE = 1e-3
"""The same where shapes differ: sums are in another order, and a recurrence makes that grow."""


class Refused(Exception):
    """The model can't be run on a changed input; the message says on which and why."""


class Change(NamedTuple):
    """The largest change of an output: how large, and at which sample and step."""

    figure: float
    sample: int
    step: int | None


class Probe:
    """A model with the batch that it is looked at on.

    Attributes:
        model: any module.
        x: the first tensor of the batch.
        lengths: (B,) true lengths, or None where they are not known.
        told: whether the model is given the lengths, or a mask.
        steps: T; None where x has no axis of time.
        y: the outputs on the batch itself, by `read`.
        per_step: whether these are (B, T, ...), not one for each sample.
    """

    def __init__(self, model: nn.Module, batch: Any, lengths: Tensor | None) -> None:
        self.model = model
        self.batch = batch
        self.kept = Kept(model)
        self._given, self._named, self._packed = arguments(batch)
        self.key, self.x = first_tensor(self._given, self._named)
        if self.x.dim() < 2 or not self.x.numel():
            raise OptionError(
                f"expected x as (B, T, F) numbers or (B, T) symbols, got {tuple(self.x.shape)}; "
                "give a batch of sequences"
            )
        self.samples = self.x.shape[0]
        self.is_symbols = not (self.x.is_floating_point() or self.x.is_complex())
        self.steps: int | None = (
            self.x.shape[1] if self.x.dim() > 2 or self.is_symbols or self._packed else None
        )
        of_packed = self._given.pop() if self._packed else None
        self.lengths = lengths if of_packed is None else of_packed
        self._lengths_key = lengths_in(model, self._given, self._named, self.lengths)
        if self.lengths is None and self._lengths_key is not None:
            self.lengths = self._tensors()[self._lengths_key]
        self._check_lengths()
        others = {key: each for key, each in self._tensors().items() if key != self.key}
        self._timed = [
            key
            for key, each in others.items()
            if self.steps is not None and each.shape[:2] == self.x.shape[:2]
        ]
        masks = any(is_mask(others[key]) for key in self._timed)
        self.told = self._packed or self._lengths_key is not None or masks
        self.y: Tensor
        self.per_step = False
        self._time_axis: int | None = None

    def start(self) -> None:
        """Run the model on the batch itself and see what its outputs are.

        Raises:
            OptionError: when the model can't be run on its own batch, or gives no number there.
        """
        try:
            y = self.raw(self.x)
        except Refused as error:
            raise OptionError(
                f"expected a model that runs on its batch, got {error}; mend that first"
            ) from error
        if y.numel() and not y.isfinite().any():
            raise OptionError(
                "expected a model that gives numbers on its batch, got an output that is NaN or "
                "infinite throughout; look at the batch and the weights first"
            )
        self._look_at(y)

    def as_time(self) -> None:
        """Take axis 1 of a two-dimensional x for time."""
        self.steps = self.x.shape[1]
        self._check_lengths()
        self._look_at(self.raw(self.x))

    def _look_at(self, y: Tensor) -> None:
        self._time_axis = self._find_time(y)
        self.per_step = self._time_axis is not None
        self.y = self.read(y)

    def raw(self, x: Tensor, **options: Any) -> Tensor:
        """Return the output tensor of a run from the beginning, as the model gives it."""
        return _output(self.run(x, **options))

    def run(
        self,
        x: Tensor,
        *,
        rows: slice = slice(None),
        steps: int | None = None,
        lengths: Tensor | None = None,
        seed: int = 0,
        restored: bool = True,
        gradients: bool = False,
    ) -> Any:
        """Run the model in evaluation mode and return what it returns.

        Args:
            x: in place of the batch's own.
            rows: samples of the other tensors that go with it.
            steps: of the other tensors that have steps; all when None.
            lengths: in place of the batch's own, where the model is given some.
            seed: of the random numbers.
            restored: whether to begin from the attributes of the model as it came.
            gradients: whether a graph is made.

        Raises:
            Refused: when the model raises an error.
        """
        if restored:
            self.kept.put_back_state()
        given, named = self._call(x, rows, steps, lengths)
        self.kept.seed(seed)
        self.model.eval()
        try:
            with warnings.catch_warnings(), torch.set_grad_enabled(gradients):
                warnings.simplefilter("ignore")
                return self.model(*given, **named)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {_one_line(error)}") from error

    def outputs(self, x: Tensor, **options: Any) -> Tensor:
        """Return the outputs of a run on another x of the same shape.

        Raises:
            Refused: when the model raises an error, or gives outputs of another shape.
        """
        y = self.read(self.raw(x, **options))
        if y.shape != self.y.shape:
            raise Refused(f"outputs of another shape, {tuple(y.shape)}")
        return y

    def read(self, y: Tensor) -> Tensor:
        """Return outputs by `ordered`, as values."""
        return self.ordered(y).detach().clone()

    def ordered(self, y: Tensor) -> Tensor:
        """Return outputs with samples on axis 0, and steps on axis 1 where there are some."""
        if self._time_axis is not None:
            y = y.movedim(self._time_axis, 0).transpose(0, 1)
        return y

    def _find_time(self, y: Tensor) -> int | None:
        """Return the axis of outputs that is time, by their sizes; None where none is."""
        if self.steps is None or y.dim() < 2:
            return None
        counts = {self.steps} | (set() if self.lengths is None else {int(self.lengths.max())})
        if y.dim() > 2 and y.shape[0] == self.samples:
            # (B, T, D), or (B, D, T) as convolutions have it.
            return next((axis for axis in (1, y.dim() - 1) if y.shape[axis] in counts), None)
        if y.dim() > 2:
            return 0 if y.shape[0] in counts and y.shape[1] == self.samples else None
        if y.shape[0] != self.samples or y.shape[1] not in counts:
            return None
        # (B, T) numbers or (B, D) with D = T: with a step less, the first are fewer.
        shorter = None if self.lengths is None else self.lengths.clamp(max=self.steps - 1)
        try:
            fewer = self.raw(self.x[:, :-1], steps=self.steps - 1, lengths=shorter)
        except Refused:
            return None
        return 1 if fewer.shape == (self.samples, y.shape[1] - 1) else None

    @property
    def readable(self) -> bool:
        """Whether the outputs belong to samples."""
        return self.y.dim() > 0 and self.y.shape[0] == self.samples

    def real(self) -> Tensor:
        """Return which steps are there, (B, T) bool.

        Where nobody says, equal values at the end of a sample are taken for its padding.
        """
        assert self.steps is not None
        if self.lengths is None:
            return before_padding(self.x)
        return torch.arange(self.steps, device=self.x.device) < self.lengths[:, None]

    def changed(self, where: Tensor, *, shift: int = 1) -> Tensor:
        """Return x with other values at some places: other numbers, or other symbols of the batch.

        Args:
            where: (B, ...) bool, over the first axes of x.
            shift: which of the other symbols.

        Raises:
            Refused: when the batch has one symbol only.
        """
        where = where.to(self.x.device)
        full = where.reshape(*where.shape, *[1] * (self.x.dim() - where.dim())).expand_as(self.x)
        if not self.is_symbols:
            scale = float(self.x.detach().float().std(correction=0)) or 1.0
            if not torch.isfinite(torch.tensor(scale)):
                scale = 1.0
            generator = torch.Generator().manual_seed(0)
            moved = torch.randn(self.x.shape, generator=generator).to(self.x)
            # At least by one scale, in either direction.
            moved = scale * (moved + moved.sign())
            return torch.where(full, self.x + moved, self.x)
        kinds = torch.unique(self.x)
        if self.steps is not None:
            inside = torch.unique(self.x[self.real()])
            kinds = inside if len(inside) > 1 else kinds
        if len(kinds) < 2:
            raise Refused("there is but one symbol in the batch")
        places = torch.searchsorted(kinds, self.x.clamp(max=kinds[-1])).to(torch.int64)
        other = kinds[(places + shift) % len(kinds)]
        return torch.where(full & (other != self.x), other, self.x)

    def first_change(self, after: Tensor, chosen: Tensor, before: Tensor | None = None) -> Change:
        """Return the largest change from the outputs on the batch among chosen (B, ...) places."""
        before = self.y if before is None else before
        apart = (after.double() - before.double()).abs().nan_to_num(nan=torch.inf)
        # Where both are infinite or NaN nothing has changed.
        equal = (after == before) | (after.isnan() & before.isnan())
        apart = apart.masked_fill(equal, 0.0)
        depth = chosen.dim()
        flat = apart.flatten(depth).amax(-1) if apart.dim() > depth else apart
        flat = flat.masked_fill(~chosen.to(flat.device), -1.0)
        place = int(flat.argmax())
        sample, step = divmod(place, flat.shape[1]) if depth > 1 else (place, None)
        return Change(max(float(flat.flatten()[place]), 0.0), sample, step)

    def tolerance(self, share: float) -> float:
        """Return what counts as no change of an output: a share of how far outputs differ."""
        y = self.y.double()
        y = y[y.isfinite()]
        if not len(y):
            return 0.0
        precise = torch.finfo(self.y.dtype).eps if self.y.is_floating_point() else 0.0
        spread = float(y.std(correction=0))
        return max(share * spread, 32 * precise * float(y.abs().max()), 1e-30)

    def another_batch(self, number: int) -> Any:
        """Return a batch like the given one in which samples have the content of others."""
        return rebuilt(self.batch, self.key, self.x.roll(number, 0).contiguous())

    def _call(
        self, x: Tensor, rows: slice, steps: int | None, lengths: Tensor | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a run; tensors are copies, since a model may write into them."""
        found: dict[Any, Any] = {}
        for key, each in self._tensors().items():
            value = each
            if each.dim() and each.shape[0] == self.samples:
                value = value[rows]
                if key in self._timed and steps is not None:
                    value = value[:, :steps]
            found[key] = value.clone()
        found[self.key] = x.clone()
        if self._lengths_key is not None and lengths is not None:
            found[self._lengths_key] = lengths.to(found[self._lengths_key]).clone()
        if self._packed:
            assert self.lengths is not None
            counts = self.lengths[rows] if lengths is None else lengths
            found[self.key] = pack_padded_sequence(
                x, counts.cpu(), batch_first=True, enforce_sorted=False
            )
        given = [found.get(place, value) for place, value in enumerate(self._given)]
        return given, {name: found.get(name, value) for name, value in self._named.items()}

    @property
    def can_be_longer(self) -> bool:
        """Whether more steps can be added: no mask goes with x, whose values would be a guess."""
        return not self._timed

    def _tensors(self) -> dict[Any, Tensor]:
        pairs = [*enumerate(self._given), *self._named.items()]
        return {key: value for key, value in pairs if isinstance(value, Tensor)}

    def _check_lengths(self) -> None:
        if self.lengths is None or self.steps is None:
            return
        fits = self.lengths.shape == (self.samples,) and not self.lengths.is_floating_point()
        if not fits or int(self.lengths.min()) < 0 or int(self.lengths.max()) > self.steps:
            raise OptionError(
                f"expected lengths as (B,) whole numbers of at most T = {self.steps} with "
                f"B = {self.samples}, got {self.lengths.tolist()}"
            )


def _output(result: Any) -> Tensor:
    """Return the output: the first tensor of what a model returns that is no single number.

    Where labels are given, a loss may come before it.
    """
    if isinstance(result, PackedSequence):
        return pad_packed_sequence(result, batch_first=True)[0]
    if isinstance(result, tuple | list) and result and isinstance(result[0], PackedSequence):
        return pad_packed_sequence(result[0], batch_first=True)[0]
    found = tensors_in(result)
    if not found:
        raise Refused(f"no tensor in what it returns, {type(result).__name__}")
    return next((each for each in found if each.dim()), found[0])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
