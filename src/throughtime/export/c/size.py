"""How large an export is: bytes of flash and of memory, as a compiler makes them."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from throughtime.errors import OptionError
from throughtime.export.c.compiler import compile_c, find_compiler
from throughtime.export.c.program import Program

CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
"""The flags for a Cortex-M4 with its floating-point unit."""

_ALLOWED = 256
"""Bytes of memory beyond state and gates that an export may take."""

_SMALL = ("-std=c99", "-Os", "-fno-asynchronous-unwind-tables", "-fno-pic")
_ARM = "arm-none-eabi-gcc"
_NODE = re.compile(r'title: "(?P<name>[^"]+)".*?(?P<bytes>\d+) bytes')
_EDGE = re.compile(r'sourcename: "([^"]+)" targetname: "([^"]+)"')


@dataclass(frozen=True)
class Size:
    """Bytes of an export for one machine.

    Attributes:
        target: the machine and the flags.
        flash: of `.text` and `.rodata`, the weights among them.
        state: of one `model_state`.
        stack: of the deepest call; None where the compiler does not tell.
        bar: what a state and the stack may take together: the state without what is there for whole
            blocks only, a number of 32 bits for each of the widest layer's gates, and 256 bytes.
    """

    target: str
    flash: int
    state: int
    stack: int | None
    bar: int

    @property
    def memory(self) -> int | None:
        """Bytes of a state and the stack together."""
        return None if self.stack is None else self.state + self.stack

    @property
    def holds(self) -> bool:
        """Whether memory is within the bar, as far as it is known."""
        return self.memory is None or self.memory <= self.bar


@dataclass(frozen=True)
class SizeReport:
    """How large an export is.

    Attributes:
        parameters: how many numbers the model learned.
        weights: bytes of all constants, weights first of all.
        machines: for this machine, and for a Cortex-M4 where its compiler is installed.
    """

    parameters: int
    weights: int
    machines: tuple[Size, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        found = asdict(self)
        for machine, size in zip(found["machines"], self.machines, strict=True):
            machine["holds"] = size.holds
        return found

    def __str__(self) -> str:
        lines = [f"{self.parameters:,} parameters; {self.weights:,} bytes of constants"]
        for size in self.machines:
            stack = ""
            if size.memory is not None:
                how = "within" if size.holds else "over"
                stack = f", stack {size.stack:,}; together {how} {size.bar:,}"
            lines.append(
                f"{size.target}: flash {size.flash:,} bytes (code {size.flash - self.weights:,}), "
                f"state {size.state:,} a stream{stack}"
            )
        return "\n".join(lines)


def measure(folder: Path, parameters: int, program: Program) -> SizeReport:
    """Compile the export of a folder for size and measure it.

    Args:
        folder: where `model.c` is; objects are put there too.
        parameters: of the model.
        program: the network, with the constants of all that is around it.
    """
    weights = sum(table.values.nbytes for table in program.tables)
    more = 4 * program.widest + _ALLOWED - program.padding()
    machines = [_measure(folder, find_compiler(), (), "this machine, -Os", more)]
    if shutil.which(_ARM):
        machines.append(_measure(folder, (_ARM,), CORTEX_M4, "Cortex-M4F, -Os", more))
    return SizeReport(parameters, weights, tuple(found for found in machines if found))


def _measure(
    folder: Path, compiler: Sequence[str], flags: Sequence[str], target: str, more: int
) -> Size | None:
    model, probe = folder / "model.o", folder / "probe.o"
    source = folder / "probe.c"
    source.write_text('#include "model.h"\nchar size[sizeof(model_state)] = {1};\n')
    stack = None
    try:
        compile_c([folder / "model.c"], model, ["-c", *_SMALL, *flags], compiler)
        compile_c([source], probe, ["-c", *_SMALL, *flags], compiler)
        sections, of_probe = _sections(compiler, model), _sections(compiler, probe)
    except (OptionError, OSError):
        return None
    with suppress(OptionError, OSError):  # A compiler other than gcc does not tell.
        told = ["-c", *_SMALL, *flags, "-fcallgraph-info=su"]
        compile_c([folder / "model.c"], model, told, compiler)
        stack = _deepest((folder / "model.ci").read_text())
    flash = sum(size for name, size in sections if name.startswith((".text", ".rodata")))
    state = sum(size for name, size in of_probe if name.startswith(".data"))
    return Size(target, flash, state, stack, state + more)


def _sections(compiler: Sequence[str], file: Path) -> list[tuple[str, int]]:
    """Return the sections of an object and their sizes, as the compiler's own `size` tells."""
    tool = f"{compiler[0].removesuffix('gcc')}size" if compiler[0].endswith("-gcc") else "size"
    done = subprocess.run([tool, "-A", str(file)], capture_output=True, text=True, check=True)
    found = re.findall(r"^(\.\S+)\s+(\d+)", done.stdout, re.MULTILINE)
    return [(name, int(size)) for name, size in found]


def _deepest(graph: str) -> int:
    """Return the bytes of stack on the deepest path of a call graph."""
    own = {found["name"]: int(found["bytes"]) for found in _NODE.finditer(graph)}
    calls: dict[str, set[str]] = {}
    for caller, called in _EDGE.findall(graph):
        calls.setdefault(caller, set()).add(called)

    def depth(name: str) -> int:
        deeper = (depth(called) for called in calls.get(name, ()))
        return own.get(name, 0) + max(deeper, default=0)

    return max(map(depth, own), default=0)
