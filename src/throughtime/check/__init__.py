"""Does a trained run do in use what it did in training, however it is run?

`check` answers with a `Report`. It holds a run against what was recorded when it was trained,
against itself run in other ways, and against itself run much longer. Laws of single layers are
checked by `throughtime.testing`.
"""

from throughtime.check.report import Item, Report
from throughtime.check.whole import check

__all__ = ["Item", "Report", "check"]
