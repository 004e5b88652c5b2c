"""From a trained run to what runs without Python: C, verified before it is done."""

from throughtime.export.c.exporting import to_c
from throughtime.export.exported import Exported
from throughtime.export.gate import MismatchError, Verdict, verify

__all__ = ["Exported", "MismatchError", "Verdict", "to_c", "verify"]
