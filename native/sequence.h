// A classic cell over whole sequences, forward and backward.
//
// Work is divided by lanes: a shard is some lanes for all of their steps, so that no thread waits for
// another in the middle. Within a shard, time goes in chunks that fit in the cache: the input's
// product for all steps of a chunk, then the recurrence through it (backward the other way round).
// Lanes are sorted by length, so those still there at a step come first; a reset replaces what the
// step starts from. Neither costs anything in the products.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "cells.h"
#include "product.h"
#include "threads.h"
#include "throughtime.h"

namespace TT_ISA {

// Aligned memory that frees itself and is not filled.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t count)
        : data_(static_cast<T*>(
              ::operator new(sizeof(T) * (size_t)(count > 0 ? count : 1), kAlignment))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { ::operator delete(data_, kAlignment); }
    operator T*() const { return data_; }

  private:
    static constexpr std::align_val_t kAlignment{64};
    T* data_;
};

// The cache that one chunk of time should fit in, in numbers of four bytes.
constexpr int64_t kChunkNumbers = 64 * 1024;
// Multiplications below which one more thread costs more than it saves.
constexpr int64_t kWorthAThread = 200 * 1000;

// Which lanes are whose, and where each lane's rows begin.
struct Plan {
    int64_t rows;
    std::vector<int64_t> length, offset;        // of each lane
    std::vector<std::vector<int64_t>> shards;   // lanes, longest first
};

template <class Cell>
Plan plan_of(const tt_sequence& s) {
    Plan plan;
    plan.length.assign((size_t)s.lanes, s.steps);
    if (s.lengths) std::copy(s.lengths, s.lengths + s.lanes, plan.length.begin());
    plan.offset.resize((size_t)s.lanes);
    plan.rows = 0;
    for (size_t lane = 0; lane < plan.length.size(); ++lane) {
        plan.offset[lane] = plan.rows;
        plan.rows += plan.length[lane];
    }
    std::vector<int64_t> order((size_t)s.lanes);
    std::iota(order.begin(), order.end(), 0);
    if (s.lengths)
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            return plan.length[(size_t)a] > plan.length[(size_t)b];
        });
    const int64_t size = (s.layer.features + s.layer.units) * s.layer.units * Cell::kGates;
    const int64_t worth = plan.rows * size / kWorthAThread + 1;
    const int64_t shards = std::max<int64_t>(1, std::min({s.threads, s.lanes, worth}));
    plan.shards.resize((size_t)shards);
    // Dealt out like cards there and back, so that every shard gets long and short ones.
    for (int64_t i = 0; i < s.lanes; ++i) {
        const int64_t turn = i % (2 * shards);
        plan.shards[(size_t)(turn < shards ? turn : 2 * shards - 1 - turn)].push_back(
            order[(size_t)i]);
    }
    return plan;
}

// A bias (gates * H) or null as vectors: (vectors, gates, kWidth), padded by zeros.
inline void pack_bias(const float* bias, int64_t units, int gates, int gate, float* packed) {
    for (int64_t u = 0; u < units; ++u)
        packed[(u / kWidth * gates + gate) * kWidth + u % kWidth] +=
            bias ? bias[gate * units + u] : 0.0f;
}

// Everything that forward and step read of a layer, in the order in which they read it.
template <class Cell, class Stored>
struct PackedLayer {
    int64_t features, units;
    int vectors;
    int64_t input_panel, hidden_panel;
    Buffer<Stored> input, hidden;
    Buffer<float> bias;          // what the input's sums start from
    Buffer<float> hidden_bias;   // what the last gate's sum over the state starts from, if split

    explicit PackedLayer(const tt_layer& layer)
        : features(layer.features),
          units(layer.units),
          vectors(vectors_of(layer.units)),
          input_panel(panel_size<Stored>(layer.features, Cell::kGates)),
          hidden_panel(panel_size<Stored>(layer.units, Cell::kGates)),
          input(input_panel * vectors),
          hidden(hidden_panel * vectors),
          bias((int64_t)vectors * Cell::kGates * kWidth),
          hidden_bias((int64_t)vectors * kWidth) {
        const int64_t size = (int64_t)vectors * Cell::kGates * kWidth;
        std::fill_n((float*)bias, size, 0.0f);
        std::fill_n((float*)hidden_bias, (int64_t)vectors * kWidth, 0.0f);
        for (int g = 0; g < Cell::kGates; ++g) {
            pack_bias(layer.bias_ih, units, Cell::kGates, g, bias);
            if (!(Cell::kSplitsLastGate && g == Cell::kGates - 1))
                pack_bias(layer.bias_hh, units, Cell::kGates, g, bias);
            else if (layer.bias_hh)
                std::copy_n(layer.bias_hh + g * units, units, (float*)hidden_bias);
        }
    }

