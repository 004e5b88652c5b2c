"""The functions that take the place of libm's: within a few units of the last place."""

import subprocess

import numpy as np
import pytest
import scipy.special
from c_exports import need_compiler

from throughtime.export.c.compiler import STRICT, compile_c
from throughtime.export.c.pieces import gathered

# name: (the same in float64, least x, most x, units of the last place)
FUNCTIONS = {
    "sigmoid": (scipy.special.expit, -86.0, 87.0, 3.0),
    "hyperbolic_tangent": (np.tanh, -25.0, 25.0, 3.0),
    "exponential_of": (np.exp, -87.0, 87.0, 2.0),
    "softplus": (lambda x: np.logaddexp(0, x), -80.0, 87.0, 4.0),
    "silu": (lambda x: x * scipy.special.expit(x), -80.0, 87.0, 3.0),
    "logarithm": (np.log, 1e-30, 1e30, 3.0),
    "square_root": (np.sqrt, 1e-30, 1e30, 1.0),
    "inverse_root": (lambda x: 1 / np.sqrt(x), 1e-30, 1e30, 3.0),
    "rectifier": (lambda x: np.maximum(x, 0), -1e30, 1e30, 0.0),
}

MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>

%s
int main(void)
{
    float x;
    while (fread(&x, sizeof x, 1, stdin) == 1) {
        const float y = %s(x);
        fwrite(&y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


def computed(name, x, folder, flags=("-O2",)):
    """What a function in C gives for float32 numbers."""
    need_compiler()
    source, program = folder / f"{name}.c", folder / name
    source.write_text(MAIN % ("\n".join(gathered([f"{name}(x)"], {})), name))
    compile_c([source], program, [*STRICT, *flags])
    done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def spread(least, most):
    """Numbers of every size between two, dense where functions bend."""
    sizes = np.geomspace(1e-30, max(abs(least), abs(most)), 60_000)
    every = np.concatenate([-sizes, [0.0], sizes, np.linspace(-6, 6, 80_001)])
    return np.float32(every[(every >= least) & (every <= most)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_right_to_the_last_places(name, tmp_path):
    exact, least, most, places = FUNCTIONS[name]
    x = spread(least, most)
    wanted = exact(x.astype(np.float64))
    got = computed(name, x, tmp_path)
    unit = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
    apart = np.abs(got.astype(np.float64) - wanted) / unit
    assert apart.max() <= places, (x[apart.argmax()], apart.max())


def test_functions_end_where_floats_do(tmp_path):
    x = np.float32([np.inf, -np.inf, 1e30, -1e30, 88.0, -100.0, np.nan])
    nan = np.nan
    for name, wanted in {
        "sigmoid": [1, 0, 1, 0, 1, 0, nan],
        "hyperbolic_tangent": [1, -1, 1, -1, 1, -1, nan],
    }.items():
        np.testing.assert_allclose(computed(name, x, tmp_path), wanted, rtol=0, atol=1e-37)
    assert np.isnan(computed("exponential_of", x, tmp_path)[-1])
