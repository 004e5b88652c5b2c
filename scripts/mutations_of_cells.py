"""Mutations of the classic cells: what they compute, and how they go through time and lanes."""

from mutation import Mutation

MUTATIONS = (
    # What a cell computes
    Mutation(
        "lstm: input and forget gate swapped",
        "cells.h",
        "c = slot[1] * c + slot[0] * slot[2];",
        "c = slot[0] * c + slot[1] * slot[2];",
    ),
    Mutation(
        "lstm: derivative of the output gate",
        "cells.h",
        "slot[3] = dh * t * o * (1.0f - o);",
        "slot[3] = dh * t * (1.0f - o);",
    ),
    Mutation(
        "gru: sign in the update gate's gradient",
        "cells.h",
        "slot[2] = dh * (h - n) * z * (1.0f - z);",
        "slot[2] = dh * (n - h) * z * (1.0f - z);",
    ),
    Mutation(
        "gru: state's gradients start at another slot",
        "cells.h",
        "kGates = 3, kSlots = 4, kHiddenSlot = 1;",
        "kGates = 3, kSlots = 4, kHiddenSlot = 0;",
    ),
    Mutation(
        "gru: order of slots in the input's gradient",
        "cells.h",
        "return (slot + 2) % 3;",
        "return slot;",
    ),
    Mutation(
        "tanh ends early",
        "maths.h",
        "at_most(20.0f, absolute(x) * 2.0f)",
        "at_most(12.0f, absolute(x) * 2.0f)",
    ),
    # Resets
    Mutation(
        "a reset at step 0 is missed",
        "plan.h",
        "if (s.resets && s.resets[lane * s.steps + t]) return",
        "if (t && s.resets && s.resets[lane * s.steps + t]) return",
    ),
    Mutation(
        "a reset at step 0 leaves the cell",
        "forward.h",
        "from = reset ? s.c_restart : s.c;",
        "from = reset && t ? s.c_restart : s.c;",
    ),
    Mutation(
        "all lanes restart from the first one's state",
        "plan.h",
        "return s.h_restart + lane * H;",
        "return s.h_restart;",
    ),
    Mutation(
        "only one reset's gradient reaches the restart state",
        "backward.h",
        "load_some(step.dc_restart + at, width) + dc, width);",
        "dc, width);",
    ),
    Mutation(
        "the cell's gradient passes a reset",
        "backward.h",
        "    dc = Vec{};\n    return Vec{};",
        "    return Vec{};",
    ),
    # Lengths
    Mutation(
        "one step too many",
        "forward.h",
        "if (length <= t) break;",
        "if (length < t) break;",
    ),
    Mutation(
        "the gradient of the end is forgotten",
        "backward.h",
        "put(d.dh, d.dh_end, lane);",
        "put(d.dh, nullptr, lane);",
    ),
    Mutation(
        "rows of ragged lanes begin where dense ones do",
        "plan.h",
        "plan.rows += plan.length[lane];",
        "plan.rows += s.steps;",
    ),
    Mutation(
        "shortest lanes first",
        "plan.h",
        "return plan.length[(size_t)a] > plan.length[(size_t)b];",
        "return plan.length[(size_t)a] < plan.length[(size_t)b];",
    ),
    Mutation(
        "an empty lane's state is not copied",
        "forward.h",
        "if (!length) std::copy_n(s.h + lane * H, H, s.h_end + lane * H);",
        "",
    ),
    Mutation(
        "the input's gradient is not cleared in the padding",
        "backward.h",
        "if (d.dx) std::fill_n(",
        "if (d.dx && !s.lengths) std::fill_n(",
    ),
    # Chunks of time
    Mutation(
        "the last chunk's rows are looked for as in a full one",
        "forward.h",
        "((int64_t)alive * (end - begin) + t - begin)",
        "((int64_t)alive * chunk + t - begin)",
    ),
    Mutation(
        "the bias's gradient is carried into the next chunk",
        "backward.h",
        "            partial[i] = 0.0f;\n",
        "",
    ),
    Mutation(
        "what goes past the products does not begin at zero",
        "backward.h",
        "std::fill_n(to + lane * H, H, 0.0f);",
        "std::fill_n(to + lane * H, H, 1e-3f);",
    ),
    # Products
    Mutation(
        "the state's bias is forgotten",
        "forward.h",
        "pack_bias(layer.bias_hh, units, Cell::kGates, g, bias);",
        ";",
    ),
    Mutation(
        "gates of a panel the other way round",
        "product.h",
        "panel + (k / kPair * gates + g) * kWidth",
        "panel + (k / kPair * gates + gates - 1 - g) * kWidth",
    ),
    Mutation(
        "one unit too many in a tail",
        "product.h",
        "return left < kWidth ? (int)left : kWidth;",
        "return left < kWidth - 1 ? (int)left : kWidth;",
    ),
    Mutation(
        "the last lane of the last block is dropped",
        "product.h",
        "visit_block<kGates, kMost, 4>(many, some, row, vector, visit);",
        "visit_block<kGates, kMost, 4>(many - (block > 0), some, row, vector, visit);",
    ),
    Mutation(
        "the second half of many terms is begun twice",
        "product.h",
        "add_terms(others, row, panels, panel_stride, 2 * half, terms);",
        "add_terms(others, row, panels, panel_stride, 2 * half - 1, terms);",
    ),
    Mutation(
        "few rows and many take their terms in another order",
        "product.h",
        "add_terms(others, row, panels, panel_stride, half, terms);",
        "add_terms(others, row, panels, panel_stride, half + 1, terms);\n"
        "        add_terms(others, row, panels, panel_stride, half, half + 1);",
    ),
    Mutation(
        "an odd term is dropped from a bfloat16 product",
        "product.h",
        "if ((end - begin) % 2) add_pair(end - 1, 2);",
        "",
    ),
    Mutation(
        "the bfloat16 state of the step before is read again",
        "forward.h",
        "ring + ((~t & 1) * ring_rows",
        "ring + ((t & 1) * ring_rows",
    ),
    # Tiles
    Mutation(
        "tiles: the second sixteen rows are the first",
        "tiles.h",
        "across[m] = {rows + m * kTileRows * terms + begin,",
        "across[m] = {rows + begin,",
    ),
    Mutation(
        "tiles: all columns are that of the first gate",
        "tiles.h",
        "u * panel_stride + (begin * kGates + 2 * g) * kWidth",
        "u * panel_stride + begin * kGates * kWidth",
    ),
    Mutation(
        "tiles: a long sum starts again",
        "tiles.h",
        "multiply_tiles<kM, kN>(across, down, count, to, kApart, true);",
        "multiply_tiles<kM, kN>(across, down, count, to, kApart, begin == 0);",
    ),
    Mutation(
        "tiles: a tile is turned but for its quarters",
        "tiles.h",
        "exchange(8);",
        "",
    ),
    Mutation(
        "tiles: rows are not filled up with zeros",
        "forward.h",
        "if (!kSame && input_row > F) inputs.clear(input_rows * input_row);",
        "",
    ),
    Mutation(
        "tiles: packed rows are not filled up with zeros",
        "weights.h",
        "k < padded<Stored>(count); k += 2",
        "k < count; k += 2",
    ),
    Mutation(
        "tiles: a later block of rows is all there is of a gradient",
        "weights.h",
        "whole && !tile.first);",
        "false);",
    ),
    Mutation(
        "tiles: gradients of a step stay where they were at the last",
        "backward.h",
        "rows[i] = std::copy_n(rows[i], terms_, copy) - terms_;",
        "if (i) rows[i] = std::copy_n(rows[i], terms_, copy) - terms_;",
    ),
    # Gradients of weights
    Mutation(
        "the last gate of a tile is dropped",
        "weights.h",
        "std::min(kTileGates, height - m)",
        "std::min(kTileGates, height - m - 1)",
    ),
    Mutation(
        "only the last block of rows counts",
        "weights.h",
        "tile.first ? sums[m][u] : load_some(to, width) + sums[m][u]",
        "sums[m][u]",
    ),
    Mutation(
        "a weight's gradient looks past a reset",
        "weights.h",
        "h[k] = h_before(s, lane, t);",
        "h[k] = t ? s.y + (lane * s.steps + t - 1) * H : s.h + lane * H;",
    ),
    Mutation(
        "empty lanes are taken for lanes of one row",
        "weights.h",
        "while (t == plan.length[lane]) ++lane, t = 0;",
        "if (t == plan.length[lane]) ++lane, t = 0;",
    ),
    Mutation(
        "every other row is dropped from a bfloat16 gradient",
        "weights.h",
        "k + 1 < count ? load_some(rows[k + 1] + at, width) : Vec{}",
        "Vec{}",
    ),
    # Threads
    Mutation(
        "threads leave some panels unpacked",
        "forward.h",
        "last = (int)(vectors * (part + 1) / parts);",
        "last = first + (int)(vectors / parts);",
    ),
    # Steps
    Mutation(
        "a stepper does not restart",
        "step.h",
        "if (resets && resets[begin + i]) restart(lane);",
        "",
    ),
    Mutation(
        "a stepper's cell does not restart",
        "step.h",
        "if (Cell::kHasCell) std::copy_n((const float*)c_restart_, H, c_ + lane * H);",
        "",
    ),
    Mutation(
        "a stepper reads its first lanes' input again",
        "step.h",
        "inputs[i] = x + (begin + i) * F;",
        "inputs[i] = x + i * F;",
    ),
    Mutation(
        "a stepper takes a lane twice",
        "step.h",
        "|| named_[(size_t)which[i]] == calls_)",
        ")",
    ),
    Mutation(
        "a tail of one is dropped from a dot product",
        "step.h",
        "if (k < terms) {",
        "if (k + 1 < terms) {",
    ),
    # Linear maps
    Mutation(
        "a map reads its first rows again",
        "map.h",
        "rows[i] = x + (begin + i) * inputs_;",
        "rows[i] = x + i * inputs_;",
    ),
    Mutation(
        "a map writes over its first rows",
        "map.h",
        "outputs[i] = y + (begin + i) * outputs_;",
        "outputs[i] = y + i * outputs_;",
    ),
    Mutation(
        "a map leaves out its bias",
        "map.h",
        "if (bias) std::copy_n(bias, outputs, (float*)start_);",
        "(void)bias;",
    ),
    Mutation(
        "a map leaves out the last rows",
        "map.h",
        "for (int64_t begin = 0; begin < count; begin += kAtOnce) {",
        "for (int64_t begin = 0; begin + 1 < count; begin += kAtOnce) {",
    ),
    Mutation(
        "a map starts from what was in memory",
        "map.h",
        "start_.clear((int64_t)vectors_of(outputs) * kWidth);",
        "for (int i = 0; i < vectors_of(outputs) * kWidth; ++i) start_[i] = 0.5f;",
    ),
)