    // Pack the part-th of `parts` shares of the panels.
    void pack(const tt_layer& layer, int64_t part, int64_t parts) {
        const int first = (int)(vectors * part / parts), last = (int)(vectors * (part + 1) / parts);
        pack_gates<Stored>(layer.weight_ih, units, features, Cell::kGates, first, last, input);
        pack_gates<Stored>(layer.weight_hh, units, units, Cell::kGates, first, last, hidden);
    }
};

// The input's sums of `count` rows: projected[i] is (vectors, gates, kWidth).
template <class Cell, class Stored>
void project(const PackedLayer<Cell, Stored>& packed, const Stored* const* rows, int count,
             float* projected) {
    constexpr int G = Cell::kGates;
    const int64_t stride = (int64_t)packed.vectors * G * kWidth;
    for_blocks<G>(count, packed.vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec sums[U][R][G];
        for (int u = 0; u < U; ++u)
            for (int r = 0; r < R; ++r)
                for (int g = 0; g < G; ++g)
                    sums[u][r][g] = load(packed.bias + ((vector + u) * G + g) * kWidth);
        multiply<R, U, G>(sums, rows + row, packed.input + vector * packed.input_panel,
                          packed.input_panel, packed.features);
        for (int r = 0; r < R; ++r)
            for (int u = 0; u < U; ++u)
                for (int g = 0; g < G; ++g)
                    store(projected + (row + r) * stride + ((vector + u) * G + g) * kWidth,
                          sums[u][r][g]);
    });
}

// Where one lane's step reads and writes.
template <class Stored>
struct Step {
    const float* projected;
    const float* before;   // (H,): the state that the step starts from
    const Stored* h;       // the same, as it is multiplied
    const float* c;        // (H,) of an LSTM
    float* after;          // (H,)
    float* c_after;        // (H,) of an LSTM
    Stored* h_next;        // (H,): the new state as it is multiplied next, or null
    Stored* gates;         // (slots * H,), or null
};

template <class Stored>
TT_INLINE Vec load_some(const Stored* from, int width) {
    return width == kWidth ? load(from) : load_part(from, width);
}

template <class Stored>
TT_INLINE void store_some(Stored* to, Vec value, int width) {
    width == kWidth ? store(to, value) : store_part(to, value, width);
}

// One step of `count` lanes, of which rows[i] is steps[i].h.
template <class Cell, class Stored>
void advance(const PackedLayer<Cell, Stored>& packed, const Step<Stored>* steps,
             const Stored* const* rows, int count) {
    constexpr int G = Cell::kGates;
    const int64_t units = packed.units;
    for_blocks<G>(count, packed.vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec sums[U][R][G];
        for (int u = 0; u < U; ++u)
            for (int r = 0; r < R; ++r)
                for (int g = 0; g < G; ++g)
                    sums[u][r][g] =
                        Cell::kSplitsLastGate && g == G - 1
                            ? load(packed.hidden_bias + (vector + u) * kWidth)
                            : load(steps[row + r].projected + ((vector + u) * G + g) * kWidth);
        multiply<R, U, G>(sums, rows + row, packed.hidden + vector * packed.hidden_panel,
                          packed.hidden_panel, units);
        for (int r = 0; r < R; ++r) {
            const Step<Stored>& step = steps[row + r];
            for (int u = 0; u < U; ++u) {
                const int64_t at = (int64_t)(vector + u) * kWidth;
                const int width = width_of(units, vector + u);
                Vec slots[Cell::kSlots], c = {};
                if (Cell::kHasCell) c = load_some(step.c + at, width);
                const Vec last = load(step.projected + ((vector + u) * G + G - 1) * kWidth);
                const Vec h = Cell::forward(sums[u][r], last, load_some(step.before + at, width),
                                            c, slots);
                store_some(step.after + at, h, width);
                if (Cell::kHasCell) store_some(step.c_after + at, c, width);
                if (step.h_next) store_some(step.h_next + at, h, width);
                if (step.gates)
                    for (int k = 0; k < Cell::kSlots; ++k)
                        store_some(step.gates + k * units + at, slots[k], width);
            }
        }
    });
}

