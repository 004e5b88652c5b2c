"""Write `src/throughtime/data/sunspots.csv` from the copy that statsmodels bundles.

Run it as `python scripts/make_sunspots.py` with statsmodels installed. The numbers are the
yearly sunspot number 1700 to 2008, compiled by the World Data Center SILSO of the Royal
Observatory of Belgium, Brussels, distributed by the US National Geophysical Data Center and in
the public domain (`statsmodels.datasets.sunspots.COPYRIGHT`).
"""

from pathlib import Path

from statsmodels.datasets import sunspots

TARGET = Path(__file__).parents[1] / "src" / "throughtime" / "data" / "sunspots.csv"


def main() -> None:
    """Write the file."""
    data = sunspots.load_pandas().data
    rows = [f"{int(year)},{float(number)}" for year, number in data.to_numpy()]
    TARGET.write_text("\n".join(["year,sunspots", *rows]) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
