"""The memory report of trained runs: figures that belong together, as words and as JSON."""

import json
import math

import pytest

import throughtime as tt
from throughtime.errors import DataError
from throughtime.inspect import memory_report


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A run on a text in which every third symbol repeats the one three before."""
    folder = tmp_path_factory.mktemp("language")
    text = folder / "text.txt"
    text.write_text("abcabdacbadc" * 700)
    return tt.fit(
        str(text),
        task="language",
        layer="gru:16",
        budget="150steps",
        out=folder / "run",
        show=False,
    )


def test_a_report_says_how_far_back_a_model_remembers(language):
    found = memory_report(language, contexts=(1, 2, 3, 6, 12, 50), positions=300)
    assert found.usage.contexts == (1, 2, 3, 6, 12, 50)
    assert found.usage.means[0] > found.usage.means[-1]
    assert found.usage.horizon is None or 1 < found.usage.horizon <= 50
    assert found.reach[0.5] <= found.reach[0.9] <= found.reach[0.99] < 50
    assert found.gradients.norms.shape == (50, 32)
    assert 0 < found.capacity.total <= 16
    assert math.isfinite(found.exponent)
    lines = found.lines()
    assert len(lines) == 5
    assert all(len(line) < 120 for line in lines)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["usage"]["loss"] == found.usage.means.tolist()
    assert len(content["gradients"]["median"]) == 50


def test_a_table_has_one_too_and_contexts_that_do_not_fit_are_left_out(tmp_path):
    run = tt.fit("demo:sunspots", layer="gru:8", budget="5steps", out=tmp_path / "run", show=False)
    found = memory_report(run, positions=40)
    assert found.usage.contexts[-1] <= 309
    assert 0 < len(found.usage.losses[0]) <= 40
    json.dumps(found.to_json(), allow_nan=False)


def test_data_too_short_is_refused_in_one_line(language, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("abc" * 10)
    with pytest.raises(DataError) as caught:
        memory_report(language, str(text), contexts=(50,))
    assert "\n" not in str(caught.value)
