"""Every layer that there is C for gives the numbers of the run, alone and among others."""

import subprocess

import pytest
import torch
from c_exports import compiled_and_run, need_compiler, put, running, train

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.export import to_c, verify
from throughtime.export.c.around import SUPPORTED
from throughtime.layers import names

# Some have one block and a rest, some less than a block, some several blocks.
STACKS = (
    "rnn:3+lstm:5+gru:20+coupled_lstm:6+peephole_lstm:18+projected_lstm:5+echo_state:7",
    "layer_norm_lstm:6+layer_norm_gru:5+min_gru:40+min_lstm:18+convolution:4",
    "lru:33+s5:4+rg_lru:34+selective:3+hgrn:18",
    "rnn:70+lstm:33",
)


@pytest.mark.parametrize("layer", STACKS)
def test_layers_give_the_numbers_of_the_run(layer, tmp_path):
    run = train(tmp_path / "run", layer=layer, spread=0.05)
    with running(run, tmp_path / "c") as runner:
        verdict = verify(run, runner, steps=3000)
    # States and outputs of float32, each by its own order of the same sums.
    assert verdict.max_error < 5e-6
    assert not verdict.note


@pytest.mark.parametrize("layer", ["min_gru:5+rg_lru:21", "min_lstm:7+hgrn:17", "selective:4"])
def test_states_that_turn_around_do_so_in_c(layer, tmp_path):
    run = train(tmp_path / "run", layer=layer, spread=0.05, negative_eigenvalues=True)
    with running(run, tmp_path / "c") as runner:
        verdict = verify(run, runner, steps=3000)
    assert verdict.max_error < 5e-6
    assert not verdict.note


def test_stacks_cover_every_supported_layer():
    named = {part.split(":")[0] for stack in STACKS for part in stack.split("+")}
    assert named == set(SUPPORTED)
    assert named < set(names())


def test_blocks_convolutions_and_noise_give_the_numbers_of_the_run(text_run, tmp_path):
    with running(text_run, tmp_path) as runner:
        assert verify(text_run, runner, steps=3000).max_error < 5e-6


def test_zoneout_and_a_learned_start_give_the_numbers_of_the_run(tmp_path):
    run = train(tmp_path / "run", layer="lstm:5+rnn:4", zoneout=0.3, learned_initial_state=True)
    assert run.model.initial_state(1)[0].layer.h.abs().sum() > 0
    with running(run, tmp_path / "c") as runner:
        assert verify(run, runner, steps=3000).max_error < 5e-6


def test_a_layer_without_c_is_one_clear_error(tmp_path):
    run = train(tmp_path / "run", layer="gru:4+mlstm:8")
    with pytest.raises(OptionError, match=r"expected layers among rnn, lstm.*, got MLSTM"):
        to_c(run, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_an_export_is_written_whole_and_says_how_far_and_how_large(plain, tmp_path):
    need_compiler()
    made = to_c(plain.path, tmp_path / "deep" / "c")
    assert made.files == ("model.h", "model.c", "selftest.c", "size.txt")
    assert sorted(file.name for file in made.path.iterdir()) == sorted(made.files)
    assert 0 < made.verdict.max_error < 1e-6
    assert made.verdict.steps > 50_000
    assert tt.load(plain.path).fingerprint in (made.path / "model.h").read_text()
    (size, *_) = made.size.machines
    parameters = plain.model.parameter_count()
    assert made.size.parameters == parameters
    assert size.flash <= 4 * parameters + 6 * 1024
    assert size.state <= 4 * 20 + 12 * 4 + 8 * 4
    assert f"{size.flash:,}" in str(made)
    assert made.to_json()["size"]["parameters"] == parameters


def test_the_selftest_passes_and_fails(plain, text_run, tmp_path):
    need_compiler()
    for name, run in (("plain", plain), ("text", text_run)):
        folder = tmp_path / name
        put(run, folder)
        files = [folder / "model.c", folder / "selftest.c"]
        assert compiled_and_run(files, folder / "selftest").startswith("ok: largest error ")
        source = (folder / "model.c").read_text()
        files[0].write_text(
            source.replace("= (1.0f - z) * n + z *", "= (1.0f - z) * n + 0.99f * z *")
        )
        printed = compiled_and_run(files, folder / "selftest", expected=1)
        assert printed.startswith("FAILED: a step of some lanes, first at ")


def test_the_source_calls_nothing_but_memory_functions(tmp_path, plain, text_run):
    need_compiler()
    need_compiler("nm")
    for run in (plain, text_run):
        put(run, tmp_path)
        subprocess.run(
            ["cc", "-std=c99", "-O2", "-c", "model.c"], cwd=tmp_path, check=True, text=True
        )
        found = subprocess.run(
            ["nm", "-u", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout
        wanted = {"memcpy", "memset", "memmove", "strcmp", "_GLOBAL_OFFSET_TABLE_"}
        assert {line.split()[-1] for line in found.splitlines()} <= wanted


def test_steps_of_one_stream_do_not_depend_on_others(plain, tmp_path):
    inputs = torch.randn(3, 40, plain.config.model.features)
    ones = torch.ones(3, 40, dtype=torch.bool)
    with running(plain, tmp_path) as runner:
        runner.begin(3)
        together = runner.run(inputs, ones, ~ones)
        for lane in range(3):
            runner.begin(1)
            alone = runner.run(inputs[lane : lane + 1], ones[:1], ~ones[:1])
            assert torch.equal(alone[0], together[lane])
