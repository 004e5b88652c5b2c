"""Every layer gives without torch what it gives with it, and what float64 gives."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runtime_runs import forecast_run, language_run

import throughtime as tt
from throughtime import state as states
from throughtime.errors import BundleError, ShapeError, StateError
from throughtime.runtime import ParityError, around, load
from throughtime.runtime.parity import difference

MADE_OF = (
    *(f"{name}:8" for name in around.LAYERS),
    "lstm:6x2",
    "rg_lru:8x2:conv:block",
    "gru:8:conv",
    "gru:6:block+attention:8",
    "min_gru:5+slstm:4",
    "attention:12",
)
NOISE = (
    ("gru:6", {"zoneout": 0.3}),
    ("lstm:6", {"zoneout": 0.2, "recurrent_dropout": 0.2}),
    ("rnn:6x2", {"weight_drop": 0.5, "dropout": 0.4}),
    ("coupled_lstm:5:block", {"zoneout": 0.1, "learned_initial_state": True}),
    ("projected_lstm:5+gru:4", {"learned_initial_state": True, "dropout": 0.1}),
)
SIGNED = tuple(
    (f"{name}:8", {"negative_eigenvalues": True})
    for name in ("min_gru", "min_lstm", "rg_lru", "selective", "hgrn", "gated_delta")
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs by what they are made of, made when they are asked for."""
    found = {}

    def make(layer, options=()):
        wanted = (layer, *sorted(dict(options).items()))
        if wanted not in found:
            path = tmp_path_factory.mktemp("made") / "run"
            torch.manual_seed(len(found))
            found[wanted] = forecast_run(path, layer, **dict(options))
        run = found[wanted]
        return run, load(run.path)

    return make


def wide(model):
    """The model with its maths in float64."""
    other = type(model)(model.config).double().eval()
    other.load_state_dict(model.state_dict())
    return other


def agree(got, wanted, tolerance=1e-5):
    return float(difference(np.asarray(got), wanted.numpy()).max(initial=0.0)) <= tolerance


def check_same_state(got, wanted):
    names = states.names(wanted)
    assert list(got) == names
    for name, leaf in zip(names, states.leaves(wanted), strict=True):
        assert got[name].shape == tuple(leaf.shape)
        assert agree(got[name], leaf), name


def test_every_layer_that_can_be_trained_by_name_runs_here():
    assert set(around.LAYERS) == set(tt.layers.names())


@pytest.mark.parametrize("layer", MADE_OF)
def test_what_was_recorded_at_training_is_met(made, layer):
    _, model = made(layer)
    found = model.verify()
    assert found.steps > 60
    assert found.rows > 10
    assert found.largest <= 1e-5


@pytest.mark.parametrize(
    ("layer", "options"), [*((layer, {}) for layer in MADE_OF), *NOISE, *SIGNED]
)
@torch.no_grad()
def test_runs_are_those_of_float64_with_restarts_and_cuts(made, layer, options):
    run, model = made(layer, options)
    random = np.random.default_rng(1)
    x = random.standard_normal((3, 40, model.network.features)).astype(np.float32)
    resets = random.random((3, 40)) < 0.05
    wanted, end = wide(run.model)(torch.from_numpy(x).double(), resets=torch.from_numpy(resets))
    outputs, state = model.run(x, resets=resets)
    assert agree(outputs, wanted)
    check_same_state(state, end)
    carried = None
    parts = []
    for begin, stop in pairwise((0, 1, 7, 30, 40)):
        part, carried = model.run(x[:, begin:stop], carried, resets=resets[:, begin:stop])
        parts.append(part)
    assert np.array_equal(np.concatenate(parts, axis=1), outputs)
    assert all(np.array_equal(carried[name], state[name]) for name in state)


@pytest.mark.parametrize("layer", MADE_OF)
def test_steps_are_runs_and_leave_the_state_as_it_was(made, layer):
    _, model = made(layer)
    random = np.random.default_rng(2)
    x = random.standard_normal((2, 5, model.network.features)).astype(np.float32)
    outputs, end = model.run(x)
    state = model.initial_state(2)
    for t in range(5):
        before = {name: leaf.copy() for name, leaf in state.items()}
        y, after = model.step(x[:, t], state)
        assert np.array_equal(y, outputs[:, t])
        assert all(np.array_equal(before[name], state[name]) for name in state)
        state = after
    assert all(np.array_equal(end[name], state[name]) for name in end)
    y, after = model.step(x[:, 0], end, reset=np.array([True, False]))
    fresh, _ = model.step(x[:, 0], model.initial_state(2))
    assert np.array_equal(y[0], fresh[0])
    assert not np.array_equal(y[1], fresh[1])


@pytest.mark.parametrize("layer", ["rnn:8", "gru:8", "lstm:8", "echo_state:8"])
def test_compiled_cells_are_those_of_numpy(made, layer, monkeypatch):
    run, model = made(layer)
    monkeypatch.setattr(around, "compiled", lambda layer: False)
    plain = load(run.path)
    assert plain.backend == "numpy"
    if model.backend == "numpy":
        pytest.skip("needs the compiled library, which was not built here")
    assert model.backend == "native"
    x = np.random.default_rng(3).standard_normal((4, 9, model.network.features))
    x = x.astype(np.float32)
    got, end = model.run(x)
    wanted, end_of_plain = plain.run(x)
    assert float(difference(got, wanted).max()) < 1e-6
    assert all(float(difference(end[name], end_of_plain[name]).max()) < 1e-6 for name in end)
    assert plain.verify().largest <= 1e-5


