"""What the linter can find, and the report of it. Nothing here runs a model."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

BATCH_AND_TIME_SWAPPED = "batch-and-time-swapped"
UNBATCHED_INPUT = "unbatched-input"
SAMPLES_LEAK = "samples-leak"
STATE_REUSED = "state-reused"
STATE_NOT_DETACHED = "state-not-detached"
PADDING_CHANGES_RESULTS = "padding-changes-results"
READ_OUT_OF_PADDING = "read-out-of-padding"
NOT_CAUSAL = "not-causal"
NOISE_IN_EVALUATION = "noise-in-evaluation"
NO_CLIPPING = "no-clipping"
FORGET_BIAS_NEAR_ZERO = "forget-bias-near-zero"
LYAPUNOV_FAR_FROM_ZERO = "lyapunov-far-from-zero"

NAMES = (
    BATCH_AND_TIME_SWAPPED,
    UNBATCHED_INPUT,
    SAMPLES_LEAK,
    STATE_REUSED,
    STATE_NOT_DETACHED,
    PADDING_CHANGES_RESULTS,
    READ_OUT_OF_PADDING,
    NOT_CAUSAL,
    NOISE_IN_EVALUATION,
    NO_CLIPPING,
    FORGET_BIAS_NEAR_ZERO,
    LYAPUNOV_FAR_FROM_ZERO,
)


class Finding(NamedTuple):
    """One fault that was measured.

    Attributes:
        name: one of `NAMES`.
        figure: the measured value that `text` states.
        text: what was measured.
        mend: the code to write instead.
        where: name of the module in the model; empty for the model as a whole.
    """

    name: str
    figure: float
    text: str
    mend: str
    where: str = ""

    def __str__(self) -> str:
        place = f" in {self.where}" if self.where else ""
        return f"{self.name}{place}: {self.text}\n  mend: {self.mend}"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values; a figure that JSON has no word for is null."""
        figure = self.figure if math.isfinite(self.figure) else None
        return {**self._asdict(), "figure": figure}


class Skipped(NamedTuple):
    """A finding that could not be looked for, or not everywhere, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LintReport:
    """What the linter has found; print it to read it.

    Attributes:
        findings: in the order of `NAMES`.
        skipped: what could not be looked for, with the reason.

    Example:
        >>> report = LintReport((), (Skipped("no-clipping", "no train_step was given"),))
        >>> report.clean, report.checked[-1]
        (True, 'lyapunov-far-from-zero')
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of what was looked for."""
        missed = {each.name for each in self.skipped}
        return tuple(name for name in NAMES if name not in missed)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "clean": self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "checked": list(self.checked),
            "skipped": [skipped._asdict() for skipped in self.skipped],
        }

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        if self.clean:
            lines.append(f"clean: looked for {', '.join(self.checked)}")
        lines += [f"not checked: {each.name}: {each.reason}" for each in self.skipped]
        return "\n".join(lines)


def in_order(findings: list[Finding], skipped: list[Skipped]) -> LintReport:
    """Return the report, each part in the order of `NAMES`; what was found was not missed."""
    found = {each.name for each in findings}
    skipped = [each for each in skipped if each.name not in found]
    return LintReport(
        tuple(sorted(findings, key=lambda each: NAMES.index(each.name))),
        tuple(sorted(set(skipped), key=lambda each: (NAMES.index(each.name), each.reason))),
    )