template <class Stored>
inline void copy_row(const float* from, Stored* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) put(to + i, from[i]);
}

inline int64_t chunk_steps(int64_t lanes, int64_t numbers_of_a_row) {
    return std::max<int64_t>(1, kChunkNumbers / std::max<int64_t>(1, lanes * numbers_of_a_row));
}

// All steps of the lanes of one shard.
template <class Cell, class Stored>
void forward_shard(const tt_sequence& s, const Plan& plan, const std::vector<int64_t>& lanes,
                   const PackedLayer<Cell, Stored>& packed) {
    constexpr bool kSame = kTogether<Stored> == 1;  // rows are multiplied as they are
    const int64_t H = s.layer.units, F = s.layer.features;
    const int64_t projected_row = (int64_t)packed.vectors * Cell::kGates * kWidth;
    const int64_t longest = lanes.empty() ? 0 : plan.length[(size_t)lanes[0]];
    const int64_t chunk =
        std::min(longest, chunk_steps((int64_t)lanes.size(), projected_row + F + 2 * H));
    const size_t many = lanes.size();
    Buffer<float> projected(chunk * (int64_t)many * projected_row);
    Buffer<Stored> ring(kSame || s.h_before ? 0 : 2 * (int64_t)many * H);
    std::vector<const Stored*> rows(std::max<size_t>(many, (size_t)chunk * many));
    std::vector<Step<Stored>> steps(many);
    Stored* const h_before = static_cast<Stored*>(s.h_before);
    const auto x = static_cast<const Stored*>(s.x);

    for (size_t i = 0; i < many; ++i) {
        const int64_t lane = lanes[i], length = plan.length[(size_t)lane];
        std::fill_n(s.y + (lane * s.steps + length) * H, (s.steps - length) * H, 0.0f);
        if (Cell::kHasCell && (!s.c_before || !length))
            std::copy_n(s.c + lane * H, H, s.c_end + lane * H);
        if (!length) std::copy_n(s.h + lane * H, H, s.h_end + lane * H);
    }
    for (int64_t begin = 0; begin < longest; begin += chunk) {
        const int64_t end = std::min(begin + chunk, longest);
        size_t count = 0;
        for (size_t i = 0; i < many && plan.length[(size_t)lanes[i]] > begin; ++i) {
            const size_t lane = (size_t)lanes[i];
            for (int64_t t = begin; t < end; ++t)
                // Where the lane has ended, the row is any that is there, and nobody reads the sums.
                rows[count++] =
                    x + (plan.offset[lane] + std::min(t, plan.length[lane] - 1)) * F;
        }
        project(packed, rows.data(), (int)count, projected);
        for (int64_t t = begin; t < end; ++t) {
            size_t alive = 0;
            for (; alive < many; ++alive) {
                const int64_t lane = lanes[alive], length = plan.length[(size_t)lane];
                if (length <= t) break;
                const int64_t row = plan.offset[(size_t)lane] + t;
                const bool reset = s.resets && s.resets[lane * s.steps + t];
                const bool fresh = reset || t == 0;
                Step<Stored>& step = steps[alive];
                step.projected = projected + ((int64_t)alive * (end - begin) + t - begin) *
                                                 projected_row;
                step.after = s.y + (lane * s.steps + t) * H;
                step.before = reset ? s.h_restart + lane * H
                              : t   ? step.after - H
                                    : s.h + lane * H;
                Stored* here = h_before ? h_before + row * H
                               : kSame  ? nullptr
                                        : ring + ((t & 1) * (int64_t)many + (int64_t)alive) * H;
                if (here && fresh) copy_row(step.before, here, H);
                step.h_next = h_before ? (t + 1 < length ? here + H : nullptr)
                              : kSame  ? nullptr
                                       : ring + ((~t & 1) * (int64_t)many + (int64_t)alive) * H;
                if constexpr (kSame)
                    step.h = step.before;
                else
                    step.h = here;
                step.gates =
                    s.gates ? static_cast<Stored*>(s.gates) + row * Cell::kSlots * H : nullptr;
                if (Cell::kHasCell) {
                    float* c = s.c_before ? s.c_before + row * H : s.c_end + lane * H;
                    if (fresh) {
                        const float* from = reset ? s.c_restart : s.c;
                        std::copy_n(from + lane * H, H, c);
                    }
                    step.c = c;
                    step.c_after =
                        s.c_before && t + 1 < length ? c + H : s.c_end + lane * H;
                }
                rows[alive] = step.h;
            }
            advance(packed, steps.data(), rows.data(), (int)alive);
        }
    }
    for (const int64_t lane : lanes)
        if (const int64_t length = plan.length[(size_t)lane])
            std::copy_n(s.y + (lane * s.steps + length - 1) * H, H, s.h_end + lane * H);
}