@pytest.mark.parametrize("mode", ["characters", "bytes"])
@pytest.mark.parametrize("options", [{}, {"embedding_dropout": 0.2, "dropout": 0.1}])
@torch.no_grad()
def test_language_models_run_here(tmp_path, mode, options):
    run = language_run(tmp_path / "run", "lstm:6x2", mode=mode, **options)
    model = load(run.path)
    found = model.verify()
    assert found.rows > 50
    assert f" {found.rows} steps of raw data " in str(found)
    symbols = np.random.default_rng(0).integers(0, model.network.symbols, (2, 30))
    resets = np.zeros((2, 30), dtype=bool)
    resets[1, 11] = True
    wanted, end = wide(run.model)(torch.from_numpy(symbols), resets=torch.from_numpy(resets))
    outputs, state = model.run(symbols, resets=resets)
    assert agree(outputs, wanted)
    check_same_state(state, end)


@given(seed=st.integers(0, 2**31), place=st.integers(0, 200))
def test_an_altered_weight_is_found_where_it_first_shows(made, seed, place):
    _, model = made("gru:8")
    weights = model.network.head.weight
    kept = weights.copy()
    changed = kept.reshape(-1).copy()
    changed[place % changed.size] += 0.01 + seed / 2**31
    model.network.head.weight = changed.reshape(kept.shape)
    try:
        with pytest.raises(ParityError, match=r"^expected outputs of step \d+ of lane [01]"):
            model.verify()
    finally:
        model.network.head.weight = kept
    model.verify()


def test_the_first_step_that_differs_is_named(made):
    _, model = made("gru:8")
    recorded = model._parity["outputs"]
    model._parity["outputs"] = recorded.copy()
    model._parity["outputs"][1, 17, 0] += 1e-3
    model._parity["outputs"][0, 23, 0] = np.nan
    with pytest.raises(ParityError, match=r"outputs of step 17 of lane 1 within 1e-05.*0\.\d+ apa"):
        model.verify()
    model._parity["outputs"][1, 17] = recorded[1, 17]
    with pytest.raises(ParityError, match=r"outputs of step 23 of lane 0 .* not finite"):
        model.verify()
    model._parity["outputs"] = recorded
    end = model._parity["state.h"]
    model._parity["state.h"] = end + np.float32([[0], [1e-3]])
    with pytest.raises(ParityError, match="end state h of lane 1"):
        model.verify()
    model._parity["state.h"] = end
    made_of = model._parity["answer.quantiles"]
    model._parity["answer.quantiles"] = made_of.copy()
    model._parity["answer.quantiles"][5] *= 1.5
    with pytest.raises(ParityError, match="quantiles of raw row 5 "):
        model.verify()
    model._parity["answer.quantiles"] = made_of
    described = model._description
    model._description = bytes(32)
    with pytest.raises(ParityError, match="scaler, format"):
        model.verify()
    model._description = described
    model.verify()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lengths", np.array([1, 10**6])),
        ("lengths", np.array([1.0, 2.0])),
        ("inputs", np.zeros((2, 3), np.float32)),
        ("outputs", np.zeros((2, 3, 1), np.float32)),
        ("state.h", np.zeros((2, 3), np.float32)),
        ("answer.quantiles", np.zeros((2, 3), np.float32)),
        ("data.unique_id", np.array([2**40])),
        ("data.y", np.zeros(3)),
        ("data.restarts", None),
        ("state.h", None),
        ("outputs", None),
        ("description", None),
    ],
)
def test_records_that_are_none_are_refused(made, name, value):
    _, model = made("gru:8")
    kept = model._parity.pop(name)
    if value is not None:
        model._parity[name] = value
    try:
        with pytest.raises((BundleError, ShapeError)) as caught:
            model.verify()
    finally:
        model._parity[name] = kept
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("expected")
    model.verify()


def test_arguments_of_another_kind_are_refused_with_what_was_expected(made, tmp_path):
    _, model = made("gru:8")
    state = model.initial_state(2)
    x = np.zeros((2, 2), np.float32)
    for wrong, message in (
        (np.zeros((2, 3), np.float32), r"F\) with F = 2, got \(2, 3\)"),
        (np.zeros((2, 4, 2), np.float32), "run takes the other rank"),
        (np.zeros((2, 2)), "float32, got float64"),
        (np.zeros((0, 2), np.float32), "got"),
    ):
        with pytest.raises(ShapeError, match=message):
            model.step(wrong, state)
    with pytest.raises(ShapeError, match="step takes the other rank"):
        model.run(x)
    with pytest.raises(ShapeError, match="reset as"):
        model.step(x, state, reset=np.array([1, 0]))
    for wrong in ({}, {"c": state["h"]}, {"h": state["h"][:1]}, {"h": state["h"].astype(float)}):
        with pytest.raises(StateError, match="initial_state"):
            model.step(x, wrong)
    text = load(language_run(tmp_path / "run", "gru:4").path)
    for wrong in (np.array([-1]), np.array([10**6]), np.array([0.0]), np.array([[1]])):
        with pytest.raises(ShapeError):
            text.step(wrong, text.initial_state(1))


@pytest.mark.parametrize("layer", [layer for layer in MADE_OF if "x2" not in layer])
@torch.no_grad()
def test_long_runs_stay_as_near_to_float64_as_torch_does(made, layer):
    """Where a layer enlarges rounding by itself, no float32 is near; torch's steps are the bar."""
    run, model = made(layer)
    x = np.random.default_rng(4).standard_normal((1, 400, model.network.features))
    x = torch.from_numpy(x.astype(np.float32))
    wanted, _ = wide(run.model)(x.double())
    with tt.kernels.use("reference"):
        outputs, _ = run.model(x)
    of_torch = float(difference(outputs.numpy(), wanted.numpy()).max())
    ours = float(difference(model.run(x.numpy())[0], wanted.numpy()).max())
    assert ours <= max(1e-6, 3 * of_torch)
