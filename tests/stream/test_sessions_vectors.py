"""Sessions of vectors: slots, steps, use and age; and that the steps are those of the model."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from throughtime import kernels, layers
from throughtime.errors import NotStreamableError, OptionError, ShapeError
from throughtime.kernels import library
from throughtime.kernels.stepper import LinearMap
from throughtime.model import ModelConfig, SequenceModel
from throughtime.stream import VectorSessions
from throughtime.stream.slab import TOGETHER, NativeSlab, Slab
from throughtime.stream.together import LANES, lanes_together

LAYERS = ["gru:9", "lstm:17x2", "rnn:5", "gru:6+lstm:4", "min_gru:6", "layer_norm_gru:5"]
NATIVE = LAYERS[:4]


def make_model(layer="gru:9", **options):
    options = {"features": 3} | options
    return SequenceModel(ModelConfig(layer=layer, outputs=4, **options)).eval()


def vectors(model, *shape, seed=1):
    random = np.random.default_rng(seed)
    if model.config.symbols is not None:
        return random.integers(0, model.config.symbols, shape)
    return random.standard_normal((*shape, model.config.features)).astype(np.float32)


def forward(model, x):
    with torch.no_grad():
        return model(torch.from_numpy(x))[0].numpy()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "options",
    [
        {"learned_initial_state": True},
        {"symbols": 11, "features": None, "embedding": 6, "embedding_dropout": 0.2},
    ],
    ids=["numbers", "symbols"],
)
def test_steps_are_those_of_the_model(layer, options):
    if options.get("learned_initial_state") and layer not in NATIVE:
        options = {}
    model = make_model(layer, dropout=0.5 if "x2" in layer else 0.0, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = vectors(model, 7, 12)
    expected = forward(model, x)
    sessions = VectorSessions(model, slots=20)
    assert isinstance(sessions._slab, NativeSlab) == (layer in NATIVE)
    with kernels.use("reference"):
        plain = VectorSessions(model, slots=7)
    assert type(plain._slab) is Slab
    keys = [f"{number}" for number in range(7)]
    for step in range(12):
        order = np.random.default_rng(step).permutation(7)
        for own in (sessions, plain):
            y = own.step([keys[i] for i in order], x[order, step])
            np.testing.assert_allclose(y, expected[order, step], rtol=1e-5, atol=1e-6)
    for name, leaf in plain._slab.leaves.items():
        other = sessions._slab.leaves[name]
        for key in keys:
            np.testing.assert_allclose(
                other[sessions._directory.slot(key)],
                leaf[plain._directory.slot(key)],
                rtol=1e-5,
                atol=1e-6,
            )


EVERY = [*LAYERS, *(f"{name}:12" for name in layers.names()), "rg_lru:10x2:conv:block", "gru:150"]


@pytest.mark.parametrize("layer", EVERY)
def test_company_changes_no_bit(layer):
    model = make_model(layer)
    count = TOGETHER + 40 if layer in NATIVE else 2 * LANES + 9
    keys = [f"{number}" for number in range(count)]
    x = vectors(model, 2, count)
    together, alone = VectorSessions(model, slots=count), VectorSessions(model, slots=count)
    y = [together.step(keys, each) for each in x]
    order = np.random.default_rng(0).permutation(count)
    # By ones, by fives, and the rest in one step, each in another place than before.
    parts = [*order[:6, None], *order[6:36].reshape(-1, 5), order[36:]]
    for part in parts:
        for step in range(2):
            own = alone.step([keys[place] for place in part], x[step, part])
            assert own.tobytes() == y[step][part].tobytes()


def test_a_model_that_treats_places_unlike_is_stepped_one_lane_at_a_time(monkeypatch):
    model = make_model("min_gru:64", features=64)
    if lanes_together(model) == 1:
        pytest.skip("the products of this machine treat places unlike")
    honest = model.step

    def by_place(x, state, **options):
        output, after = honest(x, state, **options)
        return output + 1e-6 * (torch.arange(len(x)) == 30)[:, None], after

    monkeypatch.setattr(model, "step", by_place)
    assert lanes_together(model) == 1
    sessions = VectorSessions(model, slots=40)
    x = vectors(model, 40)
    y = sessions.step([str(number) for number in range(40)], x)
    monkeypatch.undo()
    np.testing.assert_allclose(y, forward(model, x[:, None])[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", ["gru:9", "hgrn:8", "gated_delta:8"])
def test_a_nan_stays_in_its_session(layer):
    model = make_model(layer)
    x = vectors(model, 2, 3)
    clean = VectorSessions(model, slots=3)
    wanted = [clean.step(["a", "b", "c"], each) for each in x]
    x[0, 1] = np.nan
    sessions = VectorSessions(model, slots=3)
    found = [sessions.step(["a", "b", "c"], each) for each in x]
    assert np.isnan(found[1][1]).all()
    assert np.array_equal(found[1][[0, 2]], wanted[1][[0, 2]])


def test_the_session_that_was_not_used_for_longest_goes():
    gone = {}
    model = make_model()
    sessions = VectorSessions(model, slots=3, leaving=gone.__setitem__)
    x = vectors(model, 1)
    for key in "abc":
        sessions.step([key], x)
    sessions.step(["a"], x)
    before = sessions.export("b")
    sessions.step(["d"], x)
    assert sessions.keys == ("c", "a", "d")
    assert gone == {"b": before}
    sessions.step(["e", "c", "f"], np.repeat(x, 3, axis=0))
    assert sessions.keys == ("e", "c", "f")
    assert list(gone) == ["b", "a", "d"]


def test_what_is_idle_goes_and_what_is_used_stays():
    now = [0.0]
    model = make_model()
    sessions = VectorSessions(model, slots=5, idle=10.0, clock=lambda: now[0])
    x = vectors(model, 1)
    first = sessions.step(["a"], x)
    second = sessions.step(["a"], x)
    sessions.open("b")
    now[0] = 10.0
    assert sessions.expire() == ()
    sessions.step(["b"], x)
    now[0] = 10.5
    assert np.array_equal(sessions.step(["a"], x), first), "it began afresh"
    assert sessions.keys == ("b", "a")
    now[0] = 20.25
    assert sessions.expire() == ("b",)
    assert np.array_equal(sessions.step(["a"], x), second)


def test_a_hook_that_fails_lets_nothing_go():
    def refuse(key, content):
        raise RuntimeError("no")

    model = make_model()
    sessions = VectorSessions(model, slots=1, leaving=refuse)
    x = vectors(model, 2)
    sessions.step(["a"], x[:1])
    before = sessions.export("a")
    with pytest.raises(RuntimeError, match="no"):
        sessions.step(["b"], x[1:])
    assert sessions.keys == ("a",)
    assert sessions.export("a") == before
    sessions.close("a")
    sessions.step(["b"], x[1:])


def test_a_closed_slot_begins_afresh():
    model = make_model("lstm:5", learned_initial_state=True)
    nn.init.normal_(model.layers.initial)
    sessions, x = VectorSessions(model, slots=1), vectors(model, 1)
    first = sessions.step(["a"], x)
    assert not np.array_equal(sessions.step(["a"], x), first)
    sessions.close("a")
    assert np.array_equal(sessions.step(["b"], x), first)


def test_what_fits_no_model_is_refused():
    model = make_model()
    sessions = VectorSessions(model, slots=4)
    x = vectors(model, 2)
    for wrong in (x[:1], x.astype(np.float64), x[:, :2], x[0]):
        with pytest.raises(ShapeError, match=r"expected x as float32 \(2, 3\) for 2 keys"):
            sessions.step(["a", "b"], wrong)
    with pytest.raises(OptionError, match="each session at most once in a step, got 'a' twice"):
        sessions.step(["a", "a"], x)
    of_symbols = VectorSessions(make_model(symbols=5, features=None), slots=4)
    for symbol in (-1, 5):
        with pytest.raises(ShapeError, match="expected symbols of 0 to 4"):
            of_symbols.step(["a"], np.array([symbol]))
    assert len(sessions) == len(of_symbols) == 0
    assert sessions.step([], x[:0]).shape == (0, 4)
    model.layers.streamable = False
    with pytest.raises(NotStreamableError):
        VectorSessions(model)


def test_dense_memory_is_not_asked_for():
    model = make_model()
    x = vectors(model, 4)
    sessions, other = VectorSessions(model, slots=4), VectorSessions(model, slots=4)
    wide = np.zeros((4, 6), np.float32)
    wide[:, ::2] = x
    keys = list("abcd")
    assert np.array_equal(sessions.step(keys, wide[:, ::2]), other.step(keys, x))


def test_a_snapshot_of_vectors_is_bound_to_the_weights(tmp_path):
    model, other = make_model(), make_model()
    other.load_state_dict(model.state_dict())
    sessions = VectorSessions(model, slots=3)
    x = vectors(model, 2)
    sessions.step(["a", "b"], x)
    sessions.snapshot(tmp_path / "snapshot")
    restored = VectorSessions.restore(other, tmp_path / "snapshot", slots=2)
    assert np.array_equal(restored.step(["b", "a"], x), sessions.step(["b", "a"], x))
    with torch.no_grad():
        other.head.bias[0] += 1
    with pytest.raises(ValueError, match="expected sessions of model"):
        VectorSessions.restore(other, tmp_path / "snapshot", slots=2)


def test_threads_may_share_sessions(tmp_path):
    model = make_model()
    sessions = VectorSessions(model, slots=40)
    x = vectors(model, 8, 25)
    expected = forward(model, x)
    failures = []

    def work(number):
        try:
            for step in range(25):
                y = sessions.step([f"{number}"], x[number, step : step + 1])
                np.testing.assert_allclose(y[0], expected[number, step], rtol=1e-5, atol=1e-6)
                if step % 8 == number:
                    sessions.snapshot(tmp_path / "snapshot")
                    sessions.fork(f"{number}", f"{number} {step}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert VectorSessions.restore(model, tmp_path / "snapshot", slots=40).keys


def check_many(sessions, model, count, together, seed):
    """Step distinct sessions three times each, as their slots come and go; compare every output."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, 3, model.config.features)).astype(np.float32)
    expected = forward(model, x)
    keys = [f"session {number}" for number in range(count)]
    waves = [range(begin, min(begin + together, count)) for begin in range(0, count, together)]
    for wave, members in enumerate(waves):
        # The third step of the wave before comes in between: it is there still, and goes on.
        parts = [(members, 0), (waves[wave - 1], 2) if wave else (range(0), 2), (members, 1)]
        for part, step in parts:
            order = random.permutation(np.array(part, dtype=np.int64))
            y = sessions.step([keys[i] for i in order], x[order, step])
            np.testing.assert_allclose(y, expected[order, step], rtol=1e-4, atol=1e-5)


