"""Run the tests of the native kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python scripts/sanitize.py [--plant]

All instruction sets of this machine are built with both, and any access beyond a buffer and any
undefined operation ends the run. `--plant` first puts a read beyond the end of a row into the
kernels, which changes no result, and demands that it is found. GCC is needed for its libraries.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from native_builds import (
    ROOT,
    Build,
    BuildError,
    environment_for,
    pytest_command,
    replace_once,
    test_files,
)

OPTIONS = {"THROUGHTIME_SANITIZE": "ON", "THROUGHTIME_OPTIMIZATION": "-O0"}
PLANT = (
    "vector.h",
    "return width == kWidth ? load(from) : load_part(from, width);",
    "return load(from);",
)
REPORT = re.compile(r"^.*(?:ERROR: AddressSanitizer|runtime error:).*$", re.MULTILINE)


def runtime_libraries() -> str:
    """The sanitizers' own libraries, which have to be there before everything else is."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        done = subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        path = Path(done.stdout.strip())
        if not path.is_absolute():
            raise SystemExit(f"expected g++ to come with {name}, got none")
        found.append(str(path))
    return ":".join(found)


def run_tests(library: Path) -> subprocess.CompletedProcess[str]:
    environment = environment_for(
        library,
        LD_PRELOAD=runtime_libraries(),
        # Python and torch keep memory until the end, which is no leak of ours.
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=0",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
    )
    # Tracing is left out: it is slow, and starts compilers that the libraries get into.
    files = test_files(
        *("test_native*.py", "test_step*.py", "test_linear*.py", "test_gated*.py"),
        "test_variant*.py",
    )
    return subprocess.run(
        pytest_command("-s", "-k", "not compiled", *files),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plant", action="store_true", help="plant an error that must be found")
    planted = parser.parse_args().plant
    with tempfile.TemporaryDirectory() as folder:
        build = Build(Path(folder), OPTIONS)
        if planted:
            file, old, new = PLANT
            replace_once(build.sources / file, old, new)
        try:
            library = build.make()
        except BuildError as error:
            raise SystemExit(f"expected native/ to compile, got\n{error}") from None
        done = run_tests(library)
    said = done.stdout + done.stderr
    if done.returncode == 0 and (" passed" not in said or "needs the native library" in said):
        raise SystemExit(f"expected the sanitized library to be tested, got\n{said[-3000:]}")
    report = REPORT.search(said)
    if planted:
        if report is None:
            raise SystemExit(f"expected the planted error to be found, got\n{said[-3000:]}")
        print(f"found what was planted: {report[0].strip()}")
    elif done.returncode:
        raise SystemExit(said[report.start() :][:6000] if report else said[-6000:])
    else:
        print(done.stdout.strip().splitlines()[-1].strip("= "))


if __name__ == "__main__":
    main()
