"""The report of a trained run: what its model does over time, on one page and as JSON."""

from throughtime.inspect.report.contents import Report, report
from throughtime.inspect.report.reading import NotMeasured

__all__ = ["NotMeasured", "Report", "report"]
