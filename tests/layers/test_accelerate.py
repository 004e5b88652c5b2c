"""Accelerated modules give what torch.nn gives: outputs, ends and gradients, in every form."""

import pytest
import torch
from accelerated import FEATURES, KINDS, call, close, hidden, make, packed, same_numbers, twins
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from throughtime import kernels

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


@st.composite
def configurations(draw):
    """Draw a module's options and the lengths of its input."""
    layers = draw(st.integers(1, 3))
    return {
        "kind": draw(st.sampled_from(sorted(KINDS))),
        "layers": layers,
        "bias": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "dropout": draw(st.sampled_from([0.0, 0.4, 1.0])) if layers > 1 else 0.0,
    }


forms = st.sampled_from(["batch", "one", "packed", "sorted"])
several_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def draw_input(module, form, lengths):
    """Give an input and how many lanes its hx has."""
    x = torch.randn(len(lengths), max(lengths), FEATURES, dtype=torch.float64)
    if form == "one":
        return x[0].requires_grad_(), ()
    if form == "batch":
        x = x if module.batch_first else x.transpose(0, 1)
        return x.requires_grad_(), (len(lengths),)
    if form == "packed":
        return packed(x.requires_grad_(), lengths), (len(lengths),)
    lengths = sorted(lengths, reverse=True)
    return pack_padded_sequence(x.requires_grad_(), lengths, batch_first=True), (len(lengths),)


@settings(max_examples=150)
@given(configurations(), forms, several_lengths, st.booleans(), st.booleans())
def test_what_torch_computes_is_computed(options, form, lengths, carried, training):
    theirs, fast = twins(make(**options).train(training))
    input, lanes = draw_input(theirs, form, lengths)
    hx = hidden(theirs, *lanes) if carried else None
    with kernels.use("reference"):
        assert fast.backend == "reference: asked for"
        got = call(fast, input, hx)
    close(got, call(theirs, input, hx), TOLERANCE[torch.float64])


@pytest.mark.parametrize("backend", kernels.BACKENDS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_backend_computes_it(kind, layers, both, backend):
    theirs, fast = twins(make(kind, layers, bidirectional=both, dtype=torch.float32))
    x = torch.randn(9, 5, FEATURES, requires_grad=True)
    hx = hidden(theirs, 5, dtype=torch.float32)
    ragged = packed(x.transpose(0, 1), [3, 9, 1, 9, 2])
    with kernels.use(backend):
        dense, several = call(fast, x, hx), call(fast, ragged, hx)
    close(dense, call(theirs, x, hx), TOLERANCE[torch.float32])
    close(several, call(theirs, ragged, hx), TOLERANCE[torch.float32])


@pytest.mark.parametrize("kind", KINDS)
def test_without_being_told_the_numbers_are_torchs(kind):
    theirs, fast = twins(make(kind, 2, bidirectional=True, dropout=0.3, dtype=torch.float32))
    x = torch.randn(9, 5, FEATURES, requires_grad=True)
    close(call(fast, x), call(theirs, x), TOLERANCE[torch.float32])


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_drops_what_it_drops_in_torch(kind):
    theirs, fast = twins(make(kind, 3, dropout=0.5, bidirectional=True, batch_first=True))
    x = torch.randn(2, 4, FEATURES, dtype=torch.float64)
    with kernels.use("reference"):
        results = [call(module, x, seed=seed) for seed in (1, 2) for module in (fast, theirs)]
    close(results[0], results[1], TOLERANCE[torch.float64])
    close(results[2], results[3], TOLERANCE[torch.float64])
    assert not torch.equal(results[0].output, results[2].output)
    theirs.eval(), fast.eval()
    with kernels.use("reference"):
        one, two = (call(fast, x, seed=seed) for seed in (1, 2))
    assert torch.equal(one.output, two.output)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_sequences_is_the_users(kind):
    theirs, fast = twins(make(kind, 2, bidirectional=True))
    sequences = [torch.randn(n, FEATURES, dtype=torch.float64) for n in (2, 5, 1, 5, 3)]
    hx = hidden(theirs, 5)
    with kernels.use("reference"):
        together = call(fast, pack_sequence(sequences, enforce_sorted=False), hx)
        for lane, sequence in enumerate(sequences):
            parts = [leaf[:, lane] for leaf in (hx if isinstance(hx, tuple) else (hx,))]
            _, end = fast(sequence, tuple(parts) if kind == "lstm" else parts[0])
            ends = end if isinstance(end, tuple) else (end,)
            for alone, one_of_all in zip(ends, together.ends, strict=True):
                same_numbers(one_of_all[:, lane], alone, TOLERANCE[torch.float64])


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradients_are_kept_where_none_are_wanted(kind):
    theirs, fast = twins(make(kind, 2, dtype=torch.float32))
    x = torch.randn(7, 5, FEATURES)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), kernels.use("reference"):
            output, _ = fast(x)
            assert not output.requires_grad
            same_numbers(output, theirs(x)[0], TOLERANCE[torch.float32])


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_weights_pass_gradients_on(kind):
    theirs, fast = twins(make(kind, 2).requires_grad_(False))
    x = torch.randn(7, 5, FEATURES, dtype=torch.float64, requires_grad=True)
    gradients = []
    with kernels.use("reference"):
        for module in (theirs, fast):
            gradients.append(torch.autograd.grad(module(x)[0].sin().sum(), x)[0])
    same_numbers(gradients[1], gradients[0], 1e-12)


