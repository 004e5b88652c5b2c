"""A small way of breaking the native kernels."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """In a file of native/, `old` is there exactly once and becomes `new`."""

    name: str
    file: str
    old: str
    new: str
