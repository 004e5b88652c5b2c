"""Run every command of docs/ship.md, and write what each one said beneath it.

    python scripts/ship_page.py [--check]

The page's files are written into an empty folder, beside the rides of ../shared/data, and its
commands run there one after the other in one shell, with this environment's programs first. A
command that fails ends it, and so does one that warns of nothing and says nothing where the page
shows something. `--check` leaves the page as it is: figures differ from machine to machine.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ship.md"
RIDES = ROOT.parent / "shared" / "data" / "nab" / "nyc_taxi.csv"
BLOCK = re.compile(r"```(?P<kind>console|\w+ title=\"(?P<file>[\w.]+)\")\n(?P<body>.*?)```\n", re.S)
PROMPT, MORE = "$ ", "> "
END = "--- it ended with"
TIME_LIMIT = 600


class Shell:
    """A shell that runs one command after the other, and what they leave running until it ends."""

    def __init__(self, folder: Path) -> None:
        programs = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "100"}
        self._process = subprocess.Popen(
            ["timeout", "--kill-after=10", str(TIME_LIMIT), "bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        self._process.stdin.close()
        self._process.wait()

    def run(self, command: str) -> str:
        """Run a command and return what it printed.

        Raises:
            SystemExit: it failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho; echo '{END}' $?\n")
        self._process.stdin.flush()
        said: list[str] = []
        for line in self._process.stdout:
            if line.startswith(END):
                if (code := line.removeprefix(END).strip()) != "0":
                    raise SystemExit(f"expected to run {command!r}, got {code}\n{''.join(said)}")
                return "".join(said).rstrip("\n")
            said.append(line)
        raise SystemExit(f"expected {command!r} to end, got the end of the shell\n{''.join(said)}")


def commands(block: str) -> Iterator[list[str]]:
    """Yield each command of a block of them, as the lines that it is written in."""
    command: list[str] = []
    for line in block.splitlines():
        if line.startswith(PROMPT):
            if command:
                yield command
            command = [line]
        elif line.startswith(MORE):
            command.append(line)
    if command:
        yield command


def written(page: str, folder: Path) -> str:
    """Return a page with what its commands print in a folder."""
    with Shell(folder) as shell:

        def filled(block: re.Match[str]) -> str:
            if block["file"]:
                (folder / block["file"]).write_text(block["body"])
                return block[0]
            lines: list[str] = []
            for command in commands(block["body"]):
                print(*command, sep="\n", flush=True)
                said = shell.run("\n".join(line[len(PROMPT) :] for line in command))
                print(said, flush=True)
                lines += [*command, *said.splitlines()]
            return "\n".join(["```console", *(line.rstrip() for line in lines), "```\n"])

        return BLOCK.sub(filled, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="leave the page as it is")
    check = parser.parse_args().check
    if not RIDES.exists():
        raise SystemExit(f"skipped: it needs {RIDES.relative_to(ROOT.parent)} beside the checkout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(RIDES, folder / "taxi.csv")
        page = written(PAGE.read_text(), folder)
    if not check:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
