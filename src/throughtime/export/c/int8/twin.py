"""The twin: a model in whole numbers, run by NumPy, with the very bits that the C gives.

It is the C read aloud: `IntegerNetwork.step` calls one function a layer, as `network` does, and
each of them has a file in `source/` beside it. Lanes are side by side in arrays; what one lane
gives does not depend on the others.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from throughtime.export.c.int8.layer import Lanes
from throughtime.export.c.int8.network import IntegerNetwork


class Twin:
    """Runs lanes with the state of each carried from call to call, as the gate's `Runner` says.

    Args:
        network: what is run.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self._network = network
        self._first = {name: leaf.astype(np.int64) for name, leaf in network.start().items()}
        self._state: Lanes = {}

    def begin(self, lanes: int) -> None:
        """Have so many lanes, all before their first step."""
        self._state = {name: np.tile(leaf, (lanes, 1)) for name, leaf in self._first.items()}

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps: inputs (B, T, F) or (B, T), present and resets (B, T) bool, to (B, T, O)."""
        given, there, afresh = inputs.numpy(), present.numpy(), resets.numpy()
        return torch.from_numpy(
            np.stack(
                [self._step(given[:, t], there[:, t], afresh[:, t]) for t in range(given.shape[1])],
                axis=1,
            )
        )

    def state(self) -> Mapping[str, Tensor]:
        """Return the leaves (B, N) of the lanes' states."""
        return {name: torch.from_numpy(leaf) for name, leaf in self._state.items()}

    def _step(self, inputs: np.ndarray, there: np.ndarray, afresh: np.ndarray) -> np.ndarray:
        if afresh.any():
            for name, leaf in self._state.items():
                self._state[name] = np.where(afresh[:, None], self._first[name], leaf)
        before = dict(self._state)
        outputs = self._network.step(self._state, inputs)
        if not there.all():
            for name, leaf in self._state.items():
                self._state[name] = np.where(there[:, None], leaf, before[name])
        return outputs
