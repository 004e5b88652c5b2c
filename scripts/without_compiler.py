"""Install the checkout where there is no C++ compiler, and see everything run on the reference.

    python scripts/without_compiler.py

Makes a fresh virtual environment that finds the other packages in the one this runs in, so that
torch is not fetched again; throughtime itself is built and installed anew by pip. The compilers of
this machine are covered by empty files in a mount namespace of its own; where that is not allowed,
CC and CXX name a compiler that is not there.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPILERS = ("c++", "g++", "gcc", "cc", "clang++", "clang", "icpx", "CC")
PROGRAM = """
import warnings
import numpy, torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import throughtime as tt
    for layer in (tt.RNN(3, 4), tt.GRU(3, 4), tt.LSTM(3, 4)):
        y, state = layer(torch.ones(2, 5, 3, requires_grad=True), lengths=torch.tensor([5, 2]))
        y.sum().backward()
        with torch.no_grad():
            layer.step(torch.ones(2, 3), state)
        layer.stepper(2).step(numpy.ones((2, 3), dtype=numpy.float32))
        tt.testing.check_recurrent(layer)
    h, _ = tt.kernels.linear_recurrence(torch.ones(4), torch.ones(1, 3, 4), torch.zeros(1, 4))
    print(layer.backend)
notices = [str(each.message) for each in caught if "native kernels" in str(each.message)]
print(*notices, sep="\\n")
assert len(notices) == 1, f"expected one notice, got {len(notices)}"
assert not layer.backend.startswith("native")
"""


def paths_of_compilers() -> list[str]:
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/bin", "/usr/local/bin", "/bin"]
    found = [Path(folder, name) for folder in folders for name in COMPILERS]
    return sorted({str(path.resolve()) for path in found if path.exists()})


def hiding() -> list[str]:
    """The beginning of a command line that runs the rest of it without compilers."""
    covers = " && ".join(f"mount --bind /dev/null {path}" for path in paths_of_compilers())
    hidden = ["unshare", "--mount", "sh", "-c", f'{covers or "true"} && exec "$@"', "sh"]
    if (
        shutil.which("unshare")
        and subprocess.run([*hidden, "true"], capture_output=True).returncode == 0
    ):
        return hidden
    print("can't cover the compilers here; CC and CXX name one that is not there instead")
    return ["env", "CC=/nonexistent/cc", "CXX=/nonexistent/c++"]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        python = str(venv / "bin" / "python")
        purelib = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        Path(purelib, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
        install = [python, "-m", "pip", "install", "-q", "--no-deps", str(ROOT)]
        clean = {k: v for k, v in os.environ.items() if k not in ("CC", "CXX", "CMAKE_ARGS")}
        subprocess.run(
            [*hiding(), *install, "-C", f"build-dir={folder}/build"], check=True, env=clean
        )
        libraries = [*Path(purelib).glob("throughtime/kernels/*throughtime.so")]
        assert not libraries, f"expected no library, got {libraries}: a compiler was found"
        subprocess.run([python, "-c", PROGRAM], check=True, cwd=folder, env=clean)
    print("installed and ran without a compiler")
    return 0


if __name__ == "__main__":
    sys.exit(main())
