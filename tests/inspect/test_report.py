"""The report of a run: what it measures against the model stepped by hand, and what the page is."""

import base64
import json
import math
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

import throughtime as tt
from throughtime import state as states
from throughtime.errors import DataError, ThroughtimeError
from throughtime.inspect.leaves import float_leaves
from throughtime.inspect.report import NotMeasured, contents
from throughtime.inspect.report.reading import Units, read_stretch, states_at
from throughtime.inspect.report.series import SeriesStretch, series_stretch
from throughtime.inspect.report.states import path
from throughtime.inspect.report.text import TextStretch, followers, mattered
from throughtime.model import ModelConfig, SequenceModel

LINE = "To be, or <script>alert('&amp;')</script> not to be & so on.\n"


@pytest.fixture(scope="module", autouse=True)
def _small():
    """Fewer places and symbols than people get, so that tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "POSITIONS", 30)
        patch.setattr(contents, "SYMBOLS", 150)
        patch.setattr(contents, "WARM", 60)
        yield


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A run on a text that would be a program, were it put into a page as it is."""
    folder = tmp_path_factory.mktemp("language")
    text = folder / "text.txt"
    text.write_text(LINE * 60)
    run = tt.fit(str(text), layer="gru:6x2", budget="20steps", out=folder / "<b>run", show=False)
    report = tt.inspect.report(run)
    return SimpleNamespace(run=run, report=report, html=report.to_html())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run on two series, of which the longer one is shown."""
    folder = tmp_path_factory.mktemp("table")
    rows = [
        {"unique_id": name, "ds": day, "y": math.sin(day / 3) + 0.01 * day}
        for name, count in (("short", 200), ("the longest", 300))
        for day in range(count)
    ]
    run = tt.fit(
        pl.DataFrame(rows), layer="lstm:5", budget="10steps", out=folder / "run", show=False
    )
    report = tt.inspect.report(run, pl.DataFrame(rows))
    return SimpleNamespace(run=run, report=report, html=report.to_html())


def _ids(run):
    whole = run.task.long_example(run.task.read(run.source))
    return torch.from_numpy(whole.inputs)


class Page(HTMLParser):
    """What a page is made of: its elements, the text shown, the data inside, what it would load."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.shown, self.data, self.loads = [], [], "", []
        self._inside = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append(tag)
        self.loads += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        self._inside.append((tag, found.get("id")))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if ("div", "text") in self._inside:
            self.shown.append(data)
        if self._inside and self._inside[-1] == ("script", "data"):
            self.data += data


def test_surprise_is_that_of_the_model_stepped_by_hand(language):
    stretch, model = language.report.stretch, language.run.model
    assert isinstance(stretch, TextStretch)
    ids = _ids(language.run)[: stretch.start + len(stretch.symbols)]
    state, made = model.initial_state(1), []
    with torch.no_grad():
        for symbol in ids:
            outputs, state = model.step(symbol[None], state)
            made.append(outputs[0].log_softmax(0))
    surprises = [-float(made[t - 1][ids[t]]) for t in range(stretch.start, len(ids))]
    assert len(stretch.symbols) == 150
    torch.testing.assert_close(stretch.surprise, torch.tensor(surprises).double(), **_near)
    h = stretch.units[-1].values[-1]
    torch.testing.assert_close(h, state[-1].h[0], **_near)
    best, chance = stretch.likely[0][0]
    given = language.run.task.vocabulary.symbols.index(best)
    with torch.no_grad():
        before = model(ids[None, : stretch.start])[0][0, -1].softmax(0)
    assert given == int(before.argmax())
    assert chance == pytest.approx(float(before.max()), abs=1e-5)


_near = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("later", [0, 63, 64, 149])
def test_what_mattered_is_the_gradient_through_the_whole_text_before(language, later):
    stretch, model = language.report.stretch, language.run.model
    place = stretch.start + later
    ids = _ids(language.run)[: place + 1]
    vectors = [v.detach().requires_grad_() for v in model.embedding(ids[:-1])]
    state = model.layers.initial_state(1)
    for vector in vectors:
        y, state = model.layers.step(vector[None], state)
    logits = model.head(y).log_softmax(1)
    gradients = torch.autograd.grad(logits[0, ids[-1]], vectors)
    wanted = [float(each.norm()) for each in reversed(gradients)][: stretch.mattered.shape[1]]
    found = stretch.mattered[later].tolist()
    assert found[: len(wanted)] == pytest.approx(wanted, rel=1e-3, abs=1e-7)
    assert not any(found[len(wanted) :])
    assert wanted[0] > 0


def test_a_state_carried_in_is_what_what_mattered_starts_from(language):
    model, ids = language.run.model, _ids(language.run)[:100]
    near, far = (mattered(model, ids, 90, back=back) for back in (5, 40))
    torch.testing.assert_close(near, far[:, :5], rtol=1e-4, atol=1e-8)


