// The selective state space, from pre-activations straight to outputs.
//
// Its states are many times what they are computed from, so they are not written: only those before
// each tile of steps are, and backward computes the others again. A row is, of H units with N states
// each: their step lengths, H; what they read, H; B, N; C, N. Constants are N + 1 planes: the rates
// of the states, and the skip.
#pragma once

#include "gated.h"

namespace TT_ISA {

// Where the states before the tile that begins at step t are kept: steps that are left over have one
// each.
TT_INLINE int64_t kept_row(int64_t t) { return t / kTile + t % kTile; }

inline int64_t kept_rows(int64_t steps) { return steps / kTile + kTile - 1; }

TT_INLINE void add(float* to, Vec value) { store(to, load(to) + value); }

// A step of one vector of units but for its states.
struct SelectiveStep {
    Vec length, u, written;

    TT_INLINE SelectiveStep(const float* row, int64_t size, int width)
        : length(softplus(load_some(row, width))),
          u(load_some(row + size, width)),
          written(length * u) {}
};

inline void selective_forward(const tt_gated& s) {
    const int64_t size = s.size, states = s.states * size;
    const auto of_lane = [&](const Stretch& part) {
        const int64_t lane = part.lane;
        Rows rows(s, lane);
        const float* const restart = s.restart ? s.restart + lane * states : nullptr;
        float* const kept = s.kept + lane * kept_rows(s.steps) * states;
        float* const y = s.y + lane * s.steps * size;
        float* const state = s.end + lane * states;
        std::copy_n(s.state + lane * states, states, state);
        for_tiles(part.length, [&](int64_t t, auto tile) TT_ALWAYS {
            constexpr int kSteps = tile();
            const float* const row = rows.at<kSteps>(t);
            std::copy_n(state, states, kept + kept_row(t) * states);
            for_vectors(size, [&](int64_t i, int width) TT_ALWAYS {
                Vec lengths[kSteps], written[kSteps], out[kSteps];
                const Vec skip = load_some(s.constants + states + i, width);
                for (int k = 0; k < kSteps; ++k) {
                    const SelectiveStep step(row + k * s.width + i, size, width);
                    lengths[k] = step.length;
                    written[k] = step.written;
                    out[k] = skip * step.u;
                }
                for (int64_t n = 0; n < s.states; ++n) {
                    const int64_t at = n * size + i;
                    const Vec rate = load_some(s.constants + at, width);
                    Vec h = load_some(state + at, width);
                    for (int k = 0; k < kSteps; ++k) {
                        if (restarts(s, lane, t + k)) h = load_some(restart + at, width);
                        const float* const b = row + k * s.width + 2 * size + n;
                        h = eigenvalue(s, exp_of(-lengths[k] * rate)) * h + written[k] * b[0];
                        out[k] += h * b[s.states];
                    }
                    store_some(state + at, h, width);
                }
                for (int k = 0; k < kSteps; ++k) store_some(y + (t + k) * size + i, out[k], width);
            });
        });
        std::fill_n(y + part.length * size, (s.steps - part.length) * size, 0.0f);
        const int64_t used = kept_row(part.length);
        std::fill_n(kept + used * states, (kept_rows(s.steps) - used) * states, 0.0f);
    };
    for_stretches(s, of_lane, kCostOfGates * s.states, false);
}

inline void selective_backward(const tt_gated& s, const tt_gated_gradients& d) {
    const int64_t size = s.size, states = s.states * size;
    const auto of_lane = [&](const Stretch& part) {
        const int64_t lane = part.lane;
        Rows rows(s, lane);
        RowGradients gradients(s, d, lane);
        const float* const restart = s.restart ? s.restart + lane * states : nullptr;
        const float* const kept = s.kept + lane * kept_rows(s.steps) * states;
        const std::vector<float> zeros(d.dy ? 0 : (size_t)(kTile * size));
        float* const dconstants = d.dconstants + lane * (states + size);
        std::fill_n(dconstants, states + size, 0.0f);
        float* const carry = d.dstate + lane * states;
        float* const drestart = d.drestart ? d.drestart + lane * states : nullptr;
        if (drestart) std::fill_n(drestart, states, 0.0f);
        if (d.dend)
            std::copy_n(d.dend + lane * states, states, carry);
        else
            std::fill_n(carry, states, 0.0f);
        // The gradients of B and C of each step, to be added up over the units.
        std::vector<float> shared((size_t)(2 * s.states * kTile * kWidth));
        gradients.absent(part.length, s.steps);
        for_tiles_back(part.length, [&](int64_t t, auto tile) TT_ALWAYS {
            constexpr int kSteps = tile();
            const float* const row = rows.at<kSteps>(t);
            float* const drow = gradients.at(t);
            const float* const dy =
                d.dy ? d.dy + (lane * s.steps + t) * size : zeros.data();
            const float* const start = kept + kept_row(t) * states;
            std::fill(shared.begin(), shared.end(), 0.0f);
            for_vectors(size, [&](int64_t i, int width) TT_ALWAYS {
                Vec lengths[kSteps], written[kSteps], out[kSteps];
                Vec dlengths[kSteps], dwritten[kSteps];
                for (int k = 0; k < kSteps; ++k) {
                    const SelectiveStep step(row + k * s.width + i, size, width);
                    lengths[k] = step.length;
                    written[k] = step.written;
                    out[k] = load_some(dy + k * size + i, width);
                    dlengths[k] = dwritten[k] = Vec{};
                }
                for (int64_t n = 0; n < s.states; ++n) {
                    const int64_t at = n * size + i;
                    const Vec rate = load_some(s.constants + at, width);
                    Vec before[kSteps], keep[kSteps], h = load_some(start + at, width);
                    for (int k = 0; k < kSteps; ++k) {
                        if (restarts(s, lane, t + k)) h = load_some(restart + at, width);
                        before[k] = h;
                        keep[k] = exp_of(-lengths[k] * rate);
                        h = eigenvalue(s, keep[k]) * h +
                            written[k] * row[k * s.width + 2 * size + n];
                    }
                    Vec g = load_some(carry + at, width), drate = {};
                    for (int k = kSteps - 1; k >= 0; --k) {
                        const float* const b = row + k * s.width + 2 * size + n;
                        float* const sums = shared.data() + (k * 2 * s.states + n) * kWidth;
                        const Vec a = eigenvalue(s, keep[k]);
                        add(sums + s.states * kWidth, out[k] * (a * before[k] + written[k] * b[0]));
                        g += out[k] * b[s.states];
                        add(sums, g * written[k]);
                        dwritten[k] += g * b[0];
                        const Vec dpower = -g * before[k] * keep[k] * s.scale;
                        dlengths[k] += dpower * rate;
                        drate += dpower * lengths[k];
                        g *= a;
                        if (!restarts(s, lane, t + k)) continue;
                        store_some(drestart + at, load_some(drestart + at, width) + g, width);
                        g = Vec{};
                    }
                    store_some(carry + at, g, width);
                    store_some(dconstants + at, load_some(dconstants + at, width) + drate, width);
                }
                const Vec skip = load_some(s.constants + states + i, width);
                Vec dskip = load_some(dconstants + states + i, width);
                for (int k = 0; k < kSteps; ++k) {
                    const float* const sums = row + k * s.width + i;
                    const Vec u = load_some(sums + size, width);
                    const Vec opened = sigmoid(load_some(sums, width));
                    float* const to = drow + k * s.width + i;
                    store_some(to, (dlengths[k] + dwritten[k] * u) * opened, width);
                    store_some(to + size, dwritten[k] * lengths[k] + out[k] * skip, width);
                    dskip += out[k] * u;
                }
                store_some(dconstants + states + i, dskip, width);
            });
            for (int k = 0; k < kSteps; ++k)
                for (int64_t n = 0; n < 2 * s.states; ++n)
                    drow[k * s.width + 2 * size + n] =
                        sum(load(shared.data() + (k * 2 * s.states + n) * kWidth));
            gradients.done<kSteps>(t);
        });
    };
    for_stretches(s, of_lane, kCostOfGates * s.states, false);
}

}  // namespace TT_ISA
