"""The gate lets nothing through that gives other numbers, and says where they part."""

import pytest
import torch
from c_exports import running, train

from throughtime.export import MismatchError, gate, verify

FAULTS = {
    "a gate": (
        "const float z = sigmoid(sums[2 * count + u]);",
        "const float z = 1.0001f * sigmoid(sums[2 * count + u]);",
        "recorded outputs differ first at step",
    ),
    "a state that is not kept": (
        "memcpy(h, fresh, (size_t)layer->units * sizeof *h);",
        "memcpy(h, fresh, (size_t)(layer->units - 1) * sizeof *h);",
        "recorded outputs differ first at step 0 of lane 0",
    ),
    "one state for all": (
        "const float *features, float *outputs)\n{",
        "const float *features, float *outputs)\n{\n    static model_state one;\n    state = &one;",
        "recorded outputs differ first at step 0 of lane 1",
    ),
    "a reset that resets nothing": (
        "    memset(state, 0, sizeof *state);",
        "    if (state->begun != 7) {\n        memset(state, 0, sizeof *state);\n    }\n"
        "    state->begun = 7;",
        "outputs of 3 lanes differ first at step",
    ),
    "a scale": (
        "return (value - scale[0]) / scale[1];",
        "return (value - scale[0]) / (scale[1] * 1.01);",
        "quantiles of the raw data recorded at training differ first at step",
    ),
    "an order": (
        "numbers[place - 1] > value",
        "numbers[place - 1] > value + 1e9f",
        "quantiles of the raw data recorded at training differ first at step",
    ),
    "a leak that takes long to show": (
        "    memcpy(h, fresh,",
        "    static int late = 0;\n    fresh[0] += ++late > 3000 ? 1e-3f : 0.0f;\n"
        "    memcpy(h, fresh,",
        "outputs of a long run differ first at step",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name, plain, tmp_path):
    before, after, message = FAULTS[name]

    def alter(source):
        return source.replace(before, after)

    with running(plain, tmp_path, alter=alter) as runner, pytest.raises(MismatchError) as error:
        verify(plain, runner, steps=6000)
    assert message in str(error.value)
    assert "nothing was exported" in str(error.value)


def test_the_first_step_that_differs_is_named(plain, tmp_path):
    with running(plain, tmp_path) as runner:
        run = runner.run
        calls = []

        def altered(inputs, present, resets):
            outputs = run(inputs, present, resets)
            calls.append(inputs.shape)
            if inputs.shape[:2] == (1, 1000) and len(calls) > 20:
                outputs[0, 123, 4] += 1e-4 * (1 + outputs[0, 123, 4].abs())
            return outputs

        runner.run = altered
        with pytest.raises(
            MismatchError, match=r"outputs of a long run differ first at step \d*123 of lane 0"
        ):
            verify(plain, runner, steps=6000)


@pytest.mark.parametrize(("lanes", "part"), [(2, "recorded"), (3, "of 3 lanes")])
def test_states_are_compared_beside_outputs(lanes, part, plain, tmp_path):
    with running(plain, tmp_path) as runner:
        state, begin = runner.state, runner.begin
        begun = []
        runner.begin = lambda count: (begun.append(count), begin(count))[1]

        def altered():
            found = state()
            if begun[-1] == lanes:
                found = {name: leaf + 1e-4 for name, leaf in found.items()}
            return found

        runner.state = altered
        with pytest.raises(MismatchError, match=f"end state h {part} differ first at step"):
            verify(plain, runner, steps=1000)


def test_the_largest_error_is_told(plain, tmp_path):
    with running(plain, tmp_path) as runner:
        run = runner.run
        runner.run = lambda *given: (y := run(*given)) + 5e-6 * (1 + y.abs())
        verdict = verify(plain, runner, steps=100)
    assert 4e-6 < verdict.max_error < 6e-6


def test_other_lengths_and_batch_sizes_are_tried(plain, tmp_path):
    with running(plain, tmp_path) as runner:
        run, begin = runner.run, runner.begin
        lanes, steps = set(), 0

        def counted(inputs, present, resets):
            nonlocal steps
            steps += int(present.sum())
            return run(inputs, present, resets)

        runner.run = counted
        runner.begin = lambda count: (lanes.add(count), begin(count))[1]
        verdict = verify(plain, runner, steps=2500)
    assert lanes == {1, 2, 3, 8}
    assert verdict.steps == steps > 2500


def test_a_chaotic_model_is_held_to_what_float32_can_give(tmp_path):
    run = train(tmp_path / "run", layer="rnn:20", spread=1.0)
    with running(run, tmp_path / "c") as runner:
        verdict = verify(run, runner, steps=2000)
    assert "enlarges rounding" in verdict.note


def test_a_chaotic_model_does_not_hide_what_is_wrong_around_it(tmp_path):
    run = train(tmp_path / "run", layer="rnn:20", spread=1.0)
    before, after, message = FAULTS["a scale"]

    def alter(source):
        return source.replace(before, after)

    with (
        running(run, tmp_path / "c", alter=alter) as runner,
        pytest.raises(MismatchError) as error,
    ):
        verify(run, runner, steps=100)
    assert message in str(error.value)


def test_material_of_the_gate_is_the_same_each_time(plain, text_run):
    for run in (plain, text_run):
        taken = [
            gate.take(gate.material(run, torch.Generator().manual_seed(3)), 200) for _ in range(2)
        ]
        assert torch.equal(*taken)
        assert len(taken[0]) == 200
