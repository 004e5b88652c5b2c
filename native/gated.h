// Linear recurrences from the pre-activations of their gates straight to the states.
//
// The recurrence alone is one pass over memory; gates computed before it, one function of torch's at
// a time, are ten or twenty. Here they are computed where they are used, a vector of units and a few
// steps at a time, and backward computes them again: nothing of them is ever written.
#pragma once

#include <type_traits>

#include "gated_units.h"
#include "linear.h"
#include "rows.h"

namespace TT_ISA {

// A number of a lane costs about so many of a recurrence that is given its coefficients.
constexpr int64_t kCostOfGates = 8;

// Call tile(t, constant) for the tiles of a lane from the first step to the last; the constant says
// how many steps. What is left over goes step by step.
template <class Work>
TT_INLINE void for_tiles(int64_t steps, const Work& tile) {
    int64_t t = 0;
    for (; t + kTile <= steps; t += kTile) tile(t, std::integral_constant<int, kTile>{});
    for (; t < steps; ++t) tile(t, std::integral_constant<int, 1>{});
}

// The same from the last to the first.
template <class Work>
TT_INLINE void for_tiles_back(int64_t steps, const Work& tile) {
    int64_t t = steps;
    for (; t % kTile; --t) tile(t - 1, std::integral_constant<int, 1>{});
    for (; t > 0; t -= kTile) tile(t - kTile, std::integral_constant<int, kTile>{});
}

// Whether a step starts afresh.
TT_INLINE bool restarts(const tt_gated& s, int64_t lane, int64_t t) {
    return s.resets && s.resets[lane * s.steps + t];
}

template <class Unit>
void gated_forward(const tt_gated& s) {
    const int64_t size = s.size, states = Unit::kStates * size;
    float* const kept = Unit::kReadsOut ? s.kept : s.y;
    const auto of_lane = [&](const Stretch& part) {
        const int64_t lane = part.lane;
        Rows rows(s, lane);
        const float* const restart = s.restart ? s.restart + lane * states : nullptr;
        float* const h = kept + lane * s.steps * states;
        float* const y = s.y + lane * s.steps * (Unit::kReadsOut ? size : states);
        const float* before = s.state + lane * states;
        for_tiles(part.length, [&](int64_t t, auto tile) TT_ALWAYS {
            constexpr int kSteps = tile();
            const float* const row = rows.at<kSteps>(t);
            for_vectors(size, [&](int64_t i, int width) TT_ALWAYS {
                const auto numbers = load_numbers<Unit>(s, i, width);
                Vec state[Unit::kStates];
                load_planes<Unit::kStates>(state, before + i, size, width);
                for (int k = 0; k < kSteps; ++k) {
                    if (restarts(s, lane, t + k))
                        load_planes<Unit::kStates>(state, restart + i, size, width);
                    Vec sums[Unit::kGates];
                    load_planes<Unit::kGates>(sums, row + k * s.width + i, size, width);
                    Unit(s, sums, numbers.constants).forward(state);
                    store_planes<Unit::kStates>(h + (t + k) * states + i, state, size, width);
                }
            });
            if constexpr (Unit::kReadsOut)
                for (int k = 0; k < kSteps; ++k)
                    Unit::read_out(s, row + k * s.width, h + (t + k) * states, y + (t + k) * size);
            before = h + (t + kSteps - 1) * states;
        });
        std::copy_n(before, states, s.end + lane * states);
        std::fill_n(h + part.length * states, (s.steps - part.length) * states, 0.0f);
        if constexpr (Unit::kReadsOut)
            std::fill_n(y + part.length * size, (s.steps - part.length) * size, 0.0f);
    };
    for_stretches(s, of_lane, kCostOfGates, false);
}

template <class Unit>
void gated_backward(const tt_gated& s, const tt_gated_gradients& d) {
    const int64_t size = s.size, states = Unit::kStates * size;
    const int64_t outputs = Unit::kReadsOut ? size : states;
    const float* const kept = Unit::kReadsOut ? s.kept : s.y;
    const auto of_lane = [&](const Stretch& part) {
        const int64_t lane = part.lane;
        Rows rows(s, lane);
        RowGradients gradients(s, d, lane);
        const float* const h = kept + lane * s.steps * states;
        const float* const dy = d.dy ? d.dy + lane * s.steps * outputs : nullptr;
        float* const dconstants = d.dconstants + lane * Unit::kConstants * size;
        std::fill_n(dconstants, Unit::kConstants * size, 0.0f);
        // What is carried in the end is the gradient of the state before step 0.
        float* const carry = d.dstate + lane * states;
        float* const drestart = d.drestart ? d.drestart + lane * states : nullptr;
        if (drestart) std::fill_n(drestart, states, 0.0f);
        if (d.dend)
            std::copy_n(d.dend + lane * states, states, carry);
        else
            std::fill_n(carry, states, 0.0f);
        std::vector<float> dh((size_t)(dy && !Unit::kReadsOut ? 0 : kTile * states));
        gradients.absent(part.length, s.steps);
        for_tiles_back(part.length, [&](int64_t t, auto tile) TT_ALWAYS {
            constexpr int kSteps = tile();
            const float* const row = rows.at<kSteps>(t);
            float* const drow = gradients.at(t);
            const float* from = dh.data();
            if constexpr (Unit::kReadsOut) {
                for (int k = 0; k < kSteps; ++k) {
                    if (dy)
                        Unit::read_out_back(s, row + k * s.width, h + (t + k) * states,
                                            dy + (t + k) * size, dh.data() + k * size,
                                            drow + k * s.width, dconstants);
                    else
                        std::fill_n(drow + k * s.width + 2 * size, size, 0.0f);
                }
            } else if (dy) {
                from = dy + t * states;
            }
            for_vectors(size, [&](int64_t i, int width) TT_ALWAYS {
                const auto numbers = load_numbers<Unit>(s, i, width);
                auto dnumbers = Numbers<Unit>{};
                Vec g[Unit::kStates];
                load_planes<Unit::kStates>(g, carry + i, size, width);
                for (int k = kSteps - 1; k >= 0; --k) {
                    const bool afresh = restarts(s, lane, t + k);
                    const float* const before = afresh       ? s.restart + lane * states
                                                : t + k == 0 ? s.state + lane * states
                                                             : h + (t + k - 1) * states;
                    Vec sums[Unit::kGates], dsums[Unit::kGates];
                    Vec state[Unit::kStates], more[Unit::kStates];
                    load_planes<Unit::kGates>(sums, row + k * s.width + i, size, width);
                    load_planes<Unit::kStates>(state, before + i, size, width);
                    load_planes<Unit::kStates>(more, from + k * states + i, size, width);
                    for (int p = 0; p < Unit::kStates; ++p) g[p] += more[p];
                    Unit(s, sums, numbers.constants).backward(state, g, dsums, dnumbers.constants);
                    store_planes<Unit::kGates>(drow + k * s.width + i, dsums, size, width);
                    if (!afresh) continue;
                    load_planes<Unit::kStates>(more, drestart + i, size, width);
                    for (int p = 0; p < Unit::kStates; ++p) more[p] += g[p], g[p] = Vec{};
                    store_planes<Unit::kStates>(drestart + i, more, size, width);
                }
                store_planes<Unit::kStates>(carry + i, g, size, width);
                if constexpr (Unit::kConstants && !Unit::kReadsOut) {
                    Vec sums[Unit::kConstants];
                    load_planes<Unit::kConstants>(sums, dconstants + i, size, width);
                    for (int p = 0; p < Unit::kConstants; ++p) sums[p] += dnumbers.constants[p];
                    store_planes<Unit::kConstants>(dconstants + i, sums, size, width);
                }
            });
            gradients.done<kSteps>(t);
        });
    };
    for_stretches(s, of_lane, kCostOfGates, false);
}

}  // namespace TT_ISA
