// Rows times packed weights, in registers: the product that every recurrence is made of.
//
// A weight matrix is packed once into panels, one for each vector of outputs, in the order in which
// `multiply` reads it. A row's result never depends on which rows are computed beside it: every sum
// starts from a given value and takes its terms one after the other, whatever the blocking. So a
// lane is bit-equal in any batch, and a sequence is bit-equal to its steps.
#pragma once

#include "tiles.h"

namespace TT_ISA {

inline int vectors_of(int64_t units) { return (int)((units + kWidth - 1) / kWidth); }

// The number of units in vector `index` of a row of `units`: kWidth but for the last.
inline int width_of(int64_t units, int index) {
    const int64_t left = units - (int64_t)index * kWidth;
    return left < kWidth ? (int)left : kWidth;
}

// How many terms of a row one instruction multiplies: float32 one, bfloat16 two.
template <class Stored>
constexpr int kTogether = 1;
template <>
constexpr int kTogether<BFloat16> = 2;

// Terms of a row, rounded up to what is multiplied together; the rest are zeros.
template <class Stored>
inline int64_t padded(int64_t terms) {
    constexpr int64_t kStep = kInTiles<Stored> ? kTileStep : kTogether<Stored>;
    return (terms + kStep - 1) / kStep * kStep;
}

// Rows, rounded up to what is read together; what the rest hold does not matter.
template <class Stored>
inline int64_t padded_rows(int64_t rows) {
    return kInTiles<Stored> ? (rows + 31) / 32 * 32 : rows;
}

// Numbers in a panel: `terms` weights for each of kGates vectors.
template <class Stored>
inline int64_t panel_size(int64_t terms, int gates) {
    return padded<Stored>(terms) * gates * kWidth;
}

inline void put(float* to, float value) { *to = value; }
inline void put(BFloat16* to, float value) { *to = to_bfloat16(value); }

#if defined(__AVX512BF16__)
// Store the numbers of two vectors as pairs (a0, b0), (a1, b1), ...
TT_INLINE void store_pairs(BFloat16* to, Vec a, Vec b) {
    const auto halves = [](Vec value) {
        return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)value));
    };
    const __m512i pairs = _mm512_or_si512(halves(a), _mm512_slli_epi32(halves(b), 16));
    memcpy(to, &pairs, sizeof pairs);
}

TT_INLINE Vec load_column(const float* from, int64_t stride) {
    const __m512i ranks = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i places = _mm512_mullo_epi32(ranks, _mm512_set1_epi32((int)stride));
    return (Vec)_mm512_i32gather_ps(places, from, 4);
}
#endif

// Pack panels [first, last) of a matrix (gates * units, terms) in torch's layout, to be multiplied
// by rows of `terms` numbers: one panel for each vector of units, all gates of it together.
template <class Stored>
void pack_gates(const float* weights, int64_t units, int64_t terms, int gates, int first, int last,
                Stored* packed) {
    constexpr int kPair = kTogether<Stored>;
    const int64_t size = panel_size<Stored>(terms, gates);
    for (int v = first; v < last; ++v) {
        const int width = width_of(units, v);
        Stored* panel = packed + (int64_t)v * size;
        if (width < kWidth || padded<Stored>(terms) != terms)
            memset((void*)panel, 0, sizeof(Stored) * (size_t)size);
        for (int g = 0; g < gates; ++g) {
            const float* rows = weights + ((int64_t)g * units + (int64_t)v * kWidth) * terms;
            int64_t k = 0;
#if defined(__AVX512BF16__)
            if constexpr (kPair == 2)
                for (; width == kWidth && terms < (1 << 26) && k + 1 < terms; k += 2)
                    store_pairs(panel + (k * gates + 2 * g) * kWidth, load_column(rows + k, terms),
                                load_column(rows + k + 1, terms));
#endif
            for (; k < terms; ++k) {
                Stored* to = panel + (k / kPair * gates + g) * kWidth * kPair + k % kPair;
                for (int i = 0; i < width; ++i) put(to + i * kPair, rows[(int64_t)i * terms + k]);
            }
        }
    }
}

