"""The C is the same to other compilers, to sanitizers and on a microcontroller."""

import subprocess

import pytest
from c_exports import compiled_and_run, need_compiler, put, running, train

from throughtime.export import to_c, verify
from throughtime.export.c.compiler import FAST, STRICT, compile_c
from throughtime.export.c.size import CORTEX_M4

LAYERS = (
    "rnn:3+lstm:20+gru:20+coupled_lstm:6+peephole_lstm:18+projected_lstm:5",
    "layer_norm_lstm:6+layer_norm_gru:5+min_gru:40+min_lstm:18+convolution:4:conv:block",
    "lru:33+s5:4+rg_lru:34+selective:3+hgrn:18",
)


@pytest.fixture(scope="module", params=LAYERS)
def mixed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return train(folder / "run", layer=request.param, spread=0.05, horizon=2)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-Os",), ("-O3",), FAST])
def test_every_compiler_and_level_gives_the_numbers_of_the_run(mixed, compiler, flags, tmp_path):
    need_compiler(compiler)
    with running(mixed, tmp_path, flags, (compiler,)) as runner:
        assert verify(mixed, runner, steps=3000).max_error < 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers_find_nothing(mixed, text_run, compiler, tmp_path):
    need_compiler(compiler)
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for place, run in enumerate((mixed, text_run)):
        folder = tmp_path / str(place)
        with running(run, folder, flags, (compiler,)) as runner:
            verify(run, runner, steps=2000)
        files = [folder / "model.c", folder / "selftest.c"]
        printed = compiled_and_run(files, folder / "selftest", flags, (compiler,))
        assert printed.startswith("ok")


@pytest.mark.slow
def test_a_cortex_m_gives_the_numbers_of_the_run(mixed, text_run, tmp_path):
    need_compiler("arm-none-eabi-gcc")
    need_compiler("qemu-system-arm")
    for place, run in enumerate((mixed, text_run)):
        folder = tmp_path / str(place)
        put(run, folder)
        assert on_cortex_m(folder).startswith("ok: largest error ")


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "gates"), [("lstm:16", 64), ("gru:64", 192), ("lstm:64", 256)])
def test_flash_and_memory_are_little_more_than_weights_and_state(layer, gates, tmp_path):
    need_compiler("arm-none-eabi-gcc")
    run = train(tmp_path / "run", layer=layer)
    made = to_c(run, tmp_path / "c")
    assert {size.target.split(",")[0] for size in made.size.machines} == {
        "this machine",
        "Cortex-M4F",
    }
    for size in made.size.machines:
        assert size.flash <= 4 * made.size.parameters + 6 * 1024
        if size.stack is not None:
            assert size.stack <= 4 * gates + 256


def on_cortex_m(folder):
    """Run the selftest of an export on an emulated Cortex-M4 and return what it prints."""
    program = folder / "selftest.elf"
    script = folder / "board.ld"
    script.write_text(BOARD)
    start = folder / "start.c"
    start.write_text(START)
    compiler, objects = ("arm-none-eabi-gcc",), []
    for name, strictly in (("start", ()), ("model", STRICT), ("selftest", STRICT)):
        objects.append(folder / f"{name}.o")
        flags = ["-c", "-O2", *strictly, *CORTEX_M4]
        compile_c([folder / f"{name}.c"], objects[-1], flags, compiler)
    linked = [*CORTEX_M4, "--specs=rdimon.specs", f"-T{script}", "-nostartfiles"]
    compile_c(objects, program, linked, compiler)
    machine = ["-machine", "mps2-an386", "-cpu", "cortex-m4", "-nographic", "-monitor", "none"]
    output = ["-semihosting-config", "enable=on,target=native", "-serial", "none"]
    command = ["qemu-system-arm", *machine, *output, "-kernel", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


# mps2-an386: 4 MB of code at 0, 4 MB of memory at 0x20000000.
BOARD = """
MEMORY {
    flash (rx) : ORIGIN = 0x00000000, LENGTH = 4M
    ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
ENTRY(start)
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.init*) *(.fini*) } > flash
    .ARM.extab : { *(.ARM.extab*) } > flash
    .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > flash
    .data : { __data_start = .; *(.data*) __data_end = .; } > ram AT > flash
    __data_load = LOADADDR(.data);
    .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; } > ram
    end = .;
    __stack = ORIGIN(ram) + LENGTH(ram);
}
"""

START = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern char __data_start[], __data_end[], __data_load[], __bss_start__[], __bss_end__[], __stack[];
void initialise_monitor_handles(void);
int main(void);
void start(void);
void _init(void);
void _fini(void);

void _init(void) {}
void _fini(void) {}

void start(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the floating-point unit */
    memcpy(__data_start, __data_load, (size_t)(__data_end - __data_start));
    memset(__bss_start__, 0, (size_t)(__bss_end__ - __bss_start__));
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {
    __stack,
    (void *)start,
};
"""
