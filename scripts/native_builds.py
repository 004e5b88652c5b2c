"""Builds of native/ in folders of their own, and the tests run against one; for the other scripts.

Needs CMake and a C++ compiler on the PATH.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "kernels"
NAMES = ("libthroughtime.so", "libthroughtime.dylib")


class BuildError(Exception):
    """The sources don't compile; the message is the compiler's."""


@dataclass(frozen=True)
class Build:
    """A copy of the sources in `folder`, and what it is built with."""

    folder: Path
    options: Mapping[str, str]

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "native", self.sources)
        shutil.copy(ROOT / "CMakeLists.txt", self.folder)
        defined = [f"-D{name}={value}" for name, value in self.options.items()]
        _run(["cmake", "-S", str(self.folder), "-B", str(self.folder / "build"), *defined])

    @property
    def sources(self) -> Path:
        """The copy of native/."""
        return self.folder / "native"

    def make(self) -> Path:
        """Compile what has changed and return the library."""
        _run(["cmake", "--build", str(self.folder / "build"), "--parallel"])
        found = [path for name in NAMES if (path := self.folder / "build" / name).is_file()]
        return found[0]


def test_files(*patterns: str) -> list[str]:
    """The files of tests/kernels that match, in the order of the patterns, each once."""
    files = [path for pattern in patterns for path in sorted(TESTS.glob(pattern))]
    return list(dict.fromkeys(str(path.relative_to(ROOT)) for path in files))


def pytest_command(*arguments: str) -> list[str]:
    """The command for a run of quick tests, without checks of types or a search for examples."""
    own = ["-o", "addopts=", "-m", "not slow", "-p", "no:cacheprovider"]
    told = ["--hypothesis-profile=unshrunk", "--tb=short", "-v", "-ra"]
    return [sys.executable, "-m", "pytest", *own, *told, *arguments]


def environment_for(library: Path, **more: str) -> dict[str, str]:
    """The environment of a process that is to load this library."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return {**plain, "THROUGHTIME_LIBRARY": str(library), **more}


def replace_once(path: Path, old: str, new: str) -> str:
    """Replace what must be there exactly once, and return what the file was before."""
    text = path.read_text()
    if (count := text.count(old)) != 1:
        raise SystemExit(
            f"expected {old!r} once in native/{path.name}, got it {count} times; "
            "the source has moved on: change the text in this script, too"
        )
    path.write_text(text.replace(old, new))
    return text


def _run(command: Sequence[str]) -> None:
    if shutil.which(command[0]) is None:
        raise SystemExit(f"expected {command[0]} on the PATH, got none")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stdout[-3000:] + done.stderr[-3000:])
