// The gradients of a cell's weights: for every row, the gradients of its gates' sums times what was
// multiplied by the weights, all rows added up.
//
//   d weight_ih = sum over rows of d_gates x^T,   d weight_hh = sum over rows of d_gates h_before^T
//
// Rows are taken in blocks. Of a block, numbers that are read together are packed together; then a
// tile of the result stays in registers for all rows of the block. Threads divide the result, so it
// does not depend on how many there are.
#pragma once

#include "plan.h"
#include "product.h"

namespace TT_ISA {

// Rows of a block: so many that adding a tile to the result costs little beside computing it.
constexpr int64_t kBlockRows = kInTiles<BFloat16> ? 512 : 256;
// A tile is some gates by some vectors of inputs.
constexpr int kTileGates = kWidth == 16 ? 8 : 4;
constexpr int kTileVectors = kAccumulators / kTileGates;
// Vectors of gates that are packed together.
constexpr int kPackedGates = 4;

template <class Stored>
constexpr int64_t kPanel = kBlockRows * kWidth;

// Pack `count` rows of numbers: one panel for each vector of columns, row after row in it.
template <class Stored, class From>
void pack_rows(const From* const* rows, int64_t count, int64_t offset, int64_t columns,
               Stored* panels) {
    const int vectors = vectors_of(columns);
    if constexpr (kTogether<Stored> == 1) {
        for (int64_t k = 0; k < count; ++k)
            for (int v = 0; v < vectors; ++v)
                store(panels + v * kPanel<Stored> + k * kWidth,
                      load_some(rows[k] + offset + v * kWidth, width_of(columns, v)));
    }
#if defined(__AVX512BF16__)
    if constexpr (kTogether<Stored> == 2)
        for (int64_t k = 0; k < count; k += 2)
            for (int v = 0; v < vectors; ++v) {
                const int64_t at = offset + v * kWidth;
                const int width = width_of(columns, v);
                store_pairs(panels + v * kPanel<Stored> + k * kWidth, load_some(rows[k] + at, width),
                            k + 1 < count ? load_some(rows[k + 1] + at, width) : Vec{});
            }
    if constexpr (kInTiles<Stored>)
        for (int64_t k = (count + 1) / 2 * 2; k < padded<Stored>(count); k += 2)
            for (int v = 0; v < vectors; ++v)
                store_pairs(panels + v * kPanel<Stored> + k * kWidth, Vec{}, Vec{});
#endif
}

// Add to sums[m][u] what `count` packed rows give for kTileGates gates and kVectors vectors.
template <int kVectors>
TT_INLINE void add_rows(Vec (&sums)[kTileGates][kVectors], const float* gates, const float* inputs,
                        int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
        Vec input[kVectors];
#pragma GCC unroll 4
        for (int u = 0; u < kVectors; ++u) input[u] = load(inputs + u * kPanel<float> + k * kWidth);
#pragma GCC unroll 8
        for (int m = 0; m < kTileGates; ++m) {
            const float gate = gates[k * kWidth + m];
#pragma GCC unroll 4
            for (int u = 0; u < kVectors; ++u) sums[m][u] += input[u] * gate;
        }
    }
}

#if defined(__AVX512BF16__)
template <int kVectors>
TT_INLINE void add_rows(Vec (&sums)[kTileGates][kVectors], const BFloat16* gates,
                        const BFloat16* inputs, int64_t count) {
    for (int64_t k = 0; k < count; k += 2) {
        __m512bh input[kVectors];
#pragma GCC unroll 4
        for (int u = 0; u < kVectors; ++u)
            memcpy(&input[u], inputs + u * kPanel<BFloat16> + k * kWidth, sizeof input[u]);
#pragma GCC unroll 8
        for (int m = 0; m < kTileGates; ++m) {
            int32_t pair;
            memcpy(&pair, gates + k * kWidth + 2 * m, sizeof pair);
            const __m512bh gate = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int u = 0; u < kVectors; ++u)
                sums[m][u] = (Vec)_mm512_dpbf16_ps((__m512)sums[m][u], input[u], gate);
        }
    }
}
#endif

// Where a tile of a weight's gradient is: `gates` rows of it, `columns` numbers of each.
struct Tile {
    float* to;
    int64_t stride;   // from row to row
    int gates;
    int64_t columns;
    bool first;       // whether these are the first rows that are added up
};

