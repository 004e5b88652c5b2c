"""Mutations of the diagonal linear recurrences, plain and gated."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "linear: resets are missed",
        "linear.h",
        "if (resets && resets[t]) before = s.restart + at;",
        "",
    ),
    Mutation(
        "linear: only one reset's gradient reaches the restart state",
        "linear.h",
        "d.drestart[at + i] += carry[i];",
        "d.drestart[at + i] = carry[i];",
    ),
    Mutation(
        "linear: gradients are not conjugate",
        "linear.h",
        "da[i + 1] = im * before[i] - re * before[i + 1];",
        "da[i + 1] = im * before[i] + re * before[i + 1];",
    ),
    Mutation(
        "linear: the tail of a row is dropped",
        "linear.h",
        "if (i < count) Step::forward(count - i,",
        "if (i + 1 < count) Step::forward(count - i,",
    ),
    Mutation(
        "gated: only the first step's gradient reaches the restart state",
        "gated.h",
        "more[p] += g[p], g[p] = Vec{};",
        "more[p] = g[p], g[p] = Vec{};",
    ),
    Mutation(
        "gated: a state's gradient passes a reset",
        "gated.h",
        "more[p] += g[p], g[p] = Vec{};",
        "more[p] += g[p];",
    ),
    Mutation(
        "gated: what is left of the steps is skipped",
        "gated.h",
        "for (; t < steps; ++t) tile(t,",
        "for (; t + 1 < steps; ++t) tile(t,",
    ),
    Mutation(
        "gated: the scale of eigenvalues in min_gru's gradient",
        "gated_units.h",
        "(db * candidate - da * scale) * enter",
        "(db * candidate - da) * enter",
    ),
    Mutation(
        "gated: min_lstm's shares of the closed gates",
        "gated_units.h",
        "x < 0.0f ? splat(1.0f) : tail - 1.0f",
        "x > 0.0f ? splat(1.0f) : tail - 1.0f",
    ),
    Mutation(
        "gated: rg_lru's input share does not depend on what is kept",
        "gated_units.h",
        "(da * scale - db * enter * u * keep / share)",
        "(da * scale)",
    ),
    Mutation(
        "gated: hgrn's norm has no derivative",
        "gated_units.h",
        "load_some(dh + i, width) - normal * mean",
        "load_some(dh + i, width)",
    ),
    Mutation(
        "leave: the last steps are not multiplied",
        "leave.h",
        "if (t % kLeaveSteps && t != length) return;\n"
        "        const int64_t first = (t - 1) / kLeaveSteps * kLeaveSteps;\n"
        "        const float* rows[kLeaveSteps];\n"
        "        float* outputs[kLeaveSteps];\n"
        "        for (int64_t k = first; k < t; ++k) {\n"
        "            rows[k - first] = u(k);",
        "if (t % kLeaveSteps) return;\n"
        "        const int64_t first = (t - 1) / kLeaveSteps * kLeaveSteps;\n"
        "        const float* rows[kLeaveSteps];\n"
        "        float* outputs[kLeaveSteps];\n"
        "        for (int64_t k = first; k < t; ++k) {\n"
        "            rows[k - first] = u(k);",
    ),
    Mutation(
        "leave: only the first steps count for the bias",
        "leave.h",
        "store_some(dbias + i, load_some(dbias + i, width) + total, width);",
        "store_some(dbias + i, total, width);",
    ),
    Mutation(
        "leave: u is not made again for the weight's gradient",
        "gated_units.h",
        "if (u) store_some(u + i, x * gate * normal * weight, width);",
        "",
    ),
    Mutation(
        "rows: the bias has no gradient",
        "rows.h",
        "add(features_, i, total, width);",
        "add(features_, i, Vec{}, width);",
    ),
    Mutation(
        "rows: features' gradients miss the last vector",
        "rows.h",
        "if (i < count) work(i, (int)(count - i));",
        "if (i + 1 < count) work(i, (int)(count - i));",
    ),
    Mutation(
        "selective: what is kept is of the tile before",
        "selective.h",
        "return t / kTile + t % kTile;",
        "return t / kTile;",
    ),
    Mutation(
        "selective: rates have no gradient",
        "selective.h",
        "drate += dpower * lengths[k];",
        "",
    ),
    Mutation(
        "selective: softplus of a large number",
        "maths.h",
        "return at_least(0.0f, x) + 2.0f",
        "return x + 2.0f",
    ),
)
