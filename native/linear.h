// A diagonal linear recurrence over whole sequences, forward and backward.
//
// Step by step, because that is the least work there is: each number of a, b and h crosses the
// memory bus once, and the state stays in the nearest cache. What is divided among threads is lanes
// and, where those are few, stretches of the state too: no number of a state needs another.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "threads.h"
#include "throughtime.h"

namespace TT_ISA {

// The maths of one step of `count` numbers: h = a * before + b and its gradient, where `carry` is
// the gradient of the state: of h on the way in (without dh), of `before` on the way out.
struct RealStep {
    static constexpr int64_t kFloats = 1;

    static inline void forward(int64_t count, const float* __restrict a, const float* __restrict b,
                               const float* __restrict before, float* __restrict h) {
        for (int64_t i = 0; i < count; ++i) h[i] = a[i] * before[i] + b[i];
    }

    static inline void backward(int64_t count, const float* __restrict a,
                                const float* __restrict before, const float* __restrict dh,
                                float* __restrict carry, float* __restrict da,
                                float* __restrict db) {
        for (int64_t i = 0; i < count; ++i) {
            const float g = dh[i] + carry[i];
            db[i] = g;
            da[i] = g * before[i];
            carry[i] = g * a[i];
        }
    }
};

// The same of pairs, real and imaginary. Gradients multiply by the conjugate, as torch's do.
struct ComplexStep {
    static constexpr int64_t kFloats = 2;

    static inline void forward(int64_t count, const float* __restrict a, const float* __restrict b,
                               const float* __restrict before, float* __restrict h) {
        for (int64_t i = 0; i < 2 * count; i += 2) {
            h[i] = a[i] * before[i] - a[i + 1] * before[i + 1] + b[i];
            h[i + 1] = a[i] * before[i + 1] + a[i + 1] * before[i] + b[i + 1];
        }
    }

    static inline void backward(int64_t count, const float* __restrict a,
                                const float* __restrict before, const float* __restrict dh,
                                float* __restrict carry, float* __restrict da,
                                float* __restrict db) {
        for (int64_t i = 0; i < 2 * count; i += 2) {
            const float re = dh[i] + carry[i], im = dh[i + 1] + carry[i + 1];
            db[i] = re;
            db[i + 1] = im;
            da[i] = re * before[i] + im * before[i + 1];
            da[i + 1] = im * before[i] - re * before[i + 1];
            carry[i] = re * a[i] + im * a[i + 1];
            carry[i + 1] = im * a[i] - re * a[i + 1];
        }
    }
};

// A row is walked in blocks of this many floats, a size that the compiler knows and unrolls, and in
// the direction of time: memory that is read downwards in everything is fetched ahead of its use,
// while rows read upwards one below the other are not, and took three times as long.
constexpr int64_t kBlockFloats = 32;

template <class Step>
void forward_row(int64_t count, const float* a, const float* b, const float* before, float* h) {
    constexpr int64_t F = Step::kFloats, K = kBlockFloats / F;
    int64_t i = 0;
    for (; i + K <= count; i += K)
        Step::forward(K, a + i * F, b + i * F, before + i * F, h + i * F);
    if (i < count) Step::forward(count - i, a + i * F, b + i * F, before + i * F, h + i * F);
}

template <class Step>
void backward_row(int64_t count, const float* a, const float* before, const float* dh, float* carry,
                  float* da, float* db) {
    constexpr int64_t F = Step::kFloats, K = kBlockFloats / F;
    int64_t i = count / K * K * F;
    if (i < count * F)
        Step::backward(count % K, a + i, before + i, dh + i, carry + i, da + i, db + i);
    for (i -= kBlockFloats; i >= 0; i -= kBlockFloats)
        Step::backward(K, a + i, before + i, dh + i, carry + i, da + i, db + i);
}

// A stretch of the state of one lane, in numbers, and how many steps of that lane are there.
struct Stretch {
    int64_t lane, first, count, length;
};

// A stretch begins at a line of the cache and is four of them or more.
constexpr int64_t kLineOfNumbers = 16, kLeastStretch = 64;
// Numbers over all steps below which one more thread costs more than it saves.
constexpr int64_t kNumbersWorthAThread = 128 * 1024;

// Call work(stretch) for every stretch, on as many threads as it is worth. `cost` is of one number,
// in those of a linear recurrence alone; where states must not be divided, a lane is a stretch.
template <class Sequences, class Work>
void for_stretches(const Sequences& s, const Work& work, int64_t cost = 1, bool divides = true) {
    const int64_t worth = s.lanes * s.steps * s.size * cost / kNumbersWorthAThread;
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, worth));
    // Some for each thread where there is a choice, so that unequal lengths even out.
    const int64_t wanted = threads == 1 ? 1 : (4 * threads + s.lanes - 1) / s.lanes;
    const int64_t most = divides ? std::max<int64_t>(1, std::min(wanted, s.size / kLeastStretch)) : 1;
    const int64_t lines = std::max<int64_t>(1, (s.size + kLineOfNumbers - 1) / kLineOfNumbers);
    const int64_t size = (lines + most - 1) / most * kLineOfNumbers;
    const int64_t stretches = (s.size + size - 1) / size;
    std::atomic<int64_t> next{0};
    in_parallel(threads, [&](int64_t) {
        for (int64_t i; (i = next.fetch_add(1)) < s.lanes * stretches;) {
            const int64_t lane = i / stretches, first = i % stretches * size;
            const int64_t length = s.lengths ? s.lengths[lane] : s.steps;
            work(Stretch{lane, first, std::min(size, s.size - first),
                         std::min(std::max<int64_t>(length, 0), s.steps)});
        }
    });
}