// Pack panels [first, last) of the same matrix transposed, to be multiplied by rows of
// gates * units numbers: one panel for each vector of `terms`. Row block `order[g]` comes g-th.
template <class Stored>
void pack_transposed(const float* weights, int64_t units, int64_t terms, const int* order,
                     int gates, int first, int last, Stored* packed) {
    constexpr int kPair = kTogether<Stored>;
    const int64_t size = panel_size<Stored>(gates * units, 1);
    for (int v = first; v < last; ++v) {
        const int width = width_of(terms, v);
        Stored* panel = packed + (int64_t)v * size;
        if (width < kWidth || padded<Stored>(gates * units) != gates * units)
            memset((void*)panel, 0, sizeof(Stored) * (size_t)size);
        const auto row_of = [&](int64_t j) {
            const int64_t row = order[j / units] * units + j % units;
            return weights + row * terms + (int64_t)v * kWidth;
        };
        int64_t j = 0;
#if defined(__AVX512BF16__)
        if constexpr (kPair == 2)
            for (; width == kWidth && j + 1 < gates * units; j += 2)
                store_pairs(panel + j * kWidth, load(row_of(j)), load(row_of(j + 1)));
#endif
        for (; j < gates * units; ++j) {
            const float* from = row_of(j);
            Stored* to = panel + j / kPair * kWidth * kPair + j % kPair;
            for (int i = 0; i < width; ++i) put(to + i * kPair, from[i]);
        }
    }
}

// Terms from which a single sum is made of two halves.
constexpr int64_t kManyTerms = 64;

// Add to sums[u][r][g] the terms [begin, end) of the products of kRows rows with the panels of
// kVectors vectors of units, one after the other.
template <int kRows, int kVectors, int kGates>
TT_INLINE void add_terms(Vec (&sums)[kVectors][kRows][kGates], const float* const (&row)[kRows],
                         const float* panels, int64_t panel_stride, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
        Vec weight[kVectors][kGates];
#pragma GCC unroll 4
        for (int u = 0; u < kVectors; ++u)
#pragma GCC unroll 4
            for (int g = 0; g < kGates; ++g)
                weight[u][g] = load(panels + u * panel_stride + (k * kGates + g) * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const float term = row[r][k];
#pragma GCC unroll 4
            for (int u = 0; u < kVectors; ++u)
#pragma GCC unroll 4
                for (int g = 0; g < kGates; ++g) sums[u][r][g] += weight[u][g] * term;
        }
    }
}

#if defined(__AVX512BF16__)
template <int kRows, int kVectors, int kGates>
TT_INLINE void add_terms(Vec (&sums)[kVectors][kRows][kGates],
                         const BFloat16* const (&row)[kRows], const BFloat16* panels,
                         int64_t panel_stride, int64_t begin, int64_t end) {
    const auto add_pair = [&](int64_t k, size_t bytes) TT_ALWAYS {
        __m512bh weight[kVectors][kGates];
#pragma GCC unroll 4
        for (int u = 0; u < kVectors; ++u)
#pragma GCC unroll 4
            for (int g = 0; g < kGates; ++g)
                memcpy(&weight[u][g], panels + u * panel_stride + (k * kGates + 2 * g) * kWidth,
                       sizeof weight[u][g]);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            int32_t pair = 0;
            memcpy(&pair, row[r] + k, bytes);
            const __m512bh term = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int u = 0; u < kVectors; ++u)
#pragma GCC unroll 4
                for (int g = 0; g < kGates; ++g)
                    sums[u][r][g] =
                        (Vec)_mm512_dpbf16_ps((__m512)sums[u][r][g], weight[u][g], term);
        }
    };
    for (int64_t k = begin; k + 1 < end; k += 2) add_pair(k, 4);
    if ((end - begin) % 2) add_pair(end - 1, 2);
}
#endif