def test_many_sessions_pass_through_few_slots():
    model = make_model()
    sessions = VectorSessions(model, slots=300)
    check_many(sessions, model, count=5000, together=100, seed=0)
    assert len(sessions) == 300


def test_that_check_notices_two_slots_that_are_one(monkeypatch):
    model = make_model()
    sessions = VectorSessions(model, slots=300)
    sessions._directory._free[150] = sessions._directory._free[151]
    with pytest.raises((AssertionError, OptionError)):
        check_many(sessions, model, count=5000, together=100, seed=0)


@pytest.mark.slow
def test_a_million_sessions_pass_through_fifty_thousand_slots():
    model = make_model()
    sessions = VectorSessions(model, slots=50_000)
    check_many(sessions, model, count=1_000_000, together=10_000, seed=0)
    assert set(sessions.keys) == {f"session {number}" for number in range(950_000, 1_000_000)}


@pytest.mark.skipif(library.why_missing() is not None, reason="no native kernels")
@pytest.mark.parametrize("sizes", [(1, 1), (3, 33), (64, 9), (65, 16), (130, 40)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_map_is_linear_and_alike_in_any_company(sizes, bias):
    linear = nn.Linear(*sizes, bias=bias)
    x = torch.randn(101, sizes[0])
    with torch.no_grad():
        expected = linear.double()(x.double()).float().numpy()
    linear.float()
    before = library.load().tt_instruction_set()
    try:
        for name in ("portable", "avx2", "avx512"):
            if library.load().tt_use_instruction_set(name.encode()):
                continue
            packed = LinearMap(linear)
            y = packed.apply(x.numpy())
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
            for place in range(101):
                row = packed.apply(x.numpy()[place : place + 1])
                assert row.tobytes() == y[place : place + 1].tobytes()
    finally:
        library.load().tt_use_instruction_set(before)
    assert packed.apply(x.numpy()[:0]).shape == (0, sizes[1])
    for wrong in (x.numpy()[:, :0], x.double().numpy(), x.numpy()[0], np.asfortranarray(x.numpy())):
        if wrong.flags.c_contiguous and wrong.shape == x.shape and wrong.dtype == np.float32:
            continue
        with pytest.raises(ShapeError, match="expected x as dense float32"):
            packed.apply(wrong)
