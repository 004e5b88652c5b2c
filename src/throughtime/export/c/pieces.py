"""The C functions that are written once and for all: one a file of `source/`, and what each needs.

Those of whole numbers are in `int8/source/`, and come before others of the same name.

A piece needs another when it says its name. What depends on the model is a word in braces, such as
`{HORIZON}`, and lines between `#if NAME` and `#endif` are there for models of which NAME is true.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

Words = Mapping[str, str] | Mapping[str, str | int]

_WORD = re.compile(r"\b[a-z]\w*\b")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# The innermost ones, which have no other within them.
_CONDITION = re.compile(r"^#if ([A-Z]+)\n((?:(?!#if [A-Z]+\n).*\n)*?)#endif\n", re.MULTILINE)


def text_of(name: str, numbers: str = "float32") -> str:
    """Return a file of `source/`."""
    return _texts(numbers)[name]


def filled(name: str, words: Words, numbers: str = "float32") -> str:
    """Return a file of `source/` with what depends on the model filled in.

    Args:
        name: of the file.
        words: what stands for each word in braces; conditions are words too, 0 where false.
        numbers: the kind that the model computes in.
    """
    text, found = text_of(name, numbers), 1
    while found:
        text, found = _CONDITION.subn(lambda part: part[2] if words[part[1]] else "", text)
    return re.sub(r"\{([A-Z_]+)\}", lambda part: str(words[part[1]]), text)


def gathered(roots: Iterable[str], given: Mapping[str, str], numbers: str = "float32") -> list[str]:
    """Return the pieces that texts need, each after those that it needs itself.

    Args:
        roots: the texts.
        given: pieces that were made for this model, by name; the others are files.
        numbers: the kind that the model computes in.
    """
    ordered: list[str] = []
    seen: set[str] = set()

    def visit(text: str) -> None:
        for name in _WORD.findall(_COMMENT.sub("", text)):
            if name not in seen and (name in given or f"{name}.c" in _texts(numbers)):
                seen.add(name)
                piece = given.get(name) or text_of(f"{name}.c", numbers)
                visit(piece)
                ordered.append(piece)

    for text in roots:
        visit(text)
    return ordered


@cache
def _texts(numbers: str) -> Mapping[str, str]:
    folders = [files("throughtime.export.c").joinpath("source")]
    if numbers == "int8":
        folders.append(files("throughtime.export.c.int8").joinpath("source"))
    return {
        file.name: file.read_text()
        for folder in folders
        for file in folder.iterdir()
        if file.is_file()
    }
