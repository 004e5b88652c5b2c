"""The page of all layers is of the layers that there are."""

import re
from pathlib import Path

from throughtime.layers import make, names, parameter_count, state_floats

PAGE = Path(__file__).parents[1] / "docs" / "family.md"


def test_the_page_has_every_layer_and_its_sizes():
    rows = re.findall(
        r"^\| `(\w+)` \| \[(\w+)\]\S+ \| ([\d,]+) \| ([\d,]+) \|", PAGE.read_text(), re.M
    )
    found = {name: (kind, *(int(n.replace(",", "")) for n in sizes)) for name, kind, *sizes in rows}
    assert list(found) == list(names())
    for name in names():
        layer = make(name, 1, 128)
        sizes = parameter_count(layer), state_floats(layer)
        assert found[name] == (type(layer).__name__, *sizes), "run scripts/family_page.py"


def test_every_step_is_exported_and_every_layer_compiled():
    # `test_export` shows that they are; the page says so.
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `\w+` \| \[", line)]
    assert len(rows) == len(names())
    assert all(line.endswith("| yes | yes |") for line in rows)
