"""`model.h` as a program sees it that is written in C or in C++."""

import subprocess

import pytest
from c_exports import need_compiler, put
from int8_exports import put_int8

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic")

FORECAST = """
#include <cmath>
#include <cstdio>
#include "model.h"

int main()
{
    model_state state;
    model_forecast forecast;
    model_row row{};
    row.y = NAN;
    model_init(&state, model_series("series"));
    model_push(&state, 1700, &row, &forecast, nullptr);
    return std::printf("%d", std::isfinite(model_median(&forecast, MODEL_HORIZON - 1))) != 1;
}
"""

LANGUAGE = """
#include <cmath>
#include <cstdio>
#include "model.h"

int main()
{
    static float logits[MODEL_SYMBOLS];
    model_state state;
    model_init(&state);
    model_step(&state, model_symbol('a'), logits);
    return std::printf("%d", std::isfinite(model_nats(logits, model_symbol('b')))) != 1;
}
"""


def compiled(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["forecast", "language"])
def exported(request, plain, text_run):
    return (plain, FORECAST) if request.param == "forecast" else (text_run, LANGUAGE)


@pytest.mark.parametrize("numbers", ["float32", "int8"])
@pytest.mark.parametrize(("of_c", "of_cpp"), [("gcc", "g++"), ("clang", "clang++")])
def test_a_program_in_cpp_calls_it(of_c, of_cpp, numbers, exported, tmp_path):
    need_compiler(of_c)
    need_compiler(of_cpp)
    run, main = exported
    (put if numbers == "float32" else put_int8)(run, tmp_path)
    (tmp_path / "main.cpp").write_text(main)
    model, program = tmp_path / "model.o", tmp_path / "main"
    compiled([of_c, "-std=c99", *WARNINGS, "-c", tmp_path / "model.c", "-o", model])
    compiled([of_cpp, "-std=c++11", *WARNINGS, tmp_path / "main.cpp", model, "-o", program])
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"1"


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_nothing_is_kept_outside_of_states(numbers, exported, tmp_path):
    need_compiler("gcc")
    need_compiler("nm")
    (put if numbers == "float32" else put_int8)(exported[0], tmp_path)
    compiled(
        ["gcc", "-std=c99", "-O2", "-fno-pic", "-c", tmp_path / "model.c", "-o", tmp_path / "m.o"]
    )
    symbols = subprocess.run(["nm", tmp_path / "m.o"], capture_output=True, text=True, check=True)
    kinds = {line.split()[-2]: line for line in symbols.stdout.splitlines()}
    kept = [line for kind, line in kinds.items() if kind.upper() in ("B", "C", "D")]
    assert kept == [], "what is variable must be in a state"
    needed = {line.split()[-1] for line in symbols.stdout.splitlines() if " U " in line}
    assert needed <= {"memcpy", "memmove", "memset", "strcmp", "__stack_chk_fail"}


def test_lines_are_of_a_length_that_can_be_read(exported, tmp_path):
    put(exported[0], tmp_path)
    for name in ("model.h", "model.c"):
        long = [line for line in (tmp_path / name).read_text().splitlines() if len(line) > 100]
        assert [line for line in long if line.startswith((" ", "/*"))] == []