def test_nothing_of_the_text_or_the_name_becomes_part_of_the_page(language):
    html = language.html
    page = Page(html)
    assert page.elements.count("script") == 2
    assert "b" not in page.elements
    shown = "".join(page.shown).replace("↵", "")
    assert shown == language.report.stretch.symbols
    assert "<script>alert" in shown
    assert "<script>alert" not in html
    assert "".join(json.loads(page.data)["symbols"]) == shown


def test_a_page_loads_nothing_else(language, table):
    for html in (language.html, table.html):
        page = Page(html)
        assert page.elements.count("svg") >= 6
        assert all(each.startswith(("#", "data:image/png;base64,")) for each in page.loads)
        assert not {"link", "iframe", "img", "audio", "video"} & set(page.elements)


def test_the_json_has_every_number_that_the_page_colours_by(language):
    content = json.loads(json.dumps(language.report.to_json(), allow_nan=False))
    inside = json.loads(Page(language.html).data)
    stretch = content["stretch"]
    count = len(stretch["symbols"])
    assert inside["surprise"] == stretch["surprise"]
    assert inside["likely"] == stretch["likely"]
    for shown, layer in zip(inside["layers"], stretch["units"], strict=True):
        levels = np.frombuffer(base64.b64decode(shown["values"]), np.int8).reshape(-1, count)
        scales = np.array(shown["scales"])
        wanted = np.array(layer["values"])
        assert np.abs(levels / 127 * scales[:, None] - wanted.T).max() <= 0.006 * scales.max()
        assert np.allclose(scales, np.abs(wanted).max(0), rtol=1e-3)
    roots = np.frombuffer(base64.b64decode(inside["mattered"]), np.uint8).reshape(count, -1)
    shares = np.array(inside["peaks"])[:, None] * (roots / 255.0) ** 2
    wanted = np.array(stretch["mattered"])
    assert np.abs(shares - wanted / wanted.sum(1, keepdims=True)).max() < 0.006
    assert content["lines"] == language.report.lines()
    assert len(content["gates"]) == 2


def test_forecasts_are_beside_the_last_rows_of_the_longest_series(table):
    stretch = table.report.stretch
    assert isinstance(stretch, SeriesStretch)
    assert (stretch.unique_id, stretch.series) == ("the longest", 2)
    count = len(stretch.times)
    assert stretch.times[-1] == "299"
    days = np.arange(300 - count, 300)
    np.testing.assert_allclose(stretch.truth, np.sin(days / 3) + 0.01 * days)
    assert (stretch.low <= stretch.middle).all()
    assert (stretch.middle <= stretch.high).all()
    inside = [
        low <= y <= high
        for low, y, high in zip(stretch.low, stretch.truth, stretch.high, strict=True)
    ]
    assert stretch.covered == pytest.approx(sum(inside) / count)
    (units,) = stretch.units
    assert (units.what, tuple(units.values.shape)) == ("c", (count, 5))
    content = json.loads(json.dumps(table.report.to_json(), allow_nan=False))
    assert len(content["stretch"]["low"]) == count
    assert sorted(content["gates"][0]) == ["f", "i", "layer", "o"]


def test_a_forecast_of_a_row_has_not_seen_it(table):
    read = table.run.task.read(
        pl.DataFrame(
            {"unique_id": "x", "ds": range(150), "y": [math.sin(d / 3) for d in range(150)]}
        )
    )
    before = series_stretch(table.run.task, table.run.model, read, ())
    read.series[0].y[-1] = 50.0
    after = series_stretch(table.run.task, table.run.model, read, ())
    np.testing.assert_array_equal(before.middle, after.middle)
    assert after.truth[-1] == 50.0


def test_a_unit_that_follows_the_line_is_found():
    symbols = "one\ntwo words\n" * 20
    since, lengths = 0, []
    for symbol in symbols:
        since = 0 if symbol == "\n" else since + 1
        lengths.append(-2.0 * since)
    values = torch.randn(len(symbols), 4)
    values[1:, 2] = torch.tensor(lengths[1:])
    found = followers(
        symbols,
        (
            Units("1 GRU", "h", torch.randn(len(symbols), 3), None),
            Units("2 GRU", "h", values, None),
        ),
    )
    assert found[0][:3] == ("2 GRU", 2, "how long the line is")
    assert found[0].correlation < -0.99


