"""How fast is it here, and how fast are its peers? Measured side by side, in the same run.

`run` gives a `Report` of figures: ours and the peer's in turn in one process, medians, their ratio,
and what is asked of it. A ratio is only given where both computed the same. Nothing here makes
anything faster; that is in `kernels`.
"""

from throughtime.bench.figure import Bar, Figure
from throughtime.bench.parts import PARTS
from throughtime.bench.report import Report
from throughtime.bench.whole import Progress, run

__all__ = ["PARTS", "Bar", "Figure", "Progress", "Report", "run"]
