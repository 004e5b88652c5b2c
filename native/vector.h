// One vector of float32, for whatever instruction set this file is compiled for. The maths on it lives
// in maths.h.
//
// Written with the compilers' vector extensions, so that one source serves x86 and ARM.
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
#define TT_ALWAYS __attribute__((always_inline))
#define TT_INLINE inline TT_ALWAYS

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

// The first `width` of a vector's numbers, which may be all of them.
template <class Stored>
TT_INLINE Vec load_some(const Stored* from, int width) {
    return width == kWidth ? load(from) : load_part(from, width);
}

template <class Stored>
TT_INLINE void store_some(Stored* to, Vec value, int width) {
    width == kWidth ? store(to, value) : store_part(to, value, width);
}

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

}  // namespace TT_ISA
