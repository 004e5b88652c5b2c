"""What a recurrent model does over time, measured: states, gates, gradients, memory, automata."""

from throughtime.inspect.automaton import Automaton
from throughtime.inspect.capacity import MemoryCapacity, memory_capacity
from throughtime.inspect.context import ContextCurve, order, usage
from throughtime.inspect.drawing import to_svg
from throughtime.inspect.extraction import Extraction, Recogniser, extract_automaton, fidelity
from throughtime.inspect.gradients import GradientByLag, gradient_by_lag, state_gradients
from throughtime.inspect.lyapunov import lyapunov_exponents
from throughtime.inspect.patch import run_patched
from throughtime.inspect.replay import replay

__all__ = [
    "Automaton",
    "ContextCurve",
    "Extraction",
    "GradientByLag",
    "MemoryCapacity",
    "Recogniser",
    "extract_automaton",
    "fidelity",
    "gradient_by_lag",
    "lyapunov_exponents",
    "memory_capacity",
    "order",
    "replay",
    "run_patched",
    "state_gradients",
    "to_svg",
    "usage",
]