template <class Stored, int kVectors>
__attribute__((noinline)) void compute_tile(const Stored* gates, const Stored* inputs,
                                            int64_t count, const Tile& tile) {
    if (!tile.first)
        for (int m = 0; m < tile.gates; ++m)
            for (int u = 0; u < kVectors; ++u)
                __builtin_prefetch(tile.to + m * tile.stride + u * kWidth, 1);
    Vec sums[kTileGates][kVectors] = {};
    add_rows<kVectors>(sums, gates, inputs, count);
#pragma GCC unroll 8
    for (int m = 0; m < kTileGates; ++m) {
        if (m >= tile.gates) break;
        for (int u = 0; u < kVectors; ++u) {
            float* to = tile.to + m * tile.stride + u * kWidth;
            const int width = width_of(tile.columns, u);
            store_some(to, tile.first ? sums[m][u] : load_some(to, width) + sums[m][u], width);
        }
    }
}

// What packed gates, of which the first panel has `height`, and all columns of a weight give.
template <class Stored>
void compute_vector(const Stored* gates, const Stored* inputs, int64_t count, int height, Tile tile) {
    const int64_t columns = tile.columns;
    float* const to = tile.to;
    const int vectors = vectors_of(columns);
    for (int v = 0, many; v < vectors; v += many) {
        const int blocks = (vectors - v + kTileVectors - 1) / kTileVectors;
        many = (vectors - v + blocks - 1) / blocks;
        for (int m = 0; m < height; m += kTileGates) {
            tile.to = to + m * tile.stride + v * kWidth;
            tile.gates = std::min(kTileGates, height - m);
            tile.columns = columns - v * kWidth;
            const Stored* some = gates + m * kTogether<Stored>;
            const Stored* across = inputs + v * kPanel<Stored>;
            static_assert(kTileVectors == 3, "one case for each number of vectors");
            switch (many) {
                case 1: compute_tile<Stored, 1>(some, across, count, tile); break;
                case 2: compute_tile<Stored, 2>(some, across, count, tile); break;
                default: compute_tile<Stored, 3>(some, across, count, tile);
            }
        }
    }
}

#if defined(__AMX_BF16__)
// The same of up to two vectors of gates, whose panels are turned, in tiles.
template <int kM, int kN>
void compute_turned(const BFloat16* gates, const BFloat16* inputs, int64_t count, int64_t height,
                    const Tile& tile) {
    TileRows rows[kM], columns[kN];
    float* to[kM][kN];
    Vec apart[kM * kTileRows][kN];
    const bool whole = height >= kM * kWidth && tile.columns >= kN * kWidth;
    for (int m = 0; m < kM; ++m) rows[m] = {gates + m * kPanel<BFloat16>, 64, kTileStep * kWidth};
    for (int n = 0; n < kN; ++n) {
        columns[n] = {inputs + n * kPanel<BFloat16>, 64, kTileStep * kWidth};
        for (int m = 0; m < kM; ++m)
            to[m][n] = whole ? tile.to + m * kTileRows * tile.stride + n * kWidth
                             : (float*)&apart[m * kTileRows][n];
    }
    const int64_t bytes = whole ? tile.stride * (int64_t)sizeof(float) : (int64_t)sizeof apart[0];
    multiply_tiles<kM, kN>(rows, columns, padded<BFloat16>(count) / kTileStep, to, bytes,
                           whole && !tile.first);
    for (int64_t m = 0; !whole && m < std::min<int64_t>(height, kM * kTileRows); ++m)
        for (int n = 0; n < kN; ++n) {
            float* const at = tile.to + m * tile.stride + n * kWidth;
            const int width = width_of(tile.columns, n);
            store_some(at, tile.first ? apart[m][n] : load_some(at, width) + apart[m][n], width);
        }
}
#endif

// What packed gates, `height` of them, and all columns of a weight give.
template <class Stored>
void compute_tiles(const Stored* gates, const Stored* inputs, int64_t count, int64_t height,
                   Tile tile) {
    float* const to = tile.to;
    for (int64_t m = 0; m < height; m += kWidth) {
        tile.to = to + m * tile.stride;
#if defined(__AMX_BF16__)
        if constexpr (kInTiles<Stored>) {
            Tile some = tile;
            const Stored* const panels = gates + m / kWidth * kPanel<Stored>;
            const bool two = height - m > kWidth;
            for (int64_t v = 0; v < tile.columns; v += 2 * kWidth) {
                const Stored* const across = inputs + v / kWidth * kPanel<Stored>;
                some.to = tile.to + v;
                some.columns = tile.columns - v;
                const bool both = some.columns > kWidth;
                const auto compute = two ? both ? compute_turned<2, 2> : compute_turned<2, 1>
                                         : both ? compute_turned<1, 2> : compute_turned<1, 1>;
                compute(panels, across, count, height - m, some);
            }
            m += two ? kWidth : 0;
            continue;
        }
#endif
        if constexpr (!kInTiles<Stored>)
            compute_vector(gates + m / kWidth * kPanel<Stored>, inputs, count,
                           (int)std::min<int64_t>(kWidth, height - m), tile);
    }
}