// As `multiply`, in registers.
//
// Where a unit has only one sum, of many terms, that is made of two, one for each half of the terms:
// with few rows they are computed side by side, so that the processor need not wait for one sum all
// the time; with many, one after the other. The result is the same, bit for bit.
template <int kRows, int kVectors, int kGates, class Stored>
TT_INLINE void multiply_in_registers(Vec (&sums)[kVectors][kRows][kGates],
                                     const Stored* const* rows, const Stored* panels,
                                     int64_t panel_stride, int64_t terms) {
    const Stored* row[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) row[r] = rows[r];
    if (kGates > 1 || terms < kManyTerms) {
        add_terms(sums, row, panels, panel_stride, 0, terms);
        return;
    }
    const int64_t half = terms / (2 * kTogether<Stored>) * kTogether<Stored>;
    const Stored* const second = panels + half * kGates * kWidth;
    if constexpr (kGates == 1 && kTogether<Stored> == 1 &&
                  2 * kRows * kVectors <= kAccumulators) {
        Vec others[kVectors][kRows][kGates] = {};
        for (int64_t k = 0; k < half; ++k) {
#pragma GCC unroll 4
            for (int u = 0; u < kVectors; ++u) {
                const Vec here = load(panels + u * panel_stride + k * kWidth);
                const Vec there = load(second + u * panel_stride + k * kWidth);
#pragma GCC unroll 8
                for (int r = 0; r < kRows; ++r) {
                    sums[u][r][0] += here * row[r][k];
                    others[u][r][0] += there * row[r][half + k];
                }
            }
        }
        add_terms(others, row, panels, panel_stride, 2 * half, terms);
        for (int u = 0; u < kVectors; ++u)
            for (int r = 0; r < kRows; ++r) sums[u][r][0] += others[u][r][0];
    } else {
        add_terms(sums, row, panels, panel_stride, 0, half);
        Vec others[kVectors][kRows][kGates] = {};
        add_terms(others, row, panels, panel_stride, half, terms);
        for (int u = 0; u < kVectors; ++u)
            for (int r = 0; r < kRows; ++r) sums[u][r][0] += others[u][r][0];
    }
}

// Add to sums[u][r][g] the products of kRows rows with the panels of kVectors vectors of units. In
// tiles, rows follow one another, padded(terms) from one to the next.
template <int kRows, int kVectors, int kGates, class Stored>
TT_INLINE void multiply(Vec (&sums)[kVectors][kRows][kGates], const Stored* const* rows,
                        const Stored* panels, int64_t panel_stride, int64_t terms) {
    if constexpr (kInTiles<Stored>)
        multiply_in_tiles(sums, rows[0], panels, panel_stride, padded<Stored>(terms));
    else
        multiply_in_registers(sums, rows, panels, panel_stride, terms);
}

// The most rows, and with so many rows the most vectors of units, whose sums stay in registers.
constexpr int rows_at_once(int gates) {
    return gates == 1 ? 6 : kAccumulators / gates < 8 ? kAccumulators / gates : 8;
}

constexpr int vectors_at_once(int rows, int gates) {
    const int most = kAccumulators / (rows * gates);
    return most < 1 ? 1 : most > 4 ? 4 : most;
}

// A block is a function of its own: inside a large one its sums would not all get registers.
template <int kRows, int kVectors, class Visit>
__attribute__((noinline)) void visit_apart(int row, int vector, const Visit& visit) {
    visit(row, vector, Count<kRows>{}, Count<kVectors>{});
}

template <int kGates, int kRows, int kVectors, class Visit>
inline void visit_block(int rows, int vectors, int row, int vector, const Visit& visit) {
    if constexpr (kRows > 0 && kVectors > 0) {
        if (rows < kRows)
            visit_block<kGates, kRows - 1, kVectors>(rows, vectors, row, vector, visit);
        else if (vectors < kVectors)
            visit_block<kGates, kRows, kVectors - 1>(rows, vectors, row, vector, visit);
        else if constexpr (kVectors <= vectors_at_once(kRows, kGates))
            visit_apart<kRows, kVectors>(row, vector, visit);
    }
}

template <int kGates, class Visit>
inline void for_registers(int rows, int vectors, const Visit& visit) {
    constexpr int kMost = rows_at_once(kGates);
    const int blocks = (rows + kMost - 1) / kMost;
    const int largest = (rows + blocks - 1) / blocks;
    const int together = vectors_at_once(largest, kGates);
    for (int vector = 0; vector < vectors; vector += together) {
        const int some = vectors - vector < together ? vectors - vector : together;
        for (int block = 0, row = 0; block < blocks; ++block) {
            const int many = (rows - row) / (blocks - block) +
                             ((rows - row) % (blocks - block) != 0);
            visit_block<kGates, kMost, 4>(many, some, row, vector, visit);
            row += many;
        }
    }
}

