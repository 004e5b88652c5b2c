"""The experiments, a file each, in the order of the lesson."""

import difflib
from importlib import import_module

from throughtime.errors import OptionError
from throughtime.lab.experiment import Experiment

SECTIONS = {
    "build-up": (
        "order-matters",
        "fixed-window-against-recurrence",
        "what-the-hidden-state-holds",
        "truncated-bptt-window",
        "bptt-by-hand",
        "vanishing-and-exploding",
        "fused-loop",
        "alternatives",
    ),
    "why designed so": ("shared-weights", "any-length"),
    "myths": ("perfect-memory", "parallel-or-step-by-step", "fixed-memory", "always-best"),
    "expert remarks": (
        "compressed-summary",
        "sharing-and-long-dependencies",
        "clipping-and-initialisation",
    ),
    "when and where": (
        "gates-and-their-bias",
        "streaming-cost",
        "forecast-honestly",
        "what-recurrence-does-better",
    ),
    "connections": ("markov-chain", "working-memory", "state-machine", "fixed-points"),
    "pitfalls": (
        "shapes",
        "stale-state",
        "no-clipping",
        "padding",
        "train-deploy-mismatch",
        "beyond-the-training-length",
        "lyapunov-predicts-gradients",
    ),
}
"""Names by section, in the order of the page that the lesson follows."""


def names() -> tuple[str, ...]:
    """Return the name of every experiment, in order."""
    return tuple(name for section in SECTIONS.values() for name in section)


def find(name: str) -> Experiment:
    """Return an experiment.

    Raises:
        OptionError: when there is none of that name.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "`throughtime lab list` shows all"
        raise OptionError(f"expected the name of an experiment, got {name!r}; {hint}")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
