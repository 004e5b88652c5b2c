"""Mutations of varied cells: what they compute, and how they go through time."""

from mutation import Mutation

MUTATIONS = (
    # What varied cells compute
    Mutation(
        "variant: a peephole's gradient is that of another gate",
        "variant_cells.h",
        "dpeephole[1] = gate[kF] * c;",
        "dpeephole[1] = gate[kG] * c;",
    ),
    Mutation(
        "variant: the output gate sees the cell as it was",
        "variant_cells.h",
        "peephole[2] * after);",
        "peephole[2] * c);",
    ),
    Mutation(
        "variant: coupled gates let everything in",
        "variant_cells.h",
        "return kCoupled ? 1.0f - slot[kF] : slot[0];",
        "return kCoupled ? slot[kF] : slot[0];",
    ),
    Mutation(
        "variant: normalising backward forgets the mean",
        "variant_cells.h",
        "scale * (d - mean - n * share)",
        "scale * (d - n * share)",
    ),
    Mutation(
        "variant: the variance counts what is beyond the units",
        "variant_cells.h",
        "sum(squares) / (float)units + kLeastVariance",
        "sum(squares) / (float)(vectors * kWidth) + kLeastVariance",
    ),
    Mutation(
        "variant: another hash of units",
        "variant_cells.h",
        "z = (z ^ (z >> 15)) * 0x846ca68bu;",
        "z = (z ^ (z >> 14)) * 0x846ca68bu;",
    ),
    Mutation(
        "variant: slstm's empty cell takes the scale of what is not there",
        "variant_cells.h",
        "const Vec m = fresh ? log_i : larger(before, log_i);",
        "const Vec m = larger(before, log_i);",
    ),
    Mutation(
        "variant: slstm's scale has no gradient of its own",
        "variant_cells.h",
        "const Vec dm = dcell[2] - along_share",
        "const Vec dm = dcell[2]",
    ),
    Mutation(
        "variant: gru's candidate does not see the reset gate's gradient",
        "variant_cells.h",
        "enter[0] = state[0] = dn * slot[3] * r * (1.0f - r);",
        "enter[0] = state[0] = dn * r * (1.0f - r);",
    ),
    # How varied cells go through time
    Mutation(
        "variant: what is dropped is not made up for",
        "variant_forward.h",
        "? Vec{} : splat(v.drop_scale)",
        "? Vec{} : splat(1.0f)",
    ),
    Mutation(
        "variant: zoneout takes the shares the other way around",
        "variant_forward.h",
        "v.zoneout * before + (1.0f - v.zoneout) * after",
        "v.zoneout * after + (1.0f - v.zoneout) * before",
    ),
    Mutation(
        "variant: c goes on through a reset",
        "variant_forward.h",
        "std::copy_n(reset ? v.c_restart + lane * C : step.c_after, C, step.c);",
        "std::copy_n(step.c_after, C, step.c);",
    ),
    Mutation(
        "variant: what a unit keeps of h has no gradient",
        "variant_backward.h",
        "store_some(past, stays ? d : Vec{}, width);",
        "store_some(past, Vec{}, width);",
    ),
    Mutation(
        "variant: a restart's gradient goes on to what was before it",
        "variant_backward.h",
        "std::fill_n(from, count, 0.0f);\n    };\n    for (int64_t t",
        "(void)count;\n    };\n    for (int64_t t",
    ),
    Mutation(
        "variant: sums of a few steps are lost",
        "variant_backward.h",
        "sums[i] += partial[i];",
        "sums[i] = partial[i];",
    ),
    Mutation(
        "variant: the output before its projection is not kept for its weights",
        "variant_backward.h",
        "store_some(step.output + at, o * t, width)",
        "store_some(step.output + at, t, width)",
    ),
)
