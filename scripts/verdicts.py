"""Write into the docstring of each layer what it solves and what it fails at.

    python scripts/verdicts.py

It is a paragraph before the arguments, of the finished cells of benchmarks/results/battery.jsonl.
`tests/layers/test_verdicts.py` holds the docstrings to them.
"""

import inspect
import re
import sys
import textwrap
from pathlib import Path

from throughtime import layers
from throughtime.layers.registry import maker_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.battery.verdicts import read_matrix, verdict

WIDTH = 100
OLD = re.compile(r"    In the battery it .*?\n\n", re.DOTALL)


def main() -> int:
    records = read_matrix()
    for name in layers.names():
        maker = maker_of(name)
        path = Path(inspect.getfile(maker))
        text = path.read_text(encoding="utf-8")
        begin = text.index(f"class {maker.__name__}(")
        head, own = text[:begin], OLD.sub("", text[begin:], count=1)
        indent = " " * 4
        said = textwrap.fill(
            verdict(records, name),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        own = own.replace("    Args:\n", f"{said}\n\n    Args:\n", 1)
        path.write_text(head + own, encoding="utf-8")
        print(f"{name}: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
