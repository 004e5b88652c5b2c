"""The gate of whole numbers lets no bit through that is not the twin's, and says where it is."""

import pytest
from int8_exports import running_int8

from throughtime.export import MismatchError
from throughtime.export.c.int8.gate import verify_twin

FAULTS = {
    "halves that go down": (
        "return (value + ((int64_t)1 << bits >> 1)) >> bits;",
        "return (value + (((int64_t)1 << bits >> 1) - 1)) >> bits;",
        "recorded steps differ first at step",
    ),
    "no rounding in a share": (
        "return rounded(share * value, 30);",
        "return (share * value) >> 30;",
        "recorded steps differ first at step",
    ),
    "swapped gates": (
        "const int64_t r = sigmoid(gate_sum(layer, 0, u, x, y));",
        "const int64_t r = sigmoid(gate_sum(layer, 1, u, x, y));",
        "outputs of recorded steps differ first at step",
    ),
    "a state that is not carried": (
        "h[u] = (int32_t)(n + times(z, h[u] - n));",
        "h[u] = (int32_t)(n + times(z, (u ? h[u] : 0) - n));",
        "recorded steps differ first at step 1",
    ),
    "one state for all": (
        "const float *features, float *outputs)\n{",
        "const float *features, float *outputs)\n{\n    static model_state one;\n    state = &one;",
        "recorded steps differ first at step 0 of lane 1",
    ),
    "a reset that resets nothing": (
        "    memset(state, 0, sizeof *state);",
        "    if (state->begun != 7) {\n        memset(state, 0, sizeof *state);\n    }\n"
        "    state->begun = 7;",
        "3 lanes differ first at step",
    ),
    "a scale": (
        "return (value - scale[0]) / scale[1];",
        "return (value - scale[0]) / (scale[1] * 1.01);",
        "quantiles of the raw data recorded at training differ first at step",
    ),
    "a bit that is lost late": (
        "    narrow(y, h, units, 15);\n}",
        "    static int late = 0;\n    h[0] += ++late > 1200 ? 65536 : 0;\n"
        "    narrow(y, h, units, 15);\n}",
        "a long run differ first at step",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name, plain, tmp_path):
    before, after, message = FAULTS[name]

    def alter(source):
        return source.replace(before, after)

    with (
        running_int8(plain, tmp_path, alter=alter) as (runner, twin),
        pytest.raises(MismatchError) as error,
    ):
        verify_twin(plain, runner, twin, steps=1500)
    assert message in str(error.value)
    assert "expected the numbers of the twin" in str(error.value)


def test_states_are_compared_beside_outputs(plain, tmp_path):
    with running_int8(plain, tmp_path) as (runner, twin):
        state = runner.state
        runner.state = lambda: {name: leaf + 1 for name, leaf in state().items()}
        with pytest.raises(MismatchError, match=r"end state \w+ of recorded steps differ first at"):
            verify_twin(plain, runner, twin, steps=100)


def test_other_lengths_and_batch_sizes_are_tried(plain, tmp_path):
    with running_int8(plain, tmp_path) as (runner, twin):
        run, begin = runner.run, runner.begin
        lanes, steps = set(), 0

        def counted(inputs, present, resets):
            nonlocal steps
            steps += int(present.sum())
            return run(inputs, present, resets)

        runner.run = counted
        runner.begin = lambda count: (lanes.add(count), begin(count))[1]
        verdict = verify_twin(plain, runner, twin, steps=200)
    assert lanes == {1, 2, 3, 8, 64}
    assert verdict.steps == steps > 10_000
    assert verdict.max_error == 0
