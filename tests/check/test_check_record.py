"""What a run records of its raw data at training, held against arithmetic done by hand."""

from collections.abc import Callable

import numpy as np
import polars as pl
import torch

from throughtime.run import Run

Load = Callable[[str], Run]


def test_features_are_the_rows_in_the_units_of_the_training_part(run_of: Load) -> None:
    run = run_of("sunspots")
    y = run.parity["data.y"].numpy()
    sunspots = pl.read_csv(_source())["sunspots"].to_numpy()
    # Validation ends at 85 in 100 rows.
    end = int(np.flatnonzero(np.convolve(sunspots, y[::-1], "valid") == y @ y)[0]) + len(y)
    assert len(y) == 64
    assert abs(end / len(sunspots) - 0.85) < 0.01
    train = sunspots[: round(0.7 * len(sunspots))]
    low, middle, high = np.quantile(train, (0.25, 0.5, 0.75))
    expected = (y - middle) / ((high - low) / 1.349)
    features = run.parity["answer.features"].numpy()
    np.testing.assert_allclose(features[:, 0], expected, rtol=1e-6, atol=1e-6)
    assert (features[:, 1] == 1).all()


def test_recorded_forecasts_are_those_of_predict(run_of: Load) -> None:
    run = run_of("stack")
    format = run.task.format
    y = run.parity["data.y"].numpy()
    frame = pl.DataFrame({format.time: range(1900, 1900 + len(y)), format.target: y})
    made = run.predict(frame)
    columns = [name for name in made.columns if name.startswith("q")]
    quantiles = run.parity["answer.quantiles"]
    assert quantiles.shape == (64, 3, len(columns))
    np.testing.assert_allclose(quantiles[-1].numpy(), made.select(columns).to_numpy(), rtol=1e-5)


def test_symbols_are_places_in_the_vocabulary(run_of: Load) -> None:
    run = run_of("text")
    text = "".join(map(chr, run.parity["data.text"].tolist()))
    symbols = run.task.vocabulary.symbols
    assert len(text) == 512
    assert run.parity["answer.symbols"].tolist() == [symbols.index(symbol) for symbol in text]


def test_record_has_no_more_than_it_should(run_of: Load) -> None:
    names = {name for name in run_of("text").parity if not name.startswith("state.")}
    assert names == {
        "inputs", "lengths", "outputs", "data.text", "answer.symbols", "description",
    }  # fmt: skip
    assert run_of("text").parity["description"].dtype == torch.uint8


def _source() -> str:
    from pathlib import Path

    import throughtime.data

    return str(Path(throughtime.data.__file__).with_name("sunspots.csv"))