template <class Cell, class Stored>
void forward(const tt_sequence& s) {
    const Plan plan = plan_of<Cell>(s);
    PackedLayer<Cell, Stored> packed(s.layer);
    const auto parts = (int64_t)plan.shards.size();
    in_parallel(parts, [&](int64_t part) { packed.pack(s.layer, part, parts); });
    in_parallel(parts, [&](int64_t part) {
        forward_shard<Cell, Stored>(s, plan, plan.shards[(size_t)part], packed);
    });
}

// The weights as backward reads them: from the gradients of gates to those of states and inputs.
template <class Cell, class Stored>
struct TransposedLayer {
    int64_t terms;  // G * H
    int hidden_vectors, input_vectors;
    int64_t panel;
    Buffer<Stored> hidden, input;

    TransposedLayer(const tt_layer& layer, bool wants_input)
        : terms(Cell::kGates * layer.units),
          hidden_vectors(vectors_of(layer.units)),
          input_vectors(wants_input ? vectors_of(layer.features) : 0),
          panel(panel_size<Stored>(terms, 1)),
          hidden(panel * hidden_vectors),
          input(panel * input_vectors) {}

    void pack(const tt_layer& layer, int64_t part, int64_t parts) {
        // A GRU's slots are n r z m and torch's rows r z n.
        static constexpr int kPlain[] = {0, 1, 2, 3}, kGru[] = {2, 0, 1};
        const auto share = [&](int vectors, int64_t p) { return (int)(vectors * p / parts); };
        pack_transposed<Stored>(layer.weight_hh, layer.units, layer.units, kPlain, Cell::kGates,
                                share(hidden_vectors, part), share(hidden_vectors, part + 1),
                                hidden);
        pack_transposed<Stored>(layer.weight_ih, layer.units, layer.features,
                                Cell::kSplitsLastGate ? kGru : kPlain, Cell::kGates,
                                share(input_vectors, part), share(input_vectors, part + 1), input);
    }
};

// The gradients of the inputs of `count` rows: outputs[i] is (F,).
template <class Cell, class Stored>
void to_inputs(const TransposedLayer<Cell, Stored>& packed, const Stored* const* rows,
               float* const* outputs, int count, int64_t features) {
    for_blocks<1>(count, packed.input_vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec sums[U][R][1] = {};
        multiply<R, U, 1>(sums, rows + row, packed.input + vector * packed.panel, packed.panel,
                          packed.terms);
        for (int r = 0; r < R; ++r)
            for (int u = 0; u < U; ++u)
                store_some(outputs[row + r] + (vector + u) * kWidth, sums[u][r][0],
                           width_of(features, vector + u));
    });
}