#if defined(__AMX_BF16__)
template <int kRows, int kVectors, class Visit>
__attribute__((noinline)) void visit_tiles(int row, int many, int vector, const Visit& visit) {
    visit(row, vector, Some<kRows>{many}, Count<kVectors>{});
}

template <int kVectors, class Visit>
inline void visit_rows(int rows, int vector, const Visit& visit) {
    for (int row = 0; row < rows; row += 2 * kTileRows) {
        const int many = rows - row;
        if (many > kTileRows)
            visit_tiles<2 * kTileRows, kVectors>(row, many < 2 * kTileRows ? many : 2 * kTileRows,
                                                 vector, visit);
        else
            visit_tiles<kTileRows, kVectors>(row, many, vector, visit);
    }
}

template <int kGates, class Visit>
inline void for_tiles(int rows, int vectors, const Visit& visit) {
    constexpr int kMost = kGates == 1 ? 4 : 1;
    int vector = 0;
    for (; vector + kMost <= vectors; vector += kMost) visit_rows<kMost>(rows, vector, visit);
    for (; vector < vectors; ++vector) visit_rows<1>(rows, vector, visit);
}
#else
template <int kGates, class Visit>
void for_tiles(int, int, const Visit&);
#endif

// Call visit(row, first vector, rows, vectors) so that every one of `rows` rows meets every one of
// `vectors` vectors of units once, in blocks that fit in registers. `rows` and `vectors` of a block
// are Count or Some. Vectors are outside, so that a panel is read from the cache for many rows.
template <int kGates, class Stored, class Visit>
inline void for_blocks(int rows, int vectors, const Visit& visit) {
    if (rows <= 0) return;
    if constexpr (kInTiles<Stored>)
        for_tiles<kGates>(rows, vectors, visit);
    else
        for_registers<kGates>(rows, vectors, visit);
}

// The sums of `count` rows over all gates of all units: of row i, (vectors, kGates, kWidth) numbers,
// which start from `start`, the same for each row, or from zeros if that is null.
template <int kGates, class Stored>
void multiply_gates(const Stored* const* rows, int count, const Stored* panels, int64_t terms,
                    int64_t units, const float* start, float* sums) {
    const int vectors = vectors_of(units);
    const int64_t stride = (int64_t)vectors * kGates * kWidth;
    const int64_t panel = panel_size<Stored>(terms, kGates);
    for_blocks<kGates, Stored>(count, vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec block[U][R][kGates];
        for (int u = 0; u < U; ++u)
            for (int r = 0; r < many; ++r)
                for (int g = 0; g < kGates; ++g)
                    block[u][r][g] =
                        start ? load(start + ((vector + u) * kGates + g) * kWidth) : Vec{};
        multiply<R, U, kGates>(block, rows + row, panels + vector * panel, panel, terms);
        for (int r = 0; r < many; ++r)
            for (int u = 0; u < U; ++u)
                for (int g = 0; g < kGates; ++g)
                    store(sums + (row + r) * stride + ((vector + u) * kGates + g) * kWidth,
                          block[u][r][g]);
    });
}

// The products of `count` rows with panels of one sum for each unit: outputs[i] is (units,). They
// start from `start` (vectors, kWidth), the same for each row, or from zeros if that is null.
template <class Stored>
void multiply_rows(const Stored* const* rows, float* const* outputs, int count,
                   const Stored* panels, int64_t terms, int64_t units,
                   const float* start = nullptr) {
    const int64_t panel = panel_size<Stored>(terms, 1);
    for_blocks<1, Stored>(count, vectors_of(units), [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec sums[U][R][1];
        for (int u = 0; u < U; ++u)
            for (int r = 0; r < many; ++r)
                sums[u][r][0] = start ? load(start + (vector + u) * kWidth) : Vec{};
        multiply<R, U, 1>(sums, rows + row, panels + vector * panel, panel, terms);
        for (int r = 0; r < many; ++r)
            for (int u = 0; u < U; ++u)
                store_some(outputs[row + r] + (vector + u) * kWidth, sums[u][r][0],
                           width_of(units, vector + u));
    });
}

}  // namespace TT_ISA
