// A classic cell over whole sequences: the input's product for all steps of a chunk of time, then the
// recurrence through it. A reset replaces what a step starts from. Neither that nor a lane that has
// ended costs anything in the products.
#pragma once

#include "cells.h"
#include "plan.h"
#include "product.h"

namespace TT_ISA {

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
    int64_t hidden_panel;
    Buffer<Stored> input, hidden;
    Buffer<float> bias;          // what the input's sums start from
    Buffer<float> hidden_bias;   // what the last gate's sum over the state starts from, if split

    explicit PackedLayer(const tt_layer& layer)
        : features(layer.features),
          units(layer.units),
          vectors(vectors_of(layer.units)),
          hidden_panel(panel_size<Stored>(layer.units, Cell::kGates)),
          input(panel_size<Stored>(layer.features, Cell::kGates) * vectors),
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

// The input's sums of `count` rows: of each, (vectors, gates, kWidth).
template <class Cell, class Stored>
void project(const PackedLayer<Cell, Stored>& packed, const Stored* const* rows, int count,
             float* projected) {
    multiply_gates<Cell::kGates>(rows, count, (const Stored*)packed.input, packed.features,
                                 packed.units, (const float*)packed.bias, projected);
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

// One step of `count` lanes, of which rows[i] is steps[i].h.
template <class Cell, class Stored>
void advance(const PackedLayer<Cell, Stored>& packed, const Step<Stored>* steps,
             const Stored* const* rows, int count) {
    constexpr int G = Cell::kGates;
    const int64_t units = packed.units;
    for_blocks<G, Stored>(count, packed.vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        Vec sums[U][R][G];
        for (int u = 0; u < U; ++u)
            for (int r = 0; r < many; ++r)
                for (int g = 0; g < G; ++g)
                    sums[u][r][g] =
                        Cell::kSplitsLastGate && g == G - 1
                            ? load(packed.hidden_bias + (vector + u) * kWidth)
                            : load(steps[row + r].projected + ((vector + u) * G + g) * kWidth);
        multiply<R, U, G>(sums, rows + row, packed.hidden + vector * packed.hidden_panel,
                          packed.hidden_panel, units);
        for (int r = 0; r < many; ++r) {
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
    // Else they are copied, one after the other: inputs of a chunk, and states of two steps in turn.
    const int64_t input_row = padded<Stored>(F), state_row = padded<Stored>(H);
    const int64_t ring_rows = padded_rows<Stored>((int64_t)many);
    const int64_t input_rows = padded_rows<Stored>(chunk * (int64_t)many);
    Buffer<Stored> inputs(kSame ? 0 : input_rows * input_row);
    Buffer<Stored> ring(kSame ? 0 : 2 * ring_rows * state_row);
    if (!kSame && input_row > F) inputs.clear(input_rows * input_row);
    if (!kSame && state_row > H) ring.clear(2 * ring_rows * state_row);
    [[maybe_unused]] const Tiles tiles;
    std::vector<const Stored*> rows(std::max<size_t>(many, (size_t)chunk * many));
    std::vector<Step<Stored>> steps(many);

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
            for (int64_t t = begin; t < end; ++t, ++count) {
                // Where the lane has ended, the row is any that is there, and nobody reads the sums.
                const float* row = s.x + (lane * s.steps + std::min(t, plan.length[lane] - 1)) * F;
                if constexpr (kSame) {
                    rows[count] = row;
                } else {
                    copy_row(row, inputs + (int64_t)count * input_row, F);
                    rows[count] = inputs + (int64_t)count * input_row;
                }
            }
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
                step.before = h_before(s, lane, t);
                step.after = s.y + (lane * s.steps + t) * H;
                if constexpr (kSame) {
                    step.h = step.before;
                    step.h_next = nullptr;
                } else {
                    Stored* here = ring + ((t & 1) * ring_rows + (int64_t)alive) * state_row;
                    if (fresh) copy_row(step.before, here, H);
                    step.h = here;
                    step.h_next = ring + ((~t & 1) * ring_rows + (int64_t)alive) * state_row;
                }
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

}  // namespace TT_ISA
