"""Steppers: many lanes of one layer, advanced one step at a time, without gradients.

A stepper packs the weights once and owns the states of its lanes, so that a step allocates nothing.
What a lane gets does not depend on which lanes are stepped beside it, bit for bit. A `LinearMap` is
the same for what has no state.
"""

import ctypes
import weakref
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.errors import OptionError, ShapeError, StateError, ThroughtimeError
from throughtime.kernels import library, operators
from throughtime.state import State

Memory = TypeVar("Memory", np.ndarray, Tensor)
"""A NumPy array or a torch tensor; what comes in decides what comes out."""


class Stepper:
    """Steps lanes of a layer in evaluation, on its reference; the base of faster ones.

    The weights are those at the time it was made. Each lane starts from `initial_state`.

    Args:
        layer: F and D are its sizes.
        lanes: B, how many streams it holds.

    Example:
        >>> import throughtime as tt
        >>> stepper = tt.GRU(2, 3).stepper(4)
        >>> y = stepper.step(np.zeros((4, 2), dtype=np.float32))
        >>> y = stepper.step(np.zeros((1, 2), dtype=np.float32), lanes=np.array([2]))
        >>> y.shape, stepper.state.h.shape
        ((1, 3), torch.Size([4, 3]))
    """

    def __init__(self, layer: Any, lanes: int) -> None:
        if lanes < 1:
            raise OptionError(f"expected lanes of 1 or more in a stepper, got {lanes}")
        self.lanes = lanes
        self.input_size: int = layer.input_size
        self.output_size: int = layer.output_size
        self._y = torch.empty(lanes, layer.output_size)
        self._y_array = self._y.numpy()
        self._begin(layer)

    def step(
        self, x: Memory, *, lanes: Memory | None = None, resets: Memory | None = None
    ) -> Memory:
        """Step some or all lanes.

        Args:
            x: (n, F) float32, dense: one row for each lane that is stepped.
            lanes: (n,) int64: which lanes they are, none twice; lanes 0 to n - 1 when None.
            resets: (n,) bool: rows whose lane starts from `initial_state` instead.

        Returns:
            y (n, D), in memory that the next step overwrites.

        Raises:
            ShapeError: when an argument has another shape, dtype or layout.
        """
        count = len(x)
        if x.shape != (count, self.input_size) or not 0 < count <= self.lanes:
            raise ShapeError(
                f"expected x as (n, F) with F = {self.input_size} and n of 1 to {self.lanes} "
                f"lanes, got {tuple(x.shape)}"
            )
        if isinstance(x, np.ndarray):
            if x.dtype != np.float32 or not x.flags.c_contiguous:
                raise _layout(x.dtype)
            y: Any = self._y_array
        else:
            if x.dtype != torch.float32 or not x.is_contiguous() or x.device.type != "cpu":
                raise _layout(x.dtype)
            y = self._y
        for name, given, kinds in (("lanes", lanes, _WHOLE), ("resets", resets, _FLAGS)):
            if given is not None and (given.dtype not in kinds or given.shape != (count,)):
                raise ShapeError(
                    f"expected {name} as (n,) {kinds[0]} with n = {count}, got "
                    f"{tuple(given.shape)} {given.dtype}"
                )
        self._step(x, lanes, resets, count)
        return y if count == self.lanes else y[:count]  # type: ignore[no-any-return]

    @property
    def state(self) -> State:
        """A copy of the state of all lanes."""
        return states.tree_map(torch.clone, self._view())

    @state.setter
    def state(self, state: State) -> None:
        """Set the state of all lanes, copying it.

        Raises:
            StateError: when it is not of this layer or has another number of lanes.
        """
        own = self._view()
        if states.spec(own) != states.spec(state) or states.lanes(state) != self.lanes:
            raise StateError(
                f"expected a state of {self.lanes} lanes with leaves {states.spec(own)}, got "
                f"{states.lanes(state)} with {states.spec(state)}"
            )
        states.tree_map(lambda leaf, new: leaf.copy_(new), own, states.detach(state))

    def _begin(self, layer: Any) -> None:
        self._layer = layer
        with torch.no_grad():
            self._state = states.tree_map(torch.clone, layer.initial_state(self.lanes))

    def _view(self) -> State:
        return self._state

    def _step(self, x: Any, lanes: Any, resets: Any, count: int) -> None:
        index = torch.arange(count) if lanes is None else torch.as_tensor(lanes)
        if (
            len(set(index.tolist())) < count
            or int(index.min()) < 0
            or int(index.max()) >= self.lanes
        ):
            raise _wrong_lanes(lanes, self.lanes)
        with torch.no_grad():
            y, after = self._layer.step(
                torch.as_tensor(x),
                states.take(self._state, index),
                reset=None if resets is None else torch.as_tensor(resets),
            )
            self._state = states.put(self._state, index, after)
            self._y[:count] = y


