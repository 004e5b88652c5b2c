"""Keep what the lab came to: benchmarks/results/lab.json, without what pictures are drawn from.

throughtime lab run --all --out FOLDER
python scripts/lab_results.py FOLDER
python scripts/readme_figures.py lab
"""

import argparse
from pathlib import Path

from throughtime import lab
from throughtime.lab import result as results

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where `lab run --all --out` wrote")
    found = results.read(parser.parse_args().folder)
    missing = [name for name in lab.names() if name not in found or not found[name].holds]
    if missing:
        raise SystemExit(f"expected all claims to hold there, got others: {', '.join(missing)}")
    results.write(
        [
            found[name]._replace(
                outcomes=tuple(each._replace(details={}) for each in found[name].outcomes)
            )
            for name in lab.names()
        ],
        RESULTS,
    )


if __name__ == "__main__":
    main()
