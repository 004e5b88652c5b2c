"""Every claim about why recurrent networks handle sequences, as an experiment that anyone can run.

`throughtime lab list`, `throughtime lab run NAME`, `throughtime lab serve`; from Python:

    >>> from throughtime import lab
    >>> lab.find("order-matters").interval
    (0.97, 1.0)
"""

from throughtime.lab.experiment import SEEDS, Experiment, Knob, Outcome, Question
from throughtime.lab.experiments import SECTIONS, find, names
from throughtime.lab.result import Result
from throughtime.lab.running import Progress, run

__all__ = [
    "SECTIONS",
    "SEEDS",
    "Experiment",
    "Knob",
    "Outcome",
    "Progress",
    "Question",
    "Result",
    "find",
    "names",
    "run",
]
