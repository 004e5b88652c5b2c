"""Months, steps and heads in C, each by itself: every day of eight centuries, every distance."""

from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from c_exports import compiled_and_run, need_compiler

from throughtime.data.grid import steps_between
from throughtime.export.c.pieces import filled, gathered
from throughtime.tasks.forecast import ForecastOptions, ForecastTask

START = "#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n\n"


def printed(text, main, folder, pieces=()):
    """What a main function prints after some pieces of C."""
    need_compiler()
    source = folder / "main.c"
    source.write_text(START + "\n".join([*gathered([text], dict(pieces)), main]))
    return compiled_and_run([source], folder / "main")


def test_months_of_every_day_are_those_of_the_calendar(tmp_path):
    main = """int main(void)
{
    for (int64_t day = -135140; day < 157054; day++) {
        printf("%lld %lld\\n", (long long)month_of(day * 86400000000),
               (long long)month_of(day * 86400000000 + 86399999999));
    }
    return 0;
}
"""
    found = np.array(printed("month_of()", main, tmp_path).split(), np.int64).reshape(-1, 2)
    first = datetime(1970, 1, 1) - timedelta(days=135140)
    days = [first + timedelta(days=day) for day in range(len(found))]
    assert (days[0].year, days[-1].year) == (1600, 2399)
    wanted = [day.year * 12 + day.month - 1 for day in days]
    np.testing.assert_array_equal(found[:, 0], wanted)
    np.testing.assert_array_equal(found[:, 1], wanted)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 3_600_000_000])
def test_steps_between_times_are_the_nearest_whole_number(step, tmp_path):
    words = {"STEP": f"{step} units", "SIZE": f"{step}u"}
    piece = {"steps_between": filled("steps_between_times.c", words)}
    apart = [*range(1, 40), *(step // 2 + k for k in (1, 2, -1) if step // 2 + k > 0)]
    apart += [3 * step - step // 2 + k for k in (-1, 0, 1)]
    main = f"""int main(void)
{{
    static const int64_t apart[] = {{{", ".join(map(str, apart))}}};
    for (int i = 0; i < {len(apart)}; i++) {{
        printf("%d ", (int)steps_between(-5, apart[i] - 5));
    }}
    return 0;
}}
"""
    found = [int(word) for word in printed("steps_between()", main, tmp_path, piece).split()]
    first = np.array([True, False])
    wanted = [int(steps_between(np.array([0, each]), first, step)[1]) for each in apart]
    assert found == wanted


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_a_head_gives_quantiles_as_the_task_does(head, tmp_path):
    options = ForecastOptions(head=head, levels=(0.1, 0.5, 0.8))
    task = ForecastTask.__new__(ForecastTask)
    task.options, task.levels = options, torch.tensor(options.levels)
    each = 3 if head == "quantile" else 2
    outputs = torch.tensor([[0.3, -8.0, 0.1], [1.0, 60.0, -2.0], [0.0, -90.0, 5.0]])[:, :each]
    last = torch.tensor([[0.5], [-2.0], [100.0]])
    wanted = task.scaled_quantiles(outputs, last)[:, 0]
    normal = torch.special.ndtri(task.levels.double()).tolist()
    numbers = "".join(f"    {{{', '.join(map(str, row))}}},\n" for row in outputs.tolist())
    used = f"static const float normal_quantiles[] = {{{', '.join(f'{x}f' for x in normal)}}};\n"
    piece = (used if head == "gaussian" else "") + filled(f"{head}_head.c", {})
    main = f"""int main(void)
{{
    float numbers[3][3] = {{
{numbers}    }};
    const float last[3] = {{0.5f, -2.0f, 100.0f}};
    for (int i = 0; i < 3; i++) {{
        scaled_quantiles(numbers[i], last[i]);
        printf("%.9g %.9g %.9g ", numbers[i][0], numbers[i][1], numbers[i][2]);
    }}
    return 0;
}}
"""
    text = "#define MODEL_QUANTILES 3\n" + piece
    found = printed("scaled_quantiles()", main, tmp_path, {"scaled_quantiles": text})
    got = np.array(found.split(), np.float64).reshape(3, 3)
    np.testing.assert_allclose(got, wanted, rtol=3e-6)
