// Products of bfloat16 in AMX tiles: a tile is 16 rows of 64 bytes, and one instruction multiplies 16
// rows of 32 terms by 32 terms of 16 units.
//
//   rows: 16 of them, 32 terms of each        panels: 16 pairs of terms, of each 16 units
//
// Sums stay in tiles for up to kTileTerms terms, so that the rows' part stays in the nearest cache
// while several columns are computed from it. The order of a sum's terms is the same for all rows.
#pragma once

#include "vector.h"

namespace TT_ISA {

// How many of something, known when compiling.
template <int kCount>
struct Count {
    static constexpr int value = kCount;
    constexpr operator int() const { return kCount; }
};

// How many of something, of at most kMost.
template <int kMost>
struct Some {
    static constexpr int value = kMost;
    int count;
    operator int() const { return count; }
};

#if defined(__AMX_BF16__)
template <class Stored>
constexpr bool kInTiles = false;
template <>
constexpr bool kInTiles<BFloat16> = true;

constexpr int kTileRows = 16;
constexpr int64_t kTileStep = 32;   // terms that one instruction multiplies
constexpr int64_t kTileTerms = 256;

// Tiles as they are used here, for as long as this lives; each thread has its own.
class Tiles {
  public:
    Tiles() {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } config;
        asm volatile("" : : "r"(&config) : "memory");
        _tile_loadconfig(&config);
    }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() { _tile_release(); }
};

// What a block of tiles reads and writes: a row of tiles or a column of them each has its place, and
// each instruction takes the next one.
struct TileRows {
    const BFloat16* at;
    int64_t bytes;     // from row to row
    int64_t next;      // numbers to the next 32 terms
};