template <class Step>
void linear_forward(const tt_linear& s) {
    for_stretches(s, [&](const Stretch& part) {
        constexpr int64_t F = Step::kFloats;
        const int64_t width = part.count * F, row = s.size * F;
        const int64_t at = part.lane * row + part.first * F;
        const float* const a = s.a + (part.lane * s.a_lane + part.first) * F;
        const float* const b = s.b + (part.lane * s.b_lane + part.first) * F;
        const uint8_t* const resets = s.resets ? s.resets + part.lane * s.steps : nullptr;
        const float* before = s.state + at;
        float* h = s.h + part.lane * s.steps * row + part.first * F;
        for (int64_t t = 0; t < part.length; ++t, h += row) {
            if (resets && resets[t]) before = s.restart + at;
            forward_row<Step>(part.count, a + t * s.a_step * F, b + t * s.b_step * F, before, h);
            before = h;
        }
        std::copy_n(before, width, s.end + at);
        for (int64_t t = part.length; t < s.steps; ++t, h += row) std::fill_n(h, width, 0.0f);
    });
}

template <class Step>
void linear_backward(const tt_linear& s, const tt_linear_gradients& d) {
    for_stretches(s, [&](const Stretch& part) {
        constexpr int64_t F = Step::kFloats;
        const int64_t width = part.count * F, row = s.size * F;
        const int64_t at = part.lane * row + part.first * F;
        const int64_t start = part.lane * s.steps * row + part.first * F;
        const float* const a = s.a + (part.lane * s.a_lane + part.first) * F;
        const uint8_t* const resets = s.resets ? s.resets + part.lane * s.steps : nullptr;
        const std::vector<float> zeros(d.dh ? 0 : (size_t)width);
        // What is carried in the end is the gradient of the state before step 0.
        float* const carry = d.dstate + at;
        if (d.dend)
            std::copy_n(d.dend + at, width, carry);
        else
            std::fill_n(carry, width, 0.0f);
        if (d.drestart) std::fill_n(d.drestart + at, width, 0.0f);
        for (int64_t t = part.length; t < s.steps; ++t) {
            std::fill_n(d.da + start + t * row, width, 0.0f);
            std::fill_n(d.db + start + t * row, width, 0.0f);
        }
        for (int64_t t = part.length - 1; t >= 0; --t) {
            const int64_t here = start + t * row;
            const bool restarts = resets && resets[t];
            const float* const before = restarts ? s.restart + at
                                        : t == 0 ? s.state + at
                                                 : s.h + here - row;
            const float* const dh = d.dh ? d.dh + here : zeros.data();
            backward_row<Step>(part.count, a + t * s.a_step * F, before, dh, carry, d.da + here,
                               d.db + here);
            if (restarts) {
                for (int64_t i = 0; i < width; ++i) d.drestart[at + i] += carry[i];
                std::fill_n(carry, width, 0.0f);
            }
        }
    });
}

}  // namespace TT_ISA
