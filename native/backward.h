// A classic cell over whole sequences, backward: the recurrence of a chunk of time from its last step
// to its first, then the product that leads to the inputs; the gradients of weights at the end.
#pragma once

#include "cells.h"
#include "plan.h"
#include "product.h"
#include "weights.h"

namespace TT_ISA {

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
        static constexpr int kInOrder[] = {0, 1, 2, 3};
        int of_input[Cell::kGates];
        for (int g = 0; g < Cell::kGates; ++g) of_input[g] = Cell::kInputRow(g);
        const auto share = [&](int vectors, int64_t p) { return (int)(vectors * p / parts); };
        pack_transposed<Stored>(layer.weight_hh, layer.units, layer.units, kInOrder, Cell::kGates,
                                share(hidden_vectors, part), share(hidden_vectors, part + 1),
                                hidden);
        pack_transposed<Stored>(layer.weight_ih, layer.units, layer.features,
                                of_input, Cell::kGates,
                                share(input_vectors, part), share(input_vectors, part + 1), input);
    }
};

// Rows that lie anywhere, brought to where `multiply` wants them: in tiles, one after the other and
// filled up with zeros.
template <class Stored>
class NearRows {
  public:
    NearRows(int64_t rows, int64_t terms)
        : terms_(terms),
          apart_(padded<Stored>(terms)),
          copies_(kInTiles<Stored> ? padded_rows<Stored>(rows) * apart_ : 0) {
        if (kInTiles<Stored> && apart_ > terms_) copies_.clear(padded_rows<Stored>(rows) * apart_);
    }

    void fetch(const Stored** rows, size_t count) {
        for (size_t i = 0; kInTiles<Stored> && i < count; ++i) {
            Stored* const copy = copies_ + (int64_t)i * apart_;
            rows[i] = std::copy_n(rows[i], terms_, copy) - terms_;
        }
    }

  private:
    int64_t terms_, apart_;
    Buffer<Stored> copies_;
};

// Where one lane's step backward reads and writes. The gradient that arrives at the state after step t
// is what the product gives, and what went past it at step t + 1.
template <class Stored>
struct BackStep {
    Stored* gates;         // (slots * H,): overwritten by the gradients of their sums
    const float* dy;       // (H,), or null for zeros
    const float* h;        // (H,): the state that the step starts from
    const float* c;        // (H,) of an LSTM
    float *past, *past_c;  // (H,): what goes past the product, of h and c
    float *dh_restart, *dc_restart;  // (H,): where all that goes instead if t + 1 restarts, or null
};

// Return the gradient of the state after a step, of h, and of c in `dc`.
template <class Cell, class Stored>
TT_INLINE Vec arriving(const BackStep<Stored>& step, Vec product, int64_t at, int width, Vec& dc) {
    const Vec dh = product + load_some(step.past + at, width);
    dc = Cell::kHasCell ? load_some(step.past_c + at, width) : Vec{};
    if (!step.dh_restart) return dh;
    store_some(step.dh_restart + at, load_some(step.dh_restart + at, width) + dh, width);
    if (Cell::kHasCell)
        store_some(step.dc_restart + at, load_some(step.dc_restart + at, width) + dc, width);
    dc = Vec{};
    return Vec{};
}

// One vector of units through a step; the gradients of its sums are added to `totals`.
template <class Cell, class Stored>
TT_INLINE void retreat(const BackStep<Stored>& step, Vec product, int64_t at, int width,
                       int64_t units, Vec* totals) {
    Vec dc;
    Vec dh = arriving<Cell>(step, product, at, width, dc);
    if (step.dy) dh += load_some(step.dy + at, width);
    Vec slots[Cell::kSlots];
    for (int k = 0; k < Cell::kSlots; ++k) slots[k] = load_some(step.gates + k * units + at, width);
    const Vec h = load_some(step.h + at, width);
    const Vec c = Cell::kHasCell ? load_some(step.c + at, width) : Vec{};
    store_some(step.past + at, Cell::backward(dh, slots, h, c, dc), width);
    if (Cell::kHasCell) store_some(step.past_c + at, dc, width);
    for (int k = 0; k < Cell::kSlots; ++k) {
        store_some(step.gates + k * units + at, slots[k], width);
        totals[k] += slots[k];
    }
}

