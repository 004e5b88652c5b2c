"""What a recurrent model does over time, measured: states, gates, gradients, memory, automata."""

from throughtime.inspect.automaton import Automaton
from throughtime.inspect.capacity import MemoryCapacity, memory_capacity
from throughtime.inspect.context import ContextCurve, order, usage
from throughtime.inspect.drawing import to_svg
from throughtime.inspect.dynamics import (
    Components,
    FixedPoints,
    fixed_points,
    principal_components,
    saturation,
)
from throughtime.inspect.extraction import Extraction, Recogniser, extract_automaton, fidelity
from throughtime.inspect.gradients import GradientByLag, gradient_by_lag, state_gradients
from throughtime.inspect.health import HealthCheck, Initialisation, health_check
from throughtime.inspect.lint import Finding, LintReport, lint, lint_run
from throughtime.inspect.lyapunov import lyapunov_exponents
from throughtime.inspect.memory import MemoryReport, memory_report
from throughtime.inspect.patch import run_patched
from throughtime.inspect.replay import replay
from throughtime.inspect.report import Report, report

__all__ = [
    "Automaton",
    "Components",
    "ContextCurve",
    "Extraction",
    "Finding",
    "FixedPoints",
    "GradientByLag",
    "HealthCheck",
    "Initialisation",
    "LintReport",
    "MemoryCapacity",
    "MemoryReport",
    "Recogniser",
    "Report",
    "extract_automaton",
    "fidelity",
    "fixed_points",
    "gradient_by_lag",
    "health_check",
    "lint",
    "lint_run",
    "lyapunov_exponents",
    "memory_capacity",
    "memory_report",
    "order",
    "principal_components",
    "replay",
    "report",
    "run_patched",
    "saturation",
    "state_gradients",
    "to_svg",
    "usage",
]
