"""Noise where there should be none: two runs in evaluation mode that differ."""

import torch

from throughtime.inspect.lint import findings as names
from throughtime.inspect.lint.findings import Finding
from throughtime.inspect.lint.hooks import hooked, tensors_in
from throughtime.inspect.lint.probing import SAME_SHAPE, Probe


class Noise:
    """How two runs on the same input differ.

    Args:
        probe: the model and its batch, already run.

    Attributes:
        figure: the largest difference of an output.
        seeded: whether equal seeds give equal outputs, so that inputs can still be compared.
    """

    def __init__(self, probe: Probe) -> None:
        everywhere = torch.ones(probe.y.shape[:1], dtype=torch.bool)
        small = probe.tolerance(SAME_SHAPE)
        same = probe.first_change(probe.outputs(probe.x), everywhere).figure
        other = probe.first_change(probe.outputs(probe.x, seed=1), everywhere).figure
        self.figure = max(same, other)
        self.seeded = same <= small
        self.found = self.figure > small


def find_noise(probe: Probe, noise: Noise) -> list[Finding]:
    """Find outputs that differ between two calls in evaluation mode."""
    if not noise.found:
        return []
    spread = float(probe.y.double().std(correction=0))
    return [
        Finding(
            names.NOISE_IN_EVALUATION,
            noise.figure,
            f"two calls in eval() on the same batch differ by {noise.figure:.2g}, where outputs "
            f"spread by {spread:.2g}",
            "write F.dropout(x, p, training=self.training) or nn.Dropout(p), and add noise only "
            "`if self.training`",
            _where(probe),
        )
    ]


def _where(probe: Probe) -> str:
    """Return the first module whose outputs differ; empty for the model itself."""
    runs = []
    for seed in (0, 1):
        calls: list[tuple[str, list[torch.Tensor]]] = []

        def note(
            name: str, module: object, given: object, named: object, result: object,
            calls: list[tuple[str, list[torch.Tensor]]] = calls,
        ) -> None:  # fmt: skip
            calls.append((name, [each.detach().clone() for each in tensors_in(result)]))

        with hooked(probe.model, note):
            probe.run(probe.x, seed=seed)
        runs.append(calls)
    first, second = runs
    for (name, before), (_, after) in zip(first, second, strict=False):
        if not all(torch.equal(a, b) for a, b in zip(before, after, strict=False)):
            return name
    return ""