// Go through the rows of all lanes, one after the other.
struct RowsInOrder {
    const Plan& plan;
    size_t lane = 0;
    int64_t t = 0;

    template <class Visit>
    void next(int64_t count, const Visit& visit) {
        for (int64_t k = 0; k < count; ++k, ++t) {
            while (t == plan.length[lane]) ++lane, t = 0;
            visit(k, (int64_t)lane, t);
        }
    }
};

// The rows of the gradients that belong to vectors [first, last) of slots.
template <class Cell, class Stored>
void some_weight_gradients(const tt_sequence& s, const tt_gradients& d, const Plan& plan, int first,
                           int last) {
    constexpr int G = Cell::kGates, S = Cell::kSlots;
    const int64_t H = s.layer.units, F = s.layer.features;
    const int in_a_slot = vectors_of(H);
    Buffer<Stored> inputs(kPanel<Stored> * vectors_of(F)), states(kPanel<Stored> * in_a_slot);
    Buffer<Stored> packed(kPanel<Stored> * kPackedGates);
    const float *x[kBlockRows], *h[kBlockRows];
    const Stored* gates[kBlockRows];
    RowsInOrder rows{plan};
    [[maybe_unused]] const Tiles tiles;
    for (int64_t begin = 0; begin < plan.rows; begin += kBlockRows) {
        const int64_t count = std::min(kBlockRows, plan.rows - begin);
        rows.next(count, [&](int64_t k, int64_t lane, int64_t t) {
            x[k] = s.x + (lane * s.steps + t) * F;
            h[k] = h_before(s, lane, t);
            gates[k] = static_cast<const Stored*>(s.gates) + (begin + k) * S * H;
        });
        pack_rows(x, count, 0, F, (Stored*)inputs);
        pack_rows(h, count, 0, H, (Stored*)states);
        for (int v = first, many; v < last; v += many) {
            const int slot = v / in_a_slot, in_slot = v % in_a_slot;
            many = std::min({kPackedGates, last - v, in_a_slot - in_slot});
            const int64_t unit = (int64_t)in_slot * kWidth;
            const int64_t height = std::min<int64_t>(many * kWidth, H - unit);
            pack_rows(gates, count, slot * H + unit, height, (Stored*)packed);
#if defined(__AMX_BF16__)
            if constexpr (kInTiles<Stored>)
                for (int i = 0; i < many; ++i)
                    for (int64_t k = 0; k < count; k += kTileStep)
                        turn_tile(packed + i * kPanel<Stored> + k * kWidth);
#endif
            const int hidden_slot = slot - Cell::kHiddenSlot;
            if (slot < G)
                compute_tiles<Stored>(packed, inputs, count, height,
                                      {d.dweight_ih + (Cell::kInputRow(slot) * H + unit) * F, F, 0,
                                       F, begin == 0});
            if (hidden_slot >= 0)
                compute_tiles<Stored>(packed, states, count, height,
                                      {d.dweight_hh + (hidden_slot * H + unit) * H, H, 0, H,
                                       begin == 0});
        }
    }
}

template <class Cell, class Stored>
void weight_gradients(const tt_sequence& s, const tt_gradients& d, const Plan& plan) {
    const int64_t H = s.layer.units, F = s.layer.features;
    constexpr int G = Cell::kGates, S = Cell::kSlots;
    if (!plan.rows) {
        std::fill_n(d.dweight_ih, G * H * F, 0.0f);
        std::fill_n(d.dweight_hh, G * H * H, 0.0f);
        return;
    }
    // Work up to the v-th vector of slots, so that threads get about the same.
    const int in_a_slot = vectors_of(H), vectors = S * in_a_slot;
    std::vector<int64_t> before(1, 0);
    for (int v = 0; v < vectors; ++v) {
        const int slot = v / in_a_slot;
        before.push_back(before.back() + (slot < G ? F : 0) +
                         (slot >= Cell::kHiddenSlot ? H : 0));
    }
    const int64_t parts = threads_for(s.threads, plan.rows * before.back() * kWidth, vectors);
    const auto share = [&](int64_t part) {
        const int64_t wanted = before.back() * part / parts;
        return (int)(std::lower_bound(before.begin(), before.end(), wanted) - before.begin());
    };
    in_parallel(parts, [&](int64_t part) {
        some_weight_gradients<Cell, Stored>(s, d, plan, share(part), share(part + 1));
    });
}

}  // namespace TT_ISA
