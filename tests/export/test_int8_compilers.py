"""Whole numbers are the same bits to every compiler, to sanitizers and on a microcontroller."""

import pytest
import torch
from c_exports import compiled_and_run, need_compiler, train
from int8_exports import put_int8, running_int8
from test_c_compilers import LAYERS, on_cortex_m

from throughtime.export.c.compiler import FAST
from throughtime.export.c.int8.gate import verify_twin
from throughtime.export.gate import material, take

LANES, STEPS = 1000, 1000


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Runs of all layers, which lie in three stacks."""
    return [
        train(tmp_path_factory.mktemp("mixed") / "run", layer=layer, spread=0.05, horizon=2)
        for layer in LAYERS
    ]


@pytest.fixture(scope="module", params=["lstm:18+gru:20", "selective:9"])
def million(request, tmp_path_factory):
    """A run, a million steps of inputs in many lanes, and what the twin makes of them."""
    run = train(tmp_path_factory.mktemp("million") / "run", layer=request.param)
    pieces = material(run, torch.Generator().manual_seed(5))
    inputs = take(pieces, LANES * STEPS).reshape(LANES, STEPS, -1)
    there = torch.ones(LANES, STEPS, dtype=torch.bool)
    resets = torch.rand(LANES, STEPS, generator=torch.Generator().manual_seed(6)) < 1e-3
    with running_int8(run, tmp_path_factory.mktemp("twin")) as (_, twin):
        twin.begin(LANES)
        outputs = twin.run(inputs, there, resets)
    return run, (inputs, there, resets), outputs, dict(twin.state())


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O3",), FAST])
def test_a_million_steps_have_the_bits_of_the_twin(million, compiler, flags, tmp_path):
    need_compiler(compiler)
    run, given, outputs, state = million
    with running_int8(run, tmp_path, flags, (compiler,)) as (runner, _):
        runner.begin(LANES)
        got = runner.run(*given)
        end = runner.state()
    assert got.numel() >= 1_000_000
    assert torch.equal(got.view(torch.int32), outputs.view(torch.int32))
    for name, leaf in end.items():
        assert torch.equal(leaf.long(), state[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [("-O0",), ("-Os",), ("-O3",), FAST])
def test_every_layer_has_the_bits_of_its_twin_by_every_compiler(
    mixed, text_run, compiler, flags, tmp_path
):
    need_compiler(compiler)
    for place, run in enumerate([*mixed, text_run]):
        with running_int8(run, tmp_path / str(place), flags, (compiler,)) as (runner, twin):
            verify_twin(run, runner, twin, steps=300)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers_find_nothing(mixed, text_run, compiler, tmp_path):
    need_compiler(compiler)
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for place, run in enumerate([*mixed, text_run]):
        folder = tmp_path / str(place)
        with running_int8(run, folder, flags, (compiler,)) as (runner, twin):
            verify_twin(run, runner, twin, steps=300)
            # Absurd numbers are cut off: they are no reason to overflow.
            features = run.config.model.features
            if features is not None:
                absurd = torch.tensor([1e30, -1e30, float("inf"), float("nan"), 1e5, -40000.5])
                inputs = absurd.repeat(50)[None, :, None].expand(1, 300, features).contiguous()
                there = torch.ones(1, 300, dtype=torch.bool)
                runner.begin(1)
                twin.begin(1)
                got, wanted = (each.run(inputs, there, ~there) for each in (runner, twin))
                assert torch.equal(got, wanted)
        files = [folder / "model.c", folder / "selftest.c"]
        printed = compiled_and_run(files, folder / "selftest", flags, (compiler,))
        assert printed.startswith("ok: largest error ")


@pytest.mark.slow
def test_a_cortex_m_has_the_bits_of_the_twin(mixed, text_run, tmp_path):
    need_compiler("arm-none-eabi-gcc")
    need_compiler("qemu-system-arm")
    for place, run in enumerate([*mixed, text_run]):
        folder = tmp_path / str(place)
        put_int8(run, folder)
        # The selftest compares outputs bit by bit, and forecasts to 1e-5.
        assert on_cortex_m(folder).startswith("ok: largest error ")