LAYERS = {
    "rnn:6": ("h", "no gates", None),
    "lstm:6x2": ("c", None, None),
    "gru:6:block": ("h", None, None),
    "slstm:8": ("c", None, None),
    "lru:6": ("state", "complex", None),
    "min_gru:6:conv": ("state", None, None),
    "attention:8": ("output", "no gates", "no vector"),
    "mlstm:8": ("output", "no gates", "no vector"),
    "gru:6+attention:8:block": ("output", "no gates", "no vector"),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_layer_has_no_figure_for_is_said(layer):
    what, gates, rest = LAYERS[layer]
    model = SequenceModel(ModelConfig(features=2, layer=layer, outputs=1)).eval()
    inputs = torch.randn(40, 2)
    resets = torch.zeros(40, dtype=torch.bool)
    resets[[0, 15]] = True
    reading = read_stretch(model, inputs, 10, resets=resets)
    shown = reading.units[-1]
    assert shown.what == what
    with torch.no_grad():
        outputs, end = model(inputs[None], resets=resets[None])
    torch.testing.assert_close(reading.outputs, outputs[0, 9:], **_near)
    if shown.offset is not None:
        flat = torch.cat([leaf[0].flatten() for leaf in float_leaves(end).values()])
        first = len(flat) - shown.offset
        own = flat[first : first + shown.values.shape[1]]
        torch.testing.assert_close(shown.values[-1], own, **_near)
    if gates is None:
        assert all(
            0 <= float(gate.min()) <= float(gate.max()) <= 1
            for gate in reading.gates[-1].values.values()
        )
        assert reading.gates[-1].values
    else:
        assert gates in reading.gates[-1].why
    drawn = path(model, reading.units, inputs, 10, ("nothing", torch.zeros(2)), resets=resets)
    if rest is not None:
        assert rest in drawn.rest.why
        return
    assert drawn.points.shape == (30, 2)
    fixed = drawn.rest.speeds[drawn.rest.fixed]
    assert (fixed < 1e-9).all()


def test_gates_and_states_of_a_layer_that_learned_under_noise_are_seen():
    config = ModelConfig(features=2, layer="lstm:4", outputs=1, zoneout=0.2)
    model = SequenceModel(config).eval()
    inputs = torch.randn(20, 2)
    reading = read_stretch(model, inputs, 5)
    (units,), (gates,) = reading.units, reading.gates
    with torch.no_grad():
        _, end = model(inputs[None])
    torch.testing.assert_close(units.values[-1], end.layer.c[0], **_near)
    assert sorted(gates.values) == ["f", "i", "o"]
    assert gates.layer == "1 LSTM"


def test_states_at_are_those_before_the_steps():
    model = SequenceModel(ModelConfig(features=2, layer="lstm:4", outputs=1)).eval()
    inputs = torch.randn(9, 2)
    found = states_at(model, inputs, [0, 3, 3, 9])
    for lane, steps in enumerate((0, 3, 3, 9)):
        with torch.no_grad():
            state = model(inputs[None, :steps])[1] if steps else model.initial_state(1)
        for ours, wanted in zip(
            states.leaves(states.take(found, torch.tensor([lane]))),
            states.leaves(state),
            strict=True,
        ):
            torch.testing.assert_close(ours, wanted, **_near)


def test_what_cannot_be_measured_says_why_and_the_page_is_there(language, monkeypatch):
    def refuse(*given, **named):
        raise DataError("expected more of it, got less")

    monkeypatch.setattr(contents, "memory_report", refuse)
    monkeypatch.setattr(contents, "lint_run", refuse)
    report = tt.inspect.report(language.run)
    assert report.memory == NotMeasured("expected more of it, got less")
    content = report.to_json()
    assert content["memory"] == {"not_measured": "expected more of it, got less"}
    assert report.to_html().count("expected more of it, got less") >= 2
    assert report.lines()[0] == "memory not measured: expected more of it, got less"


def test_what_is_too_short_for_an_exponent_has_a_page_too(language, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("To be or not to be. " * 8)
    report = tt.inspect.report(language.run, str(text))
    lines = report.lines()
    assert "the sequences are too short to measure a Lyapunov exponent" in lines
    assert not any("nan" in line or "inf" in line.split() for line in lines)
    assert "Lyapunov exponents</h3>" in report.to_html()
    json.dumps(report.to_json(), allow_nan=False)


def test_scores_that_someone_spoilt_are_left_out(language):
    file = language.run.path / "results.json"
    kept = file.read_text()
    assert "this model" in language.report.scores
    try:
        for spoilt in ("{", "[]", '{"splits": {"validation": 3}, "baselines": {}}'):
            file.write_text(spoilt)
            assert contents._scores(language.run) == {}
    finally:
        file.write_text(kept)


def test_progress_is_told_from_nothing_to_all(table, monkeypatch):
    monkeypatch.setattr(contents, "memory_report", lambda *given, **named: NotMeasured("no"))
    told = []
    rows = pl.DataFrame(
        {"unique_id": "x", "ds": range(150), "y": [float(d % 7) for d in range(150)]}
    )
    tt.inspect.report(table.run, rows, show=lambda share, title: told.append(share))
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)


def test_a_page_without_matplotlib_says_what_to_install(language, monkeypatch):
    monkeypatch.setattr("throughtime.inspect.picture.find_spec", lambda name: None)
    with pytest.raises(ThroughtimeError, match="expected the package matplotlib"):
        language.report.to_html()
