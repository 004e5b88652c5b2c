// Linear recurrences from the pre-activations of their gates straight to the states.
//
// The recurrence alone is one pass over memory; gates computed before it, one function of torch's at
// a time, are ten or twenty. Here they are computed where they are used, a vector of units and a few
// steps at a time, and backward computes them again: nothing of them is ever written.
#pragma once

#include <type_traits>

#include "gated_units.h"
#include "leave.h"
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

// Call work(leave, lane, length, share) for every lane, on as many threads as it is worth. Lanes of one
// share come one after the other and always in the same order.
template <class Work>
void for_lanes(const tt_gated& s, bool back, const Work& work) {
    const int64_t cost = kCostOfGates + (s.leave_weight ? s.outputs : 0);
    const int64_t worth = s.lanes * s.steps * s.size * cost / kNumbersWorthAThread;
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, worth));
    const int64_t shares = back && s.leave_weight ? s.shares : s.lanes;
    std::atomic<int64_t> next{0};
    in_parallel(threads, [&](int64_t) {
        Leave leave(s, back);
        for (int64_t share; (share = next.fetch_add(1)) < shares;)
            for (int64_t lane = share; lane < s.lanes; lane += shares) {
                const int64_t length = s.lengths ? s.lengths[lane] : s.steps;
                work(leave, lane, std::min(std::max<int64_t>(length, 0), s.steps), share);
            }
    });
}

// Whether a step starts afresh.
TT_INLINE bool restarts(const tt_gated& s, int64_t lane, int64_t t) {
    return s.resets && s.resets[lane * s.steps + t];
}

template <class Unit>
void gated_forward(const tt_gated& s) {
    const int64_t size = s.size, states = Unit::kStates * size;
    const int64_t outputs = !Unit::kReadsOut ? states : s.leave_weight ? s.outputs : size;
    float* const kept = Unit::kReadsOut ? s.kept : s.y;
    for_lanes(s, false, [&](Leave& leave, int64_t lane, int64_t length, int64_t) {
        Rows rows(s, lane);
        const float* const restart = s.restart ? s.restart + lane * states : nullptr;
        float* const h = kept + lane * s.steps * states;
        float* const y = s.y + lane * s.steps * outputs;
        const float* before = s.state + lane * states;
        for_tiles(length, [&](int64_t t, auto tile) TT_ALWAYS {
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
            if constexpr (Unit::kReadsOut) {
                for (int k = 0; k < kSteps; ++k)
                    Unit::read_out(s, row + k * s.width, h + (t + k) * states,
                                   s.leave_weight ? leave.u(t + k) : y + (t + k) * size);
                if (s.leave_weight) leave.forward(t + kSteps, length, y);
            }
            before = h + (t + kSteps - 1) * states;
        });
        std::copy_n(before, states, s.end + lane * states);
        std::fill_n(h + length * states, (s.steps - length) * states, 0.0f);
        if constexpr (Unit::kReadsOut)
            std::fill_n(y + length * outputs, (s.steps - length) * outputs, 0.0f);
    });
}

// How far ahead of its use a row is asked for.
constexpr int64_t kStepsAhead = 64;

// Ask for kSteps rows that will be read kStepsAhead steps later, going back.
template <int kSteps>
TT_INLINE void ask_for(const float* rows, int64_t t, int64_t width) {
    if (!rows || t < kStepsAhead) return;
    const float* const from = rows + (t - kStepsAhead) * width;
    for (int64_t i = 0; i < kSteps * width; i += 16) __builtin_prefetch(from + i, 0, 2);
}

template <class Unit>
void gated_backward(const tt_gated& s, const tt_gated_gradients& d) {
    const int64_t size = s.size, states = Unit::kStates * size;
    const int64_t outputs = !Unit::kReadsOut ? states : s.leave_weight ? s.outputs : size;
    const float* const kept = Unit::kReadsOut ? s.kept : s.y;
    if (s.leave_weight) {
        std::fill_n(d.dleave_weight, s.shares * outputs * size, 0.0f);
        std::fill_n(d.dleave_bias, s.shares * outputs, 0.0f);
    }
    for_lanes(s, true, [&](Leave& leave, int64_t lane, int64_t length, int64_t share) {
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
        gradients.absent(length, s.steps);
        for_tiles_back(length, [&](int64_t t, auto tile) TT_ALWAYS {
            constexpr int kSteps = tile();
            ask_for<kSteps>(h, t, states);
            ask_for<kSteps>(dy, t, outputs);
            const float* const row = rows.at<kSteps>(t);
            float* const drow = gradients.at(t);
            const float* from = dh.data();
            if constexpr (Unit::kReadsOut) {
                const bool leaves = dy && s.leave_weight;
                if (leaves) leave.open(t + kSteps, length, dy);
                for (int k = 0; k < kSteps; ++k) {
                    if (dy)
                        Unit::read_out_back(s, row + k * s.width, h + (t + k) * states,
                                            leaves ? leave.du(t + k) : dy + (t + k) * size,
                                            dh.data() + k * size, drow + k * s.width, dconstants,
                                            leaves ? leave.u(t + k) : nullptr);
                    else
                        std::fill_n(drow + k * s.width + 2 * size, size, 0.0f);
                }
                if (leaves)
                    leave.close(t, length, dy, d.dleave_weight + share * outputs * size,
                                d.dleave_bias + share * outputs);
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
    });
}

}  // namespace TT_ISA
