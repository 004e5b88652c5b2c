// The functions that cells are made of, on one vector. NaN and inf come through every one of them as
// they do through torch's: a comparison that NaN fails picks NaN.
#pragma once

#include <initializer_list>

#include "vector.h"

namespace TT_ISA {

TT_INLINE Vec absolute(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

TT_INLINE Vec with_sign_of(Vec magnitude, Vec x) {
    return (Vec)((IntVec)magnitude | ((IntVec)x & (int32_t)0x80000000));
}

// The larger, or the smaller, of x and a bound; NaN stays NaN.
TT_INLINE Vec at_least(float bound, Vec x) {
#if defined(__AVX512F__)
    return (Vec)_mm512_max_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(__AVX2__)
    return (Vec)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
#else
    return x < bound ? splat(bound) : x;
#endif
}

TT_INLINE Vec at_most(float bound, Vec x) {
#if defined(__AVX512F__)
    return (Vec)_mm512_min_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(__AVX2__)
    return (Vec)_mm256_min_ps(_mm256_set1_ps(bound), (__m256)x);
#else
    return x > bound ? splat(bound) : x;
#endif
}

// max(x, 0).
TT_INLINE Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }

// 1 / x of a finite x of 1 or more, to the last bits: an estimate of 14 bits and a step of Newton's
// method take a third of the time of a division.
TT_INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
    const Vec estimate = (Vec)_mm512_rcp14_ps((__m512)x);
    return estimate + estimate * (1.0f - x * estimate);
#else
    return 1.0f / x;
#endif
}

// exp(x) - 1 as (p, s) with exp(x) = s + s p, s a power of two and |p| < 0.42.
//
// x = n ln 2 + r, |r| <= ln 2 / 2, and p = exp(r) - 1 = r + r^2 q(r). The coefficients of q were
// fitted for the least largest error relative to exp: 4e-9. Adding 1.5 * 2^23 rounds to a whole
// number without a conversion that NaN could upset.
struct Exponential {
    Vec p, s;
};

TT_INLINE Exponential exponential(Vec x) {
    constexpr float kRound = 12582912.0f;
    const Vec shifted = x * 1.44269504088896341f + kRound;
    const Vec n = shifted - kRound;
    const Vec r = (x - n * 0.693359375f) + n * 2.12194440054690583e-4f;
    Vec q = r * 0x1.6a2434p-10f + 0x1.1239e2p-7f;
    q = q * r + 0x1.5558f2p-5f;
    q = q * r + 0x1.555492p-3f;
    q = q * r + 0x1.fffffcp-2f;
    return {r + (r * r) * q, (Vec)(((IntVec)shifted + 127) << 23)};
}

// 1 / (1 + exp(-x)); zero where exp(-x) is no longer a finite number.
TT_INLINE Vec sigmoid(Vec x) {
    const Exponential e = exponential(at_least(-87.0f, at_most(88.0f, -x)));
    const Vec y = reciprocal(e.s * (1.0f + e.p) + 1.0f);
    return x < -88.0f ? Vec{} : y;
}

// (exp(2|x|) - 1) / (exp(2|x|) + 1) with the sign of x: exact to the last bits near zero too.
TT_INLINE Vec tanh(Vec x) {
    const Exponential e = exponential(at_most(20.0f, absolute(x) * 2.0f));
    const Vec m = (e.s - 1.0f) + e.s * e.p;
    return with_sign_of(m * reciprocal(m + 2.0f), x);
}

// exp(x); smaller than any that matters, and not zero, from where it is no longer a normal number.
TT_INLINE Vec exp_of(Vec x) {
    const Exponential e = exponential(at_least(-87.0f, at_most(80.0f, x)));
    return e.s + e.s * e.p;
}

// log(1 + exp(x)): of y = exp(-|x|) in (0, 1], log(1 + y) = 2 artanh(y / (2 + y)), as a series.
TT_INLINE Vec softplus(Vec x) {
    const Vec y = exp_of(-absolute(x));
    const Vec r = y / (y + 2.0f), square = r * r;
    Vec series = square * (1.0f / 17) + 1.0f / 15;
    for (const float term : {1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f})
        series = series * square + term;
    return at_least(0.0f, x) + 2.0f * r * series;
}

}  // namespace TT_ISA
