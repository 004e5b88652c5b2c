"""The text of `model.h` and `model.c`: a program of layers with the task around it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from throughtime import __version__
from throughtime.export.c.pieces import filled, gathered, text_of
from throughtime.export.c.program import Program, Table, number

_C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "uint32": "uint32_t",
    "int16": "int16_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
}

_STATE_TYPES = {"float32": "float", "int32": "int32_t", "int16": "int16_t"}

_INDENT = "    "
_COLUMNS = 100

_HEAD = """\
/* A {kind} model: {layer}.
   Written by throughtime {version}; docs/export.md of throughtime says what is in here. */
"""

_USE = """\
/* A stream is a `model_state`, which `model_init` begins. The functions allocate nothing, take no
   lock and keep nothing between calls but in that state; their constants are const, and may lie in
   flash. So threads, tasks and interrupts may call them at once, each with states of its own. No
   pointer may be NULL where nothing is said of it. The bytes of a state are for who has the same
   MODEL_FINGERPRINT, machine and compiler. */
"""

_NEEDS = """\
#include <string.h>

#include "model.h"

/* Nothing of libm is needed. Missing values are NaN, and rounding is part of the approximations, so
   what follows can't be compiled with arithmetic of any other kind than that of C. */
#if defined(__FAST_MATH__)
#error "compile without -ffast-math"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ > 1
#error "compile for arithmetic in float, as by -msse2 -mfpmath=sse"
#endif
"""

_SHIFTS = """\
#if (-3 >> 1) != -2
#error "compile where >> of a negative number rounds down"
#endif
"""


@dataclass
class Around:
    """What a task adds to a network.

    Attributes:
        kind: name of the task.
        words: for the files named after the task.
        tables: its constants.
        names: constant texts, by the name of their array.
        pieces: C functions made for this model, by name.
    """

    kind: str
    words: dict[str, str | int]
    tables: list[Table] = field(default_factory=list)
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    pieces: dict[str, str] = field(default_factory=dict)


def write_header(program: Program, around: Around, layer: str) -> str:
    """Return `model.h`."""
    fields = [
        f"{_INDENT}{_STATE_TYPES[str(leaf.start.dtype)]} {name}[{leaf.room}];"
        for leaf in program.fields()
        for name in leaf.names
    ]
    words = _words(program, around) | {"FIELDS": "\n".join(fields)}
    body = filled(f"{around.kind}_model.h", words)
    return "\n".join(
        [
            _head(around, layer) + "#ifndef MODEL_H\n#define MODEL_H\n",
            "#include <stddef.h>\n#include <stdint.h>\n",
            _USE,
            '#ifdef __cplusplus\nextern "C" {\n#endif\n',
            body,
            "#ifdef __cplusplus\n}\n#endif\n",
            "#endif\n",
        ]
    )


def write_source(program: Program, around: Around, layer: str, y: str) -> str:
    """Return `model.c`.

    Args:
        program: the network.
        around: the task.
        layer: the layers, for people.
        y: how the network's statements get at its output.
    """
    network, passed = _network(program, y)
    start = [
        f"{_INDENT}memcpy(state->{name}, {name}_start, sizeof {name}_start);"
        for leaf in program.leaves
        if leaf is not None and leaf.start.any()
        for name in leaf.names
    ]
    starts = [
        Table(f"{leaf.names[0]}_start", leaf.start, "what a state starts from")
        for leaf in program.leaves
        if leaf is not None and leaf.start.any()
    ]
    words = _words(program, around) | passed | {"START": "\n".join(start)}
    body = filled(f"{around.kind}_model.c", words).replace("\n\n}", "\n}")
    constants = "\n".join(map(_wrapped, program.layers)) + "\n"
    given = around.pieces | program.pieces | _products(program)
    pieces = gathered([constants, network, body], given, program.numbers)
    tables = [*program.tables, *starts]
    blocks = program.best_blocks() | program.blocks
    sizes = f"#define MOST_UNITS {program.most_units} /* of a layer, in whole blocks */\n"
    if program.most_states > 1:
        sizes += f"#define MOST_STATES {program.most_states} /* of a unit */\n"
        sizes += f"#define MOST_RANK {program.most_rank} /* of what step lengths are made of */\n"
    for name, size in sorted(blocks.items()):
        sizes += f"#define {name} {size} /* units of a block, by the sums that each has */\n"
    declarations = [_declared(table) + ";" for table in tables]
    names = [_texts(name, texts) for name, texts in around.names.items()]
    return "\n".join(
        [
            _head(around, layer) + _NEEDS + _SHIFTS * (program.numbers != "float32"),
            sizes,
            "/* The numbers are at the end of the file. */",
            "\n".join(declarations) + "\n",
            *names,
            *pieces,
            constants,
            network,
            body,
            *map(defined, tables),
        ]
    )


def _network(program: Program, y: str) -> tuple[str, dict[str, str | int]]:
    """Return the function that makes a step, and words about how its output is passed on.

    The output of the upmost layer is in the state, or in a buffer of the caller's.
    """
    own, number = dict(program.buffers), program.number
    buffered = own.pop(y, None) is not None
    passed: dict[str, str | int] = {
        "Y": y,
        "BUFFERED": int(buffered),
        "OUT_PARAMETER": f", {number} *{y}" if buffered else "",
        "IN_PARAMETER": f",\n                          const {number} *{y}" if buffered else "",
        "ARGUMENT": f", {y}" if buffered else "",
    }
    lines = [f"{_INDENT}{kind} {name}[{room}];" for name, (kind, room) in own.items()]
    lines += [_INDENT + call for call in program.calls]
    parameters = f"model_state *state, {program.features}{passed['OUT_PARAMETER']}"
    about = "/* A step of the layers, from the input up. */"
    body = "\n".join(lines)
    return f"{about}\nstatic void network({parameters})\n{{\n{body}\n}}\n", passed


def _words(program: Program, around: Around) -> dict[str, str | int]:
    whole = int(program.numbers != "float32")
    return around.words | {"NUMBER": program.number, "WHOLE": whole, "FLOATING": 1 - whole}


def _products(program: Program) -> dict[str, str]:
    """Return `product`, which picks the function for a width, with those functions before it."""
    if not program.widths:
        return {}
    widths = sorted(program.widths, reverse=True)
    cases = [
        f"{_INDENT}case {width}:\n{_INDENT * 2}return product_{width}(sums, rows, x, count);"
        for width in widths[1:]
    ]
    words: dict[str, str | int] = {"CASES": "\n".join(cases), "WIDEST": widths[0]}
    functions = [filled("product_of_width.c", {"WIDTH": width}) for width in widths]
    return {
        "product": "\n".join(
            [
                text_of("product_note.c") + functions[0],
                *functions[1:],
                filled("product_of_any.c", words),
            ]
        )
    }


def _wrapped(line: str) -> str:
    """Return a definition in two lines where one is too long."""
    if len(line) <= _COLUMNS or "\n" in line:
        return line
    return line.replace("{", "{\n" + _INDENT).replace("}", ",\n}")


def _head(around: Around, layer: str) -> str:
    return _HEAD.format(kind=around.kind, layer=layer, version=__version__)


def _declared(table: Table) -> str:
    sizes = "".join(f"[{size}]" for size in table.values.shape)
    return f"static const {_C_TYPES[str(table.values.dtype)]} {table.name}{sizes}"


def defined(table: Table) -> str:
    """Return the definition of a table, six numbers a line, or one row a line."""
    values = table.values
    if values.ndim == 2:
        lines = [f"{{{', '.join(_numbers(row))}}}" for row in values]
    else:
        written = _numbers(values)
        lines = [", ".join(written[place : place + 6]) for place in range(0, len(written), 6)]
    body = ",\n".join(_INDENT + line for line in lines)
    return f"/* {table.about} */\n{_declared(table)} = {{\n{body},\n}};\n"


def _numbers(values: np.ndarray) -> list[str]:
    if values.dtype == np.float32:
        return [number(value) for value in values.tolist()]
    if values.dtype == np.float64:
        return [repr(value) for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _texts(name: str, texts: Sequence[str]) -> str:
    lines = [f"{_INDENT}{quoted(text)}," for text in texts]
    return "\n".join([f"static const char *const {name}[] = {{", *lines, "};", ""])


def quoted(text: str) -> str:
    """Return a text as a string literal of C, in UTF-8."""
    shown = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "surrogatepass")
    )
    return f'"{shown}"'
