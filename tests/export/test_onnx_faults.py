"""Faults that are planted in graphs are found, by the check of a layer and by the gate of a run."""

import pytest
import torch
from c_exports import train

from throughtime.errors import NotStreamableError, OptionError
from throughtime.export import MismatchError, layer_to_onnx, verify
from throughtime.export.onnx import fused, sequence, states
from throughtime.export.onnx.exporting import to_onnx, verify_graphs, write_graphs
from throughtime.export.onnx.gating import SequenceRunner, StepRunner
from throughtime.export.onnx.layer import SEQUENCE, STEP, verify_layer, write_models
from throughtime.layers import Bidirectional, make
from throughtime.recurrent import Recurrent

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def drawn(name, **options):
    """A layer in which no number is zero."""
    layer = make(name, 3, 4, **options).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_of(attribute.g)


def not_carried(model):
    """Give back the state that came."""
    for node in model.graph.node:
        if any(name.startswith("present_") for name in node.output):
            node.input[0] = node.output[0].replace("present_", "past_", 1)


def no_reset(model):
    """Read every reset as none."""
    for node in nodes_of(model.graph):
        if node.op_type == "Where" and node.input[1].startswith("constant"):
            node.input[1] = node.input[2]


@pytest.mark.parametrize("gates", [(0, 1, 2, 3), (0, 2, 1, 3)])
def test_swapped_gates_are_found(gates, monkeypatch):
    layer = drawn("lstm")
    monkeypatch.setitem(fused._GATES, "LSTM", gates)
    models = write_models(layer)
    # Recorded steps know no order of ONNX's.
    assert verify_layer(layer, {STEP: models[STEP]}).max_error < 1e-6
    with pytest.raises(MismatchError, match=r"outputs of sequence\.onnx differ first at step 0"):
        verify_layer(layer, models)


@pytest.mark.parametrize("file", [STEP, SEQUENCE])
def test_a_state_that_is_not_carried_is_found(file):
    layer = drawn("min_gru")
    models = write_models(layer)
    not_carried(models[file])
    with pytest.raises(MismatchError, match=rf"outputs of {file} differ first at step"):
        verify_layer(layer, models)


@pytest.mark.parametrize("file", [STEP, SEQUENCE])
def test_resets_that_reset_nothing_are_found(file):
    layer = drawn("coupled_lstm", learned_initial_state=True)
    models = write_models(layer)
    no_reset(models[file])
    with pytest.raises(MismatchError, match=f"of {file} differ first at step"):
        verify_layer(layer, models)


@pytest.mark.parametrize("name", ["gru", "layer_norm_gru"])
def test_a_wrong_initial_state_is_found(name, monkeypatch):
    layer = drawn(name, learned_initial_state=True)
    with monkeypatch.context() as patch:
        wrong = property(lambda leaf: 0 * leaf.initial.numpy())
        patch.setattr(states.Leaf, "numbers", wrong)
        models = write_models(layer)
    with pytest.raises(MismatchError, match="differ first at step 0"):
        verify_layer(layer, models)


def test_segments_that_are_read_the_wrong_way_are_found(monkeypatch):
    layer = Bidirectional(drawn("gru"), drawn("gru"))
    before = sequence.SequenceWriter._running
    monkeypatch.setattr(
        sequence.SequenceWriter,
        "_running",
        lambda self, begin, *, backwards: (
            before(self, begin, backwards=False)
            if not backwards
            else self.graph.add("Add", begin, self.graph.constant([[0]], "int64"))
        ),
    )
    with pytest.raises((MismatchError, OptionError)):
        verify_layer(layer, write_models(layer))


def test_lengths_that_are_not_kept_are_found():
    layer = drawn("hgrn")
    models = write_models(layer)
    for node in nodes_of(models[SEQUENCE].graph):
        if node.op_type == "Less":
            node.op_type = "GreaterOrEqual"
    with pytest.raises(MismatchError):
        verify_layer(layer, models)


def test_a_fault_keeps_everything_from_being_written(tmp_path, monkeypatch):
    monkeypatch.setitem(fused._GATES, "GRU", (0, 1, 2))
    with pytest.raises(MismatchError, match="nothing was exported"):
        layer_to_onnx(drawn("gru"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [SequenceRunner, StepRunner])
def test_the_gate_finds_a_state_that_is_not_carried(kind, plain):
    model = write_graphs(plain)[STEP if kind is StepRunner else SEQUENCE]
    not_carried(model)
    with pytest.raises(MismatchError, match=r"recorded differ first|recorded outputs"):
        verify(plain, kind(plain, model), steps=1500)


def altered_scale(model):
    for constant in model.graph.initializer:
        if constant.name.startswith("scales"):
            numbers = onnx.numpy_helper.to_array(constant) * 1.01
            constant.CopyFrom(onnx.numpy_helper.from_array(numbers, constant.name))


@pytest.mark.parametrize("kind", [SequenceRunner, StepRunner])
def test_the_gate_finds_another_scale(kind, plain):
    model = write_graphs(plain)[STEP if kind is StepRunner else SEQUENCE]
    altered_scale(model)
    with pytest.raises(MismatchError, match="quantiles of the raw data recorded at training"):
        verify(plain, kind(plain, model), steps=1500)


def test_noise_and_text_pass_the_gate(text_run):
    assert verify_graphs(text_run, write_graphs(text_run), steps=1500).max_error < 5e-6


def test_a_learned_start_passes_the_gate(tmp_path):
    run = train(tmp_path / "run", layer="lstm:5+attention:4", learned_initial_state=True)
    assert verify_graphs(run, write_graphs(run), steps=1500).max_error < 5e-6


class Counting(Recurrent):
    """A layer whose step branches on numbers."""

    def initial_state(self, batch_size, *, device=None, dtype=None):
        return torch.zeros(batch_size, 2)

    def update(self, x, state):
        state = state + x
        return (state, state) if float(state.sum()) > 0 else (-state, state)


class InPlace(Counting):
    def update(self, x, state):
        return state.add_(x), state


class Mixing(Counting):
    def update(self, x, state):
        state = state + x.mean(0, keepdim=True)
        return state, state


class Rounding(Counting):
    def update(self, x, state):
        state = torch.erfinv(state + x)
        return state, state


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Counting, "branches on its numbers"),
        (InPlace, "changes a tensor in place"),
        (Mixing, "over the lanes"),
        (Rounding, "aten.erfinv"),
    ],
)
def test_what_can_not_be_written_is_one_clear_error(layer, words, tmp_path):
    with pytest.raises(OptionError, match=words) as error:
        layer_to_onnx(layer(2, 2), tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_other_numbers_are_refused(tmp_path):
    with pytest.raises(OptionError, match="expected weights and states in float32"):
        layer_to_onnx(make("gru", 3, 4).double(), tmp_path)


def test_a_model_that_needs_the_future_is_refused(plain, monkeypatch, tmp_path):
    monkeypatch.setattr(plain.model.layers, "streamable", False)
    with pytest.raises(NotStreamableError, match="which needs the future"):
        to_onnx(plain, tmp_path / "out")
