// What a step of a gated linear recurrence computes of one vector of units, and its derivative.
//
// A unit is made of the sums of its gates and of constants, numbers that are the same at all steps;
// what it is made of is what `coefficients` of its layer says. Then `forward` takes its states
// (more than one where they are complex) a step on, and `backward` turns the gradient of the states
// after a step into that of the states before it. A unit that reads out has an output other than its
// states, of one step of a lane at a time.
#pragma once

#include <cmath>

#include "rows.h"

namespace TT_ISA {

// Numbers of a unit lie in planes: the first ones of all units, then the second ones.
template <int kPlanes>
TT_INLINE void load_planes(Vec* values, const float* from, int64_t size, int width) {
    for (int p = 0; p < kPlanes; ++p) values[p] = load_some(from + p * size, width);
}

template <int kPlanes>
TT_INLINE void store_planes(float* to, const Vec* values, int64_t size, int width) {
    for (int p = 0; p < kPlanes; ++p) store_some(to + p * size, values[p], width);
}

// The constants of a vector of units, or their gradients.
template <class Unit>
struct Numbers {
    Vec constants[Unit::kConstants + 1];
};

template <class Unit>
TT_INLINE Numbers<Unit> load_numbers(const tt_gated& s, int64_t i, int width) {
    Numbers<Unit> numbers = {};
    load_planes<Unit::kConstants>(numbers.constants, s.constants + i, s.size, width);
    return numbers;
}

TT_INLINE Vec square_root(Vec x) {
#if defined(__AVX512F__)
    return (Vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (Vec)_mm256_sqrt_ps((__m256)x);
#else
    Vec y;
    for (int i = 0; i < kWidth; ++i) y[i] = std::sqrt(x[i]);
    return y;
#endif
}

// An eigenvalue from a gate in [0, 1]: the gate, or where `scale` is 2, 2 keep - 1.
TT_INLINE Vec eigenvalue(const tt_gated& s, Vec keep) { return keep * s.scale + (1.0f - s.scale); }

// h = a h + b, of coefficients that say how their derivatives reach the gates.
template <class Coefficients>
struct Real : Coefficients {
    static constexpr int kStates = 1;
    using Coefficients::Coefficients;

    TT_INLINE void forward(Vec* h) const { h[0] = this->a * h[0] + this->b; }

    TT_INLINE void backward(const Vec* before, Vec* g, Vec* dsums, Vec* dconstants) const {
        this->derive(g[0] * before[0], g[0], dsums, dconstants);
        g[0] = g[0] * this->a;
    }
};

// z, c: a = 1 - z, b = z c.
struct MinGru {
    static constexpr int kGates = 2, kConstants = 0;
    static constexpr bool kReadsOut = false;
    const float scale;
    const Vec enter, candidate, a, b;

    TT_INLINE MinGru(const tt_gated& s, const Vec* sums, const Vec*)
        : scale(s.scale),
          enter(sigmoid(sums[0])),
          candidate(sums[1]),
          a(eigenvalue(s, 1.0f - enter)),
          b(enter * candidate) {}

    TT_INLINE void derive(Vec da, Vec db, Vec* dsums, Vec*) const {
        dsums[0] = (db * candidate - da * scale) * enter * (1.0f - enter);
        dsums[1] = db * enter;
    }
};

// f, i, c: a = f / (f + i), b = i / (f + i) c, where sigmoids are divided by one another without
// becoming zero: with x below zero, sigmoid(x) is exp(x) / (1 + exp(x)).
struct MinLstm {
    static constexpr int kGates = 3, kConstants = 0;
    static constexpr bool kReadsOut = false;
    const float scale;
    const Vec forget, enter, candidate, forget_tail, enter_tail;
    const Vec forget_part, enter_part, shares;
    const Vec keep, a, b;

    TT_INLINE MinLstm(const tt_gated& s, const Vec* sums, const Vec*)
        : scale(s.scale),
          forget(sums[0]),
          enter(sums[1]),
          candidate(sums[2]),
          forget_tail(exp_of(-absolute(forget)) + 1.0f),
          enter_tail(exp_of(-absolute(enter)) + 1.0f),
          forget_part(enter_tail),
          enter_part(exp_of(at_most(0.0f, enter) - at_most(0.0f, forget)) * forget_tail),
          shares(1.0f / (forget_part + enter_part)),
          keep(forget_part * shares),
          a(eigenvalue(s, keep)),
          b(enter_part * shares * candidate) {}

    TT_INLINE void derive(Vec da, Vec db, Vec* dsums, Vec*) const {
        const Vec share = enter_part * shares;
        const Vec d = (da * scale - db * candidate) * keep * share;
        dsums[0] = d * closed(forget, forget_tail);
        dsums[1] = -d * closed(enter, enter_tail);
        dsums[2] = db * share;
    }

    // sigmoid(-x), from 1 + exp(-|x|).
    static TT_INLINE Vec closed(Vec x, Vec tail) {
        return (x < 0.0f ? splat(1.0f) : tail - 1.0f) / tail;
    }
};

// r, i, u and log(a) where r is 1: a = exp(r log(a)), b = sqrt(1 - a^2) i u.
struct RgLru {
    static constexpr int kGates = 3, kConstants = 1;
    static constexpr bool kReadsOut = false;
    const float scale;
    const Vec forget, enter, u, rate;
    const Exponential e;
    const Vec keep, a, share, b;

    TT_INLINE RgLru(const tt_gated& s, const Vec* sums, const Vec* constants)
        : scale(s.scale),
          forget(sigmoid(sums[0])),
          enter(sigmoid(sums[1])),
          u(sums[2]),
          rate(constants[0]),
          e(exponential(at_least(-87.0f, forget * rate))),
          keep(e.s + e.s * e.p),
          a(eigenvalue(s, keep)),
          // 1 - a^2 = (1 - a) (1 + a), where 1 - a is not a difference of two numbers near one.
          share(square_root(((1.0f - e.s) - e.s * e.p) * (1.0f + keep) + s.epsilon)),
          b(share * (enter * u)) {}

    TT_INLINE void derive(Vec da, Vec db, Vec* dsums, Vec* dconstants) const {
        const Vec entered = db * share;
        const Vec d = (da * scale - db * enter * u * keep / share) * keep;
        dconstants[0] += d * forget;
        dsums[0] = d * rate * forget * (1.0f - forget);
        dsums[1] = entered * u * enter * (1.0f - enter);
        dsums[2] = entered * enter;
    }
};

// Complex numbers as two real ones: a is constant and b is what the sums are.
struct Rotation {
    static constexpr int kGates = 2, kConstants = 2, kStates = 2;
    static constexpr bool kReadsOut = false;
    const Vec a, a_imaginary, b, b_imaginary;

    TT_INLINE Rotation(const tt_gated&, const Vec* sums, const Vec* constants)
        : a(constants[0]), a_imaginary(constants[1]), b(sums[0]), b_imaginary(sums[1]) {}

    TT_INLINE void forward(Vec* h) const {
        const Vec real = h[0];
        h[0] = a * real - a_imaginary * h[1] + b;
        h[1] = a * h[1] + a_imaginary * real + b_imaginary;
    }

    TT_INLINE void backward(const Vec* before, Vec* g, Vec* dsums, Vec* dconstants) const {
        const Vec real = dsums[0] = g[0], imaginary = dsums[1] = g[1];
        dconstants[0] += real * before[0] + imaginary * before[1];
        dconstants[1] += imaginary * before[0] - real * before[1];
        g[0] = real * a + imaginary * a_imaginary;
        g[1] = imaginary * a - real * a_imaginary;
    }
};

// f, c, g: a = 1 - enter, b = enter silu(c), where enter = (1 - bound) sigmoid(-f); the output is
// silu(g) times the state over its root mean square and times the constant.
struct Hgrn {
    static constexpr int kGates = 2, kConstants = 1;
    static constexpr bool kReadsOut = true;
    const float scale, most;
    const Vec open, candidate, gate, enter, a, b;

    TT_INLINE Hgrn(const tt_gated& s, const Vec* sums, const Vec*)
        : scale(s.scale),
          most(1.0f - s.bound),
          open(sigmoid(-sums[0])),
          candidate(sums[1]),
          gate(sigmoid(candidate)),
          enter(open * most),
          a(eigenvalue(s, 1.0f - enter)),
          b(enter * (candidate * gate)) {}

    TT_INLINE void derive(Vec da, Vec db, Vec* dsums, Vec*) const {
        dsums[0] = (da * scale - db * candidate * gate) * enter * (1.0f - open);
        dsums[1] = db * enter * slope(candidate, gate);
    }

    // The derivative of silu(x) = x sigmoid(x).
    static TT_INLINE Vec slope(Vec x, Vec sigmoid_of_x) {
        return sigmoid_of_x * (1.0f + x * (1.0f - sigmoid_of_x));
    }

    static TT_INLINE float inverse_root(const tt_gated& s, const float* h) {
        Vec squares = {};
        for_vectors(s.size, [&](int64_t i, int width) TT_ALWAYS {
            const Vec value = load_some(h + i, width);
            squares += value * value;
        });
        return 1.0f / std::sqrt(sum(squares) / (float)s.size + s.epsilon);
    }

    static TT_INLINE void read_out(const tt_gated& s, const float* row, const float* h, float* y) {
        const float* const gates = row + kGates * s.size;
        const float inverse = inverse_root(s, h);
        for_vectors(s.size, [&](int64_t i, int width) TT_ALWAYS {
            const Vec x = load_some(gates + i, width);
            const Vec normal = load_some(h + i, width) * inverse;
            store_some(y + i, x * sigmoid(x) * normal * load_some(s.constants + i, width), width);
        });
    }

    static TT_INLINE void read_out_back(const tt_gated& s, const float* row, const float* h,
                                        const float* dy, float* dh, float* drow, float* dconstants,
                                        float* u) {
        const float* const gates = row + kGates * s.size;
        float* const dgates = drow + kGates * s.size;
        const float inverse = inverse_root(s, h);
        Vec along = {};
        for_vectors(s.size, [&](int64_t i, int width) TT_ALWAYS {
            const Vec x = load_some(gates + i, width), gate = sigmoid(x);
            const Vec normal = load_some(h + i, width) * inverse, d = load_some(dy + i, width);
            const Vec weight = load_some(s.constants + i, width), opened = d * x * gate;
            store_some(dgates + i, d * normal * weight * slope(x, gate), width);
            store_some(dconstants + i, load_some(dconstants + i, width) + opened * normal, width);
            store_some(dh + i, opened * weight, width);
            if (u) store_some(u + i, x * gate * normal * weight, width);
            along += opened * weight * normal;
        });
        const float mean = sum(along) / (float)s.size;
        for_vectors(s.size, [&](int64_t i, int width) TT_ALWAYS {
            const Vec normal = load_some(h + i, width) * inverse;
            store_some(dh + i, (load_some(dh + i, width) - normal * mean) * inverse, width);
        });
    }
};

}  // namespace TT_ISA