class NativeStepper(Stepper):
    """Steps lanes of a classic cell in the native kernels."""

    def _begin(self, layer: Any) -> None:
        self._library = library.load()
        self._state_class = layer.state_class
        weights = (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        view, _kept = operators.view_of_layer(layer.cell, False, *weights)
        with torch.no_grad():
            rows = [leaf[0].contiguous() for leaf in layer.initial_state(1)]
        restart = [row.data_ptr() for row in rows] + [None] * (2 - len(rows))
        handle = self._library.tt_stepper_new(ctypes.byref(view), self.lanes, *restart)
        if not handle:
            raise ThroughtimeError(
                f"expected free memory for a stepper of {self.lanes} lanes, got less; use fewer"
            )
        self._handle = handle
        weakref.finalize(self, self._library.tt_stepper_free, handle)
        self._advance = self._library.tt_stepper_step
        self._out = self._y.data_ptr()

    @property
    def memory(self) -> State:
        """The state of all lanes where it lies: what is written there is what the lanes hold.

        It is there as long as the stepper is.
        """
        return self._view()

    def _view(self) -> State:
        size = self.lanes * self.output_size
        addresses = (
            self._library.tt_stepper_h(self._handle),
            self._library.tt_stepper_c(self._handle),
        )
        leaves = [
            torch.frombuffer(
                (ctypes.c_float * size).from_address(address), dtype=torch.float32
            ).view(self.lanes, self.output_size)
            for address in addresses
            if address
        ]
        return self._state_class(*leaves)

    def _step(self, x: Any, lanes: Any, resets: Any, count: int) -> None:
        if lanes is not None or resets is not None:
            # Kept in variables, so that they live as long as the call.
            lanes, resets = _dense(lanes), _dense(resets)
        code = self._advance(
            self._handle, count, _address(lanes), _address(x), _address(resets), self._out
        )
        if code:
            raise _wrong_lanes(lanes, self.lanes)


class LinearMap:
    """A linear map with its weights packed by the native kernels, as they are when it is made.

    Unlike that of `nn.Linear`, a row's result does not depend on the rows beside it, bit for bit.

    Args:
        linear: from I to O features, float32 on the CPU.

    Example:
        >>> from throughtime.kernels import library
        >>> linear = nn.Linear(3, 2)
        >>> x = np.ones((4, 3), dtype=np.float32)
        >>> library.why_missing() is not None or LinearMap(linear).apply(x).shape == (4, 2)
        True
    """

    def __init__(self, linear: nn.Linear) -> None:
        self.input_size, self.output_size = linear.in_features, linear.out_features
        self._library = library.load()
        weight = linear.weight.detach().contiguous()
        bias = None if linear.bias is None else linear.bias.detach().contiguous()
        handle = self._library.tt_map_new(
            self.input_size, self.output_size, _address(weight), _address(bias)
        )
        if not handle:
            raise ThroughtimeError("expected free memory for a linear map, got less; free some")
        self._handle = handle
        weakref.finalize(self, self._library.tt_map_free, handle)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Map rows.

        Args:
            x: (n, I) float32, dense.

        Returns:
            y (n, O).

        Raises:
            ShapeError: when x has another shape, dtype or layout.
        """
        fits = x.shape == (len(x), self.input_size) and x.dtype == np.float32
        if not fits or not x.flags.c_contiguous:
            raise ShapeError(
                f"expected x as dense float32 (n, I) with I = {self.input_size} in a linear map, "
                f"got {x.dtype} {x.shape}"
            )
        y = np.empty((len(x), self.output_size), dtype=np.float32)
        self._library.tt_map_apply(self._handle, len(x), _address(x), _address(y))
        return y


_WHOLE = (np.dtype(np.int64), torch.int64)
_FLAGS = (np.dtype(np.bool_), torch.bool)


def _address(memory: Any) -> int | None:
    if memory is None:
        return None
    if isinstance(memory, Tensor):
        return memory.data_ptr()
    address: int = memory.__array_interface__["data"][0]
    return address


def _dense(memory: Any) -> Any:
    return np.ascontiguousarray(memory) if isinstance(memory, np.ndarray) else memory


def _layout(dtype: object) -> ShapeError:
    return ShapeError(
        f"expected x as float32 in dense CPU memory in a stepper, got {dtype}; "
        "use np.ascontiguousarray(x, dtype=np.float32) or x.float().contiguous()"
    )


def _wrong_lanes(lanes: Any, count: int) -> ShapeError:
    return ShapeError(
        f"expected each of the lanes 0 to {count - 1} at most once, got {lanes[:8].tolist()}"
    )