// One step of `count` lanes, of which rows[i] is what step t + 1 multiplies. The gradients of biases
// are added to `sums`, (slots, vectors * kWidth).
template <class Cell, class Stored>
void go_back(const TransposedLayer<Cell, Stored>& packed, const BackStep<Stored>* steps,
             const Stored* const* rows, int count, float* sums) {
    constexpr int S = Cell::kSlots;
    const int64_t stride = (int64_t)packed.hidden_vectors * kWidth;
    for_blocks<1, Stored>(count, packed.hidden_vectors, [&](int row, int vector, auto many, auto some) {
        constexpr int R = decltype(many)::value, U = decltype(some)::value;
        const int64_t units = packed.terms / Cell::kGates;
        // What the cells read comes from far away; it is on its way while the product is computed.
        for (int r = 0; r < many; ++r) {
            const BackStep<Stored>& step = steps[row + r];
            for (int u = 0; u < U; ++u) {
                const int64_t at = (int64_t)(vector + u) * kWidth;
                for (int k = 0; k < S; ++k) __builtin_prefetch(step.gates + k * units + at, 1);
                if (step.dy) __builtin_prefetch(step.dy + at);
                if (Cell::kHasCell) __builtin_prefetch(step.c + at);
            }
        }
        Vec products[U][R][1] = {};
        multiply<R, U, 1>(products, rows + row, packed.hidden + vector * packed.panel, packed.panel,
                          packed.terms);
        for (int u = 0; u < U; ++u) {
            float* const totals_of = sums + (int64_t)(vector + u) * kWidth;
            Vec totals[S];
            for (int k = 0; k < S; ++k) totals[k] = load(totals_of + k * stride);
            for (int r = 0; r < many; ++r)
                retreat<Cell>(steps[row + r], products[u][r][0], (int64_t)(vector + u) * kWidth,
                              width_of(units, vector + u), units, totals);
            for (int k = 0; k < S; ++k) store(totals_of + k * stride, totals[k]);
        }
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
    Buffer<float> partial(S * padded_units);  // of dbias, over one chunk
    std::vector<const Stored*> rows(std::max<size_t>(many, (size_t)chunk * many));
    std::vector<float*> outputs((size_t)chunk * many);
    std::vector<BackStep<Stored>> steps(many);
    NearRows<Stored> near(std::max<int64_t>((int64_t)many, chunk * (int64_t)many), packed.terms);
    [[maybe_unused]] const Tiles tiles;
    Stored* const gates = static_cast<Stored*>(s.gates);

    std::fill_n((float*)partial, S * padded_units, 0.0f);
    // What goes past the products is kept where it belongs in the end: in the gradients of states.
    const auto put = [H](float* to, const float* from, int64_t lane) {
        if (from)
            std::copy_n(from + lane * H, H, to + lane * H);
        else if (to)
            std::fill_n(to + lane * H, H, 0.0f);
    };
    for (const int64_t lane : lanes) {
        const int64_t length = plan.length[(size_t)lane];
        if (d.dx) std::fill_n(d.dx + (lane * s.steps + length) * F, (s.steps - length) * F, 0.0f);
        put(d.dh, d.dh_end, lane);
        put(d.dh_restart, nullptr, lane);
        if (!Cell::kHasCell) continue;
        put(d.dc, d.dc_end, lane);
        put(d.dc_restart, nullptr, lane);
    }
    // Lane i's step t, which may be the one before its first.
    const auto step_of = [&](size_t i, int64_t t) {
        const int64_t lane = lanes[i], row = plan.offset[(size_t)lane] + t;
        BackStep<Stored> step = {};
        step.past = d.dh + lane * H;
        if (Cell::kHasCell) step.past_c = d.dc + lane * H;
        if (s.resets && t + 1 < plan.length[(size_t)lane] && s.resets[lane * s.steps + t + 1]) {
            step.dh_restart = d.dh_restart + lane * H;
            if (Cell::kHasCell) step.dc_restart = d.dc_restart + lane * H;
        }
        if (t < 0) return step;
        step.gates = gates + row * S * H;
        if (d.dy) step.dy = d.dy + (lane * s.steps + t) * H;
        step.h = h_before(s, lane, t);
        if (Cell::kHasCell) step.c = s.c_before + row * H;
        return step;
    };
    // The first `count` lanes: the rows of their step t + 1, and where their step t is.
    const auto prepare = [&](size_t count, int64_t t) {
        for (size_t i = 0; i < count; ++i) {
            const int64_t row = plan.offset[(size_t)lanes[i]] + t + 1;
            rows[i] = gates + (row * S + Cell::kHiddenSlot) * H;
            steps[i] = step_of(i, t);
        }
    };
    size_t later = 0;  // lanes that are there at step t + 1
    for (int64_t end = longest; end > 0; end = std::max<int64_t>(0, end - chunk)) {
        const int64_t begin = std::max<int64_t>(0, end - chunk);
        for (int64_t t = end - 1; t >= begin; --t) {
            prepare(later, t);
            near.fetch(rows.data(), later);
            go_back(packed, steps.data(), rows.data(), (int)later, partial);
            for (; later < many && plan.length[(size_t)lanes[later]] > t; ++later) {
                steps[later] = step_of(later, t);
                for (int vector = 0; vector < packed.hidden_vectors; ++vector) {
                    Vec totals[S] = {};
                    retreat<Cell>(steps[later], Vec{}, (int64_t)vector * kWidth,
                                  width_of(H, vector), H, totals);
                    for (int k = 0; k < S; ++k) {
                        float* to = partial + k * padded_units + vector * kWidth;
                        store(to, load(to) + totals[k]);
                    }
                }
            }
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
            near.fetch(rows.data(), count);
            multiply_rows(rows.data(), outputs.data(), (int)count, (const Stored*)packed.input,
                          packed.terms, F);
        }
        // A sum of sums loses less to rounding than one long sum.
        for (int64_t i = 0; i < S * padded_units; ++i) {
            dbias[i] += partial[i];
            partial[i] = 0.0f;
        }
    }
    // What arrives at the states that sequences started from.
    Buffer<float> products((int64_t)later * H);
    outputs.resize(std::max(outputs.size(), later));
    for (size_t i = 0; i < later; ++i) outputs[i] = products + (int64_t)i * H;
    prepare(later, -1);
    near.fetch(rows.data(), later);
    multiply_rows(rows.data(), outputs.data(), (int)later, (const Stored*)packed.hidden,
                  packed.terms, H);
    for (size_t i = 0; i < later; ++i)
        for (int vector = 0; vector < packed.hidden_vectors; ++vector) {
            const BackStep<Stored>& step = steps[i];
            const int64_t at = (int64_t)vector * kWidth;
            const int width = width_of(H, vector);
            Vec dc;
            const Vec product = load_some(outputs[i] + at, width);
            store_some(step.past + at, arriving<Cell>(step, product, at, width, dc), width);
            if (Cell::kHasCell) store_some(step.past_c + at, dc, width);
        }
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
            if (k < Cell::kGates) d.dbias_ih[Cell::kInputRow((int)k) * s.layer.units + u] = total;
            if (k >= Cell::kHiddenSlot) d.dbias_hh[(k - Cell::kHiddenSlot) * s.layer.units + u] = total;
        }
    if (d.dweight_ih) weight_gradients<Cell, Stored>(s, d, plan);
}

}  // namespace TT_ISA
