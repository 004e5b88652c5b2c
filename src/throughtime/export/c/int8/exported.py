"""What an export in whole numbers gives back: besides the usual, what it costs."""

from dataclasses import asdict, dataclass
from typing import Any

from throughtime.export.c.int8.judging import ALLOWED, Beside, Drift
from throughtime.export.exported import Exported


@dataclass(frozen=True)
class IntegerExported(Exported):
    """A finished export in whole numbers, equal to its twin.

    Attributes:
        calibration: what the sizes of numbers were taken from.
        figures: of the run and of the export; empty where there was no data.
        drift: how far the outputs are apart after many steps.
    """

    calibration: str
    figures: tuple[Beside, ...]
    drift: tuple[Drift, ...]

    @property
    def warning(self) -> str:
        """What must be said about the figures, or empty."""
        bad = [each for each in self.figures if each.worse > ALLOWED]
        if not bad:
            return ""
        worst = max(bad, key=lambda each: each.worse)
        return (
            f"warning: expected figures at most {ALLOWED:.0%} worse than those of the run, got "
            f"{worst}; calibrate on numbers as large as those to come, or export float32"
        )

    @property
    def report(self) -> str:
        """Sizes and costs, in lines."""
        lines = [str(self.size), f"calibrated on {self.calibration}"]
        if self.figures:
            lines.append(f"float32 -> int8: {'; '.join(map(str, self.figures))}")
        else:
            lines.append("float32 -> int8: no data to compare figures on")
        lines.append(
            f"largest (typical) distance of outputs from float32: {'; '.join(map(str, self.drift))}"
        )
        return "\n".join([*lines, *filter(None, [self.warning])])

    def __str__(self) -> str:
        files = ", ".join(self.files)
        return f"{files} in {self.path}\nverified: {self.verdict}\n{self.report}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **super().to_json(),
            "numbers": "int8",
            "calibration": self.calibration,
            "figures": [{**asdict(each), "worse": each.worse} for each in self.figures],
            "drift": [asdict(each) for each in self.drift],
            "warning": self.warning,
        }
