from pathlib import Path

import numpy as np
import polars as pl
import pytest

from throughtime.data import read_table

NAB = Path(__file__).parents[3] / "shared" / "data" / "nab"
FILES = {
    "Twitter_volume_AAPL": (15_902, 0, 1),
    "art_daily_jumpsup": (4_032, 0, 288),
    "ec2_cpu_utilization_5f5533": (4_032, 0, 1),
    "ec2_request_latency_system_failure": (4_032, 11, 12),
    "nyc_taxi": (10_320, 0, 48),
    "speed_7578": (1_127, 0, 1),
}
pytestmark = pytest.mark.skipif(not NAB.is_dir(), reason="../shared/data/nab is not there")


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_is_read_completely(name):
    count, duplicates, season = FILES[name]
    table = read_table(NAB / f"{name}.csv")
    assert table.findings.counts["rows"] == count
    assert table.findings.counts["duplicates"] == duplicates
    assert table.format.season == season
    assert table.format.step_us == (1800 if name == "nyc_taxi" else 300) * 1_000_000
    raw = pl.read_csv(NAB / f"{name}.csv", try_parse_dates=True)
    raw = raw.unique("timestamp", keep="last", maintain_order=True).sort("timestamp")
    one = table.series[0]
    kept = one.time[~one.filler]
    mask = np.isin(raw["timestamp"].dt.epoch("us").to_numpy(), kept)
    assert mask.sum() == len(kept) == count - duplicates - table.findings.counts["dropped"]
    np.testing.assert_array_equal(one.y[~one.filler], raw["value"].to_numpy()[mask])
    assert np.isnan(one.y[one.filler]).all()
    gaps = np.diff(one.time)[~one.restarts[1:]]
    assert (np.abs(gaps - table.format.step_us) <= table.format.step_us / 2).all()


def test_the_taxi_file_is_summed_up():
    assert read_table(NAB / "nyc_taxi.csv").findings.lines[0] == (
        "1 series, 10,320 rows, every 30 min, 2014-07-01 00:00:00 to 2015-01-31 23:30:00; "
        "gaps 0, duplicates 0, missing 0; guessed season 48 (a day)"
    )