// sums[m][n] (16 rows, `apart` bytes from one to the next) += or = rows[m] times columns[n], for
// `count` times 32 terms.
template <int kM, int kN>
TT_INLINE void multiply_tiles(const TileRows (&rows)[kM], const TileRows (&columns)[kN],
                              int64_t count, float* const (&sums)[kM][kN], int64_t apart, bool add) {
    static_assert(kM == 1 ? kN <= 4 : kM == 2 && kN <= 2, "eight tiles are all there are");
    // The compiler must have written what is read here.
    asm volatile("" : : "r"(&sums[0][0][0]) : "memory");
#define TT_EACH_SUM(DO)                \
    if constexpr (kM == 1) {           \
        DO(0, 0, 0)                    \
        if constexpr (kN > 1) DO(1, 0, 1) \
        if constexpr (kN > 2) DO(2, 0, 2) \
        if constexpr (kN > 3) DO(3, 0, 3) \
    } else {                           \
        DO(0, 0, 0)                    \
        DO(1, 1, 0)                    \
        if constexpr (kN > 1) {        \
            DO(2, 0, 1)                \
            DO(3, 1, 1)                \
        }                              \
    }
#define TT_LOAD(tile, m, n) _tile_loadd(tile, sums[m][n], apart);
#define TT_ZERO(tile, m, n) _tile_zero(tile);
#define TT_STORE(tile, m, n) _tile_stored(tile, sums[m][n], apart);
    if (add) {
        TT_EACH_SUM(TT_LOAD)
    } else {
        TT_EACH_SUM(TT_ZERO)
    }
    for (int64_t k = 0; k < count; ++k) {
        _tile_loadd(4, rows[0].at + k * rows[0].next, rows[0].bytes);
        _tile_loadd(6, columns[0].at + k * columns[0].next, columns[0].bytes);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (kM == 1) {
            if constexpr (kN > 1) {
                _tile_loadd(7, columns[1].at + k * columns[1].next, columns[1].bytes);
                _tile_dpbf16ps(1, 4, 7);
            }
            if constexpr (kN > 2) {
                _tile_loadd(6, columns[2].at + k * columns[2].next, columns[2].bytes);
                _tile_dpbf16ps(2, 4, 6);
            }
            if constexpr (kN > 3) {
                _tile_loadd(7, columns[3].at + k * columns[3].next, columns[3].bytes);
                _tile_dpbf16ps(3, 4, 7);
            }
        } else {
            _tile_loadd(5, rows[1].at + k * rows[1].next, rows[1].bytes);
            _tile_dpbf16ps(1, 5, 6);
            if constexpr (kN > 1) {
                _tile_loadd(7, columns[1].at + k * columns[1].next, columns[1].bytes);
                _tile_dpbf16ps(2, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    TT_EACH_SUM(TT_STORE)
#undef TT_EACH_SUM
#undef TT_LOAD
#undef TT_ZERO
#undef TT_STORE
}

// As `multiply` of product.h, of kRows rows that follow one another, `terms` of each, a multiple of 32.
template <int kRows, int kVectors, int kGates>
TT_INLINE void multiply_in_tiles(Vec (&sums)[kVectors][kRows][kGates], const BFloat16* rows,
                                 const BFloat16* panels, int64_t panel_stride, int64_t terms) {
    constexpr int kM = kRows / kTileRows, kColumns = kVectors * kGates, kAtOnce = 4 / kM;
    constexpr int64_t kApart = kGates * sizeof(Vec);
    const auto at = [&](int64_t begin, int64_t count, auto first, auto some) TT_ALWAYS {
        constexpr int kN = decltype(some)::value;
        TileRows across[kM], down[kN];
        float* to[kM][kN];
        for (int m = 0; m < kM; ++m)
            across[m] = {rows + m * kTileRows * terms + begin, terms * 2, kTileStep};
        for (int n = 0; n < kN; ++n) {
            const int column = decltype(first)::value + n, u = column / kGates, g = column % kGates;
            down[n] = {panels + u * panel_stride + (begin * kGates + 2 * g) * kWidth, kApart,
                       kTileStep * kGates * kWidth};
            for (int m = 0; m < kM; ++m) to[m][n] = (float*)&sums[u][m * kTileRows][g];
        }
        multiply_tiles<kM, kN>(across, down, count, to, kApart, true);
    };
    for (int64_t begin = 0; begin < terms; begin += kTileTerms) {
        const int64_t count = (terms - begin < kTileTerms ? terms - begin : kTileTerms) / kTileStep;
        static_assert(kColumns <= 4, "as many as are written out here");
        if constexpr (kColumns <= kAtOnce) {
            at(begin, count, Count<0>{}, Count<kColumns>{});
        } else {
            at(begin, count, Count<0>{}, Count<2>{});
            at(begin, count, Count<2>{}, Count<kColumns - 2>{});
        }
    }
}

// Of 16 pairs of terms with 16 units each make 16 units with 16 pairs each, in place.
inline void turn_tile(BFloat16* tile) {
    __m512i row[16];
    for (int i = 0; i < 16; ++i) row[i] = _mm512_loadu_si512(tile + 32 * i);
    // Exchange between rows `apart` from one another what is not on the diagonal of their blocks.
    const auto exchange = [&](int apart) TT_ALWAYS {
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i distance = _mm512_set1_epi32(apart);
        const __m512i upper = _mm512_sub_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(16)), distance);
        const __mmask16 second = _mm512_test_epi32_mask(lane, distance);
        const __m512i first_row = _mm512_mask_blend_epi32(second, lane, upper);
        const __m512i other = _mm512_mask_blend_epi32(
            second, _mm512_add_epi32(lane, distance), _mm512_add_epi32(lane, _mm512_set1_epi32(16)));
        for (int i = 0; i < 16; ++i) {
            if (i & apart) continue;
            const __m512i a = row[i], b = row[i + apart];
            row[i] = _mm512_permutex2var_epi32(a, first_row, b);
            row[i + apart] = _mm512_permutex2var_epi32(a, other, b);
        }
    };
    exchange(1);
    exchange(2);
    exchange(4);
    exchange(8);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(tile + 32 * i, row[i]);
}
#else
template <class Stored>
constexpr bool kInTiles = false;
constexpr int64_t kTileStep = 1;

struct Tiles {};
#endif

}  // namespace TT_ISA
