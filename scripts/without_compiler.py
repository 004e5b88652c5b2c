"""Install the checkout where there is no C++ compiler, and see that everything runs.

    python scripts/without_compiler.py

What is installed is a wheel, from a copy of the sources, by pip into a fresh virtual environment,
in a mount namespace of Linux where every C++ compiler is hidden, and with an empty PATH: so pip
fetches CMake itself, as it does for a user. (Where there may be no such namespace, CXX names a
compiler that is not there instead.) Only the dependencies are not installed again: they are those
of the environment that runs this script, linked one by one, so that neither this checkout nor its
compiled library can be seen.
"""

import os
import re
import shlex
import shutil
import site
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "native", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
FOLDERS = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/opt/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
)
COMPILER = re.compile(
    r"^([\w.]+-)*([cgC]\+\+|clang\+\+|icpc|icpx|dpcpp|nvc\+\+|xlC|aCC)(-[\d.]+)?$"
)
NOTICE = "throughtime runs without its native kernels"

PROGRAM = """
import numpy, torch
import throughtime as tt

class Fading(tt.LinearRecurrent):
    def coefficients(self, x):
        return torch.full_like(x, 0.5), x
    def read_out(self, h, x):
        return h

lengths, resets = torch.tensor([5, 2]), torch.zeros(2, 5, dtype=torch.bool)
for layer in (tt.RNN(3, 4), tt.LSTM(3, 4), tt.GRU(3, 4), Fading(3, 3, 3)):
    x = torch.ones(2, 5, 3, requires_grad=True)
    y, state = layer(x, lengths=lengths, resets=resets)
    y.sum().backward()
    with torch.no_grad():
        y, state = layer.step(x[:, 0], state)
    layer.stepper(2).step(numpy.ones((2, 3), dtype=numpy.float32))
    tt.testing.check_recurrent(layer)
    print(layer.backend)
y, state = tt.GRU(3, 4)(torch.ones(1, 2, 3))
assert y.shape == (1, 2, 4)
"""


def compilers() -> list[Path]:
    """Every C++ compiler in the folders in which CMake looks, by its real name."""
    on_path = os.environ.get("PATH", "").split(os.pathsep)
    found = {
        path.resolve()
        for folder in dict.fromkeys([*FOLDERS, *on_path])
        if Path(folder).is_dir()
        for path in Path(folder).iterdir()
        if COMPILER.match(path.name) and path.exists()
    }
    return sorted(found)


def without_compilers(command: list[str]) -> list[str]:
    """The command, run where the compilers are files that can't be run."""
    tools = {name: shutil.which(name) or name for name in ("unshare", "mount")}
    covers = [f"{tools['mount']} --bind /dev/null {shlex.quote(str(path))}" for path in compilers()]
    apart = [tools["unshare"], "--map-root-user", "--mount", "/bin/sh", "-c"]

    def hidden(command: list[str]) -> list[str]:
        return [*apart, " && ".join([*covers, f"exec {shlex.join(command)}"])]

    try:
        subprocess.run(hidden(["/bin/sh", "-c", ":"]), capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        print("compilers can't be hidden here; CXX names one that is not there instead")
        return ["/usr/bin/env", "CXX=/nonexistent/c++", *command]
    return hidden(command)


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"expected {shlex.join(command[-6:])} to run, got\n{done.stdout[-4000:]}")
    return done.stdout


def link_dependencies(packages: Path, folder: Path) -> None:
    """Let an environment see the packages of this one, but for throughtime itself."""
    folder.mkdir()
    for place in site.getsitepackages():
        for path in Path(place).iterdir():
            if "throughtime" not in path.name and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    (packages / "dependencies.pth").write_text(f"{folder}\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources, empty = folder / "throughtime", folder / "empty"
        for each in (sources, empty):
            each.mkdir()
        for source in SOURCES:
            path = ROOT / source
            (shutil.copytree if path.is_dir() else shutil.copy)(path, sources / source)
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        dropped = re.compile("CC|CXX|CMAKE|THROUGHTIME|PYTHON")
        environment = {k: v for k, v in os.environ.items() if not dropped.match(k)}
        environment |= {"PATH": str(empty), "HOME": str(folder)}
        install = [python, "-m", "pip", "install", "--no-deps", "--verbose", str(sources)]
        said = run(without_compilers(install), environment, folder)
        if "installed without its native kernels" not in said:
            raise SystemExit(f"expected CMake to find no compiler, got\n{said[-4000:]}")
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        if built := [str(path) for path in packages.rglob("*throughtime.[sd]*")]:
            raise SystemExit(f"expected no library in the wheel, got {built}")
        link_dependencies(packages, folder / "dependencies")
        said = run([python, "-c", PROGRAM], environment, empty)
        backends = [line for line in said.splitlines() if "no native kernels" in line]
        if said.count(NOTICE) != 1 or len(backends) != 4:
            raise SystemExit(f"expected one notice, and four backends that say so, got\n{said}")
        print(said.strip())


if __name__ == "__main__":
    main()
