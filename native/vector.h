// One vector of float32 and the maths on it, for whatever instruction set this file is compiled for.
// What a recurrence computes with vectors lives in product.h and cells.h.
//
// Written with the compilers' vector extensions, so that one source serves x86 and ARM. NaN and inf
// come through every function as they do through torch's: a comparison that NaN fails picks NaN.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace TT_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;       // float32 numbers in a vector
constexpr int kAccumulators = 24;  // vectors that fit in registers beside weights and inputs
#elif defined(__AVX2__)
constexpr int kWidth = 8;
constexpr int kAccumulators = 12;
#else
constexpr int kWidth = 4;
constexpr int kAccumulators = 12;
#endif

// The maths below is a few instructions in the middle of a loop: a call would spill all registers.
#define TT_INLINE inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * kWidth)));
typedef int32_t IntVec __attribute__((vector_size(4 * kWidth)));

// Half a float32: sign, exponent and the first seven bits of the fraction.
struct BFloat16 {
    uint16_t bits;
};

TT_INLINE Vec splat(float value) {
    // Not Vec{} + value, which would lose the sign of a zero.
    return value - Vec{};
}

TT_INLINE Vec load(const float* from) {
    Vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

TT_INLINE void store(float* to, Vec value) { memcpy(to, &value, sizeof value); }

// Loads and stores of the first `count` of a vector's numbers; the others are zero, or not written.
TT_INLINE Vec load_part(const float* from, int count) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    Vec value = {};
    memcpy(&value, from, sizeof(float) * (size_t)count);
    return value;
#endif
}

TT_INLINE void store_part(float* to, Vec value, int count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
#else
    memcpy(to, &value, sizeof(float) * (size_t)count);
#endif
}

#if defined(__AVX512BF16__)
TT_INLINE Vec load(const BFloat16* from) {
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)),
                                  16);
}

TT_INLINE Vec load_part(const BFloat16* from, int count) {
    const __m256i half = _mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), from);
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}

TT_INLINE void store(BFloat16* to, Vec value) {
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}

TT_INLINE void store_part(BFloat16* to, Vec value, int count) {
    _mm256_mask_storeu_epi16(to, (__mmask16)((1u << count) - 1),
                             (__m256i)_mm512_cvtneps_pbh((__m512)value));
}
#endif

// To the nearest, ties to even; a NaN stays a NaN.
inline BFloat16 to_bfloat16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return BFloat16{(uint16_t)((bits >> 16) | 0x40)};
    return BFloat16{(uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

TT_INLINE float sum(Vec value) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)value);
#else
    float total = 0;
    for (int i = 0; i < kWidth; ++i) total += value[i];
    return total;
#endif
}

TT_INLINE Vec absolute(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

TT_INLINE Vec with_sign_of(Vec magnitude, Vec x) {
    return (Vec)((IntVec)magnitude | ((IntVec)x & (int32_t)0x80000000));
}

// exp(x) - 1 as (p, s) with exp(x) = s + s p, s a power of two and |p| < 0.42.
//
// x = n ln 2 + r, |r| <= ln 2 / 2, and p = exp(r) - 1 = r + r^2 q(r). The coefficients of q were
// fitted for the least largest error relative to exp: 4e-9. Adding 1.5 * 2^23 rounds to a whole
// number, whose bits then stand at the end of the fraction: no conversion that NaN could upset.
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

// 1 / (1 + exp(-x)). From 88.4 on the power of two is inf, and the result zero.
TT_INLINE Vec sigmoid(Vec x) {
    Vec y = -x;
    y = y < -87.0f ? splat(-87.0f) : y;
    y = y > 89.0f ? splat(89.0f) : y;
    const Exponential e = exponential(y);
    return 1.0f / (e.s * (1.0f + e.p) + 1.0f);
}

// (exp(2|x|) - 1) / (exp(2|x|) + 1) with the sign of x: exact to the last bits near zero too.
TT_INLINE Vec tanh(Vec x) {
    Vec y = absolute(x) * 2.0f;
    y = y > 20.0f ? splat(20.0f) : y;
    const Exponential e = exponential(y);
    const Vec m = (e.s - 1.0f) + e.s * e.p;
    return with_sign_of(m / (m + 2.0f), x);
}

// max(x, 0), with NaN kept.
TT_INLINE Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }

}  // namespace TT_ISA