// All steps of the lanes of one shard, last to first. `dbias` is (slots, vectors * kWidth), zeros.
template <class Cell, class Stored>
void backward_shard(const tt_sequence& s, const tt_gradients& d, const Plan& plan,
                    const std::vector<int64_t>& lanes, const TransposedLayer<Cell, Stored>& packed,
                    float* dbias) {
    constexpr int S = Cell::kSlots;
    const int64_t H = s.layer.units, F = s.layer.features;
    const int64_t padded_units = (int64_t)packed.hidden_vectors * kWidth;
    const size_t many = lanes.size();
    const int64_t longest = lanes.empty() ? 0 : plan.length[(size_t)lanes[0]];
    const int64_t chunk = std::min(longest, chunk_steps((int64_t)many, S * H + F + 4 * H));
    Buffer<float> carry(padded_units * (int64_t)many);    // what reaches the state before step t + 1
    Buffer<float> carry_c(padded_units * (int64_t)many);  // directly, not through the product
    Buffer<float> partial(S * padded_units);              // of dbias, over one chunk
    std::vector<const Stored*> rows(std::max<size_t>(many, (size_t)chunk * many));
    std::vector<float*> outputs((size_t)chunk * many);
    Stored* const gates = static_cast<Stored*>(s.gates);
    const auto h_before = static_cast<const Stored*>(s.h_before);

    std::fill_n((float*)partial, S * padded_units, 0.0f);
    std::fill_n((float*)carry_c, padded_units * (int64_t)many, 0.0f);
    for (size_t i = 0; i < many; ++i) {
        const int64_t lane = lanes[i], length = plan.length[(size_t)lane];
        if (d.dx) std::fill_n(d.dx + (lane * s.steps + length) * F, (s.steps - length) * F, 0.0f);
        if (d.dh_restart) std::fill_n(d.dh_restart + lane * H, H, 0.0f);
        if (Cell::kHasCell && d.dc_restart) std::fill_n(d.dc_restart + lane * H, H, 0.0f);
        if (Cell::kHasCell && d.dc_end)
            std::copy_n(d.dc_end + lane * H, H, carry_c + (int64_t)i * padded_units);
    }
    // What arrives at the state before step t + 1 of lane i goes to the state after step t, or, where
    // that step was a reset, to the state that it restarted from.
    const auto arriving = [&](size_t i, int64_t t, Vec sum, int64_t at, int width, Vec& dc) -> Vec {
        const int64_t lane = lanes[i];
        if (plan.length[(size_t)lane] == t + 1) {
            if (Cell::kHasCell) dc = load(carry_c + (int64_t)i * padded_units + at);
            return d.dh_end ? load_some(d.dh_end + lane * H + at, width) : Vec{};
        }
        Vec dh = sum + load(carry + (int64_t)i * padded_units + at);
        if (Cell::kHasCell) dc = load(carry_c + (int64_t)i * padded_units + at);
        if (s.resets && s.resets[lane * s.steps + t + 1]) {
            float* to = d.dh_restart + lane * H + at;
            store_some(to, load_some(to, width) + dh, width);
            dh = Vec{};
            if (Cell::kHasCell) {
                float* to_c = d.dc_restart + lane * H + at;
                store_some(to_c, load_some(to_c, width) + dc, width);
                dc = Vec{};
            }
        }
        return dh;
    };
    // Through the state of `count` lanes from step t + 1, whose rows are given, to step t.
    const auto retreat = [&](int count, int64_t t, const auto& receive) {
        for_blocks<1>(count, packed.hidden_vectors, [&](int row, int vector, auto rs, auto us) {
            constexpr int R = decltype(rs)::value, U = decltype(us)::value;
            Vec sums[U][R][1] = {};
            multiply<R, U, 1>(sums, rows.data() + row, packed.hidden + vector * packed.panel,
                              packed.panel, packed.terms);
            for (int r = 0; r < R; ++r)
                for (int u = 0; u < U; ++u) receive((size_t)(row + r), t, vector + u, sums[u][r][0]);
        });
    };
    const auto through_cell = [&](size_t i, int64_t t, int vector, Vec sum) {
        const int64_t lane = lanes[i], row = plan.offset[(size_t)lane] + t;
        const int64_t at = (int64_t)vector * kWidth;
        const int width = width_of(H, vector);
        Vec dc = {};
        Vec dh = arriving(i, t, sum, at, width, dc);
        if (d.dy) dh += load_some(d.dy + (lane * s.steps + t) * H + at, width);
        Vec slots[S];
        Stored* own = gates + row * S * H + at;
        for (int k = 0; k < S; ++k) slots[k] = load_some(own + k * H, width);
        const Vec h = load_some(h_before + row * H + at, width);
        const Vec c = Cell::kHasCell ? load_some(s.c_before + row * H + at, width) : Vec{};
        const Vec direct = Cell::backward(dh, slots, h, c, dc);
        store(carry + (int64_t)i * padded_units + at, direct);
        if (Cell::kHasCell) store(carry_c + (int64_t)i * padded_units + at, dc);
        for (int k = 0; k < S; ++k) {
            store_some(own + k * H, slots[k], width);
            float* total = partial + k * padded_units + at;
            store(total, load(total) + slots[k]);
        }
    };
    const auto to_start = [&](size_t i, int64_t, int vector, Vec sum) {
        const int64_t lane = lanes[i], at = (int64_t)vector * kWidth;
        const int width = width_of(H, vector);
        Vec dc = {};
        const Vec dh = arriving(i, -1, sum, at, width, dc);
        store_some(d.dh + lane * H + at, dh, width);
        if (Cell::kHasCell) store_some(d.dc + lane * H + at, dc, width);
    };

    size_t later = 0;  // lanes that are there at step t + 1
    for (int64_t end = longest; end > 0; end = std::max<int64_t>(0, end - chunk)) {
        const int64_t begin = std::max<int64_t>(0, end - chunk);
        for (int64_t t = end - 1; t >= begin; --t) {
            for (size_t i = 0; i < later; ++i)
                rows[i] = gates + (plan.offset[(size_t)lanes[i]] + t + 1) * S * H +
                          Cell::kHiddenSlot * H;
            retreat((int)later, t, through_cell);
            for (; later < many && plan.length[(size_t)lanes[later]] > t; ++later)
                for (int vector = 0; vector < packed.hidden_vectors; ++vector)
                    through_cell(later, t, vector, Vec{});
        }
        if (d.dx) {
            size_t count = 0;
            for (size_t i = 0; i < later; ++i) {
                const int64_t lane = lanes[i];
                const int64_t stop = std::min(end, plan.length[(size_t)lane]);
                for (int64_t t = begin; t < stop; ++t, ++count) {
                    rows[count] = gates + (plan.offset[(size_t)lane] + t) * S * H;
                    outputs[count] = d.dx + (lane * s.steps + t) * F;
                }
            }
            to_inputs(packed, rows.data(), outputs.data(), (int)count, F);
        }
        // A sum of sums loses less to rounding than one long sum.
        for (int64_t i = 0; i < S * padded_units; ++i) {
            dbias[i] += partial[i];
            partial[i] = 0.0f;
        }
    }
    for (size_t i = 0; i < later; ++i)
        rows[i] = gates + plan.offset[(size_t)lanes[i]] * S * H + Cell::kHiddenSlot * H;
    retreat((int)later, -1, to_start);
    for (size_t i = later; i < many; ++i)
        for (int vector = 0; vector < packed.hidden_vectors; ++vector)
            to_start(i, -1, vector, Vec{});
}

template <class Cell, class Stored>
void backward(const tt_sequence& s, const tt_gradients& d) {
    const Plan plan = plan_of<Cell>(s);
    TransposedLayer<Cell, Stored> packed(s.layer, d.dx != nullptr);
    const auto parts = (int64_t)plan.shards.size();
    in_parallel(parts, [&](int64_t part) { packed.pack(s.layer, part, parts); });
    const int64_t padded_units = (int64_t)packed.hidden_vectors * kWidth;
    const int64_t size = Cell::kSlots * padded_units;
    Buffer<float> dbias(size * parts);
    std::fill_n((float*)dbias, size * parts, 0.0f);
    in_parallel(parts, [&](int64_t part) {
        backward_shard<Cell, Stored>(s, d, plan, plan.shards[(size_t)part], packed,
                                     dbias + part * size);
    });
    for (int64_t k = 0; k < Cell::kSlots; ++k)
        for (int64_t u = 0; u < s.layer.units; ++u) {
            float total = 0;
            for (int64_t part = 0; part < parts; ++part)
                total += dbias[part * size + k * padded_units + u];
            d.dbias[k * s.layer.units + u] = total;
        }
}

}  // namespace TT_ISA