@pytest.mark.parametrize("backend", kernels.BACKENDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_relu", "gru"])  # oneDNN's LSTM forbids it
def test_outputs_may_be_changed_in_place_and_viewed(kind, layers, backend):
    theirs, fast = twins(make(kind, layers, dtype=torch.float32))
    x = torch.randn(9, 5, FEATURES)
    totals = []
    for module in (theirs, fast):
        with kernels.use(backend):
            output, end = module(x)
        output.mul_(2).clamp_(min=-0.5)
        end.mul_(3)
        output.view(45, -1).sum().backward()
        totals.append([p.grad for p in module.parameters()])
    for got, wanted in zip(*totals, strict=True):
        same_numbers(got, wanted, 1e-5)


def skip_without_bfloat16():
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("torch has no bfloat16 LSTM on this processor")


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("form", ["batch", "one", "even", "ragged"])
@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_types_are_torchs(kind, form, backend):
    if kind == "lstm" and form != "ragged":
        skip_without_bfloat16()
    theirs, fast = twins(make(kind, 2, bidirectional=True, dtype=torch.float32))
    lanes = () if form == "one" else (2,)
    for of_input in (torch.float32, torch.bfloat16):
        x = torch.randn(*lanes, 9, FEATURES, dtype=of_input)
        if form in ("even", "ragged"):
            x = packed(x, [9, 9] if form == "even" else [4, 9])
        elif form == "batch":
            x = x.transpose(0, 1)
        for of_state in (None, torch.float32, torch.bfloat16):
            hx = None if of_state is None else hidden(theirs, *lanes, dtype=of_state)
            with torch.autocast("cpu", dtype=torch.bfloat16), kernels.use(backend):
                assert backend == "native" or fast.backend == "reference: asked for"
                wanted, got = call(theirs, x, hx), call(fast, x, hx)
            for mine, of_torch in zip(got.gradients, wanted.gradients, strict=True):
                scale = of_torch.abs().max() + 1
                assert mine.dtype == of_torch.dtype
                # At the kink of relu, rounding decides between two gradients.
                if kind != "rnn_relu":
                    assert ((mine - of_torch).abs() <= 5e-2 * scale).all()
            close(got._replace(gradients=()), wanted._replace(gradients=()), 2e-2)


def test_states_of_two_types_are_torchs_matter():
    skip_without_bfloat16()
    theirs, fast = twins(make("lstm", dtype=torch.float32))
    x, h = torch.randn(9, 2, FEATURES), torch.randn(1, 2, 4)
    for hx in ((h, h.bfloat16()), (h.bfloat16(), h)):
        with torch.autocast("cpu", dtype=torch.bfloat16), kernels.use("reference"):
            (_, wanted), (_, got) = theirs(x, hx), fast(x, hx)
        assert [leaf.dtype for leaf in got] == [leaf.dtype for leaf in wanted]
        assert all(map(torch.equal, got, wanted))


def test_dropout_of_one_layer_means_nothing_in_torch_and_here():
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        module = make("gru", dropout=0.5)
    theirs, fast = twins(module)
    x = torch.randn(4, 2, FEATURES, dtype=torch.float64)
    with kernels.use("reference"):
        close(call(fast, x), call(theirs, x), TOLERANCE[torch.float64])


WRONG = {
    "4-D input": lambda m: m(torch.zeros(2, 2, 2, FEATURES)),
    "another F": lambda m: m(torch.zeros(5, 2, FEATURES + 1)),
    "another dtype": lambda m: m(torch.zeros(5, 2, FEATURES).double()),
    "another device": lambda m: m(torch.zeros(5, 2, FEATURES, device="meta")),
    "no step": lambda m: m(torch.zeros(0, 2, FEATURES)),
    "hx of another B": lambda m: m(torch.zeros(5, 2, FEATURES), hidden(m, 3, dtype=torch.float32)),
    "hx without B": lambda m: m(torch.zeros(5, 2, FEATURES), hidden(m, dtype=torch.float32)),
    "hx of another dtype": lambda m: m(torch.zeros(5, 2, FEATURES), hidden(m, 2)),
    "hx of another layer": lambda m: m(
        torch.zeros(5, 2, FEATURES), hidden(nn.GRU(3, 4, 2), 2, dtype=torch.float32)
    ),
    "hx as one number": lambda m: m(torch.zeros(5, 2, FEATURES), 0),
    "three in hx": lambda m: m(torch.zeros(5, 2, FEATURES), (torch.zeros(1, 2, 4),) * 3),
    "packed, with another F": lambda m: m(packed(torch.zeros(2, 5, FEATURES + 1), [5, 3])),
    "packed, hx of another B": lambda m: m(
        packed(torch.zeros(2, 5, FEATURES), [3, 5]), hidden(m, 1, dtype=torch.float32)
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_wrong_call_is_torchs_own_error(kind, wrong):
    theirs, fast = twins(make(kind, dtype=torch.float32))
    with pytest.raises(Exception) as wanted:  # noqa: PT011
        WRONG[wrong](theirs)
    with pytest.raises(wanted.type) as raised, kernels.use("reference"):
        WRONG[wrong](fast)
    assert str(raised.value) == str(wanted.value)


def test_hx_may_be_a_list_and_both_may_be_named():
    theirs, fast = twins(make("lstm"))
    x = torch.randn(5, 2, FEATURES, dtype=torch.float64)
    hx = list(hidden(theirs, 2))
    with kernels.use("reference"):
        same_numbers(fast(input=x, hx=hx)[0], theirs(x, hx)[0], TOLERANCE[torch.float64])


def test_no_lane_gives_what_torch_gives():
    theirs, fast = twins(make("gru", dtype=torch.float32))
    x = torch.zeros(5, 0, FEATURES)
    with kernels.use("reference"):
        assert fast(x)[0].shape == theirs(x)[0].shape


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_in_one_sequence_is_in_no_other(kind, both):
    theirs, fast = twins(make(kind, 2, bidirectional=both))
    x = torch.randn(3, 6, FEATURES, dtype=torch.float64)
    x[1, 0] = float("nan")
    x.requires_grad_()
    for module in (fast, theirs):
        with kernels.use("reference"):
            output, end = module(packed(x, [2, 6, 4]))
        ends = end if isinstance(end, tuple) else (end,)
        assert all(leaf[:, [0, 2]].isfinite().all() for leaf in ends)
        loss = output.data.sum() + sum(leaf.sum() for leaf in ends)
        gradient = torch.autograd.grad(loss, x)[0]
        assert gradient[[0, 2]].isfinite().all()
        assert output.data.isnan().any()
