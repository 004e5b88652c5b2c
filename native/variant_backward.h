// A variant of a classic cell over whole sequences, backward, from the last step to the first. The
// gradients of weights are products over all rows, which the caller makes of what is written here.
#pragma once

#include "variant_forward.h"

namespace TT_ISA {

// The gradients of what a layer adds and scales by, added up over steps: partial sums of some steps
// first, since a sum of sums loses less to rounding than one long sum.
struct VariantTotals {
    static constexpr int64_t kSteps = 64;
    int64_t size;
    Buffer<float> sums, partial;
    float *bias, *gain, *cell_gain, *cell_bias, *peepholes;  // in `partial`

    VariantTotals(int64_t units, int gates)
        : size((2 * gates + 5) * units),
          sums(size),
          partial(size),
          bias(partial),
          gain(bias + gates * units),
          cell_gain(gain + gates * units),
          cell_bias(cell_gain + units),
          peepholes(cell_bias + units) {
        std::fill_n((float*)sums, size, 0.0f);
        std::fill_n((float*)partial, size, 0.0f);
    }

    void flush() {
        for (int64_t i = 0; i < size; ++i) {
            sums[i] += partial[i];
            partial[i] = 0.0f;
        }
    }
};

TT_INLINE void add_some(float* to, Vec value, int width) {
    store_some(to, load_some(to, width) + value, width);
}

// Where one lane's step backward reads and writes.
struct VariantBackStep {
    int64_t at;              // lane * T + t
    const float *before, *c, *slots, *normal;
    float *denter, *dsums;   // (G*H,)
    float *dh, *dc;          // (P,), (C,): of the state after the step, then before it
    float *fresh;            // (P,): of what the step made of h
    float *doutput;          // (H,): of that before it is projected; without a projection, `fresh`
    float *output;           // (H,): that itself, with a projection
};

// Split the gradient of a state after a step: what it was keeps its part of it, the rest is returned.
TT_INLINE Vec unzoned(const tt_variant& v, const int32_t* noise, int64_t step, int64_t unit,
                      float* past, int width) {
    const Vec d = load_some(past, width);
    if (noise) {
        const IntVec stays = chosen(noise[step], unit, v.zone_below);
        store_some(past, stays ? d : Vec{}, width);
        return stays ? Vec{} : d;
    }
    store_some(past, v.zoneout == 0.0f ? Vec{} : v.zoneout * d, width);
    return v.zoneout == 0.0f ? d : (1.0f - v.zoneout) * d;
}

// The cell and the gates of an LSTM, after which `dsums` holds the gradients of the gates' sums.
template <class Cell>
void backward_cell(const tt_variant& v, const VariantBackStep& step, float* read, float* dread,
                   VariantTotals& totals) {
    constexpr int S = Cell::kSlots;
    const int64_t H = v.units;
    const int vectors = vectors_of(H);
    const auto load_slots = [&](int64_t at, int width, Vec* slots) TT_ALWAYS {
        for (int k = 0; k < S; ++k) slots[k] = load_some(step.slots + k * H + at, width);
    };
    for (int u = 0; u < vectors; ++u) {
        const int64_t at = (int64_t)u * kWidth;
        const int width = width_of(H, u);
        Vec slots[S];
        load_slots(at, width, slots);
        store_some(read + at, Cell::cell(slots, load_some(step.c + at, width)), width);
    }
    const float scale = v.cell_gain ? normalise(read, kWidth, H) : 1.0f;
    for (int u = 0; u < vectors; ++u) {
        const int64_t at = (int64_t)u * kWidth;
        const int width = width_of(H, u);
        const Vec o = load_some(step.slots + Cell::kO * H + at, width);
        const Vec gain = load_or(v.cell_gain, at, width, 1.0f);
        const Vec normal = load_some(read + at, width);
        const Vec t = tanh(normal * gain + load_or(v.cell_bias, at, width, 0.0f));
        const Vec d = load_some(step.doutput + at, width);
        store_some(step.dsums + Cell::kO * H + at, d * t * o * (1.0f - o), width);
        if (step.output) store_some(step.output + at, o * t, width);
        const Vec dnormal = d * o * (1.0f - t * t);
        store_some(dread + at, dnormal * gain, width);
        if (!v.cell_gain) continue;
        add_some(totals.cell_gain + at, dnormal * normal, width);
        add_some(totals.cell_bias + at, dnormal, width);
    }
    if (v.cell_gain) normalise_backward(dread, read, scale, H);
    for (int u = 0; u < vectors; ++u) {
        const int64_t at = (int64_t)u * kWidth;
        const int width = width_of(H, u);
        Vec slots[S], gates[S], peephole[3], dpeephole[3];
        load_slots(at, width, slots);
        load_peepholes(v, at, width, peephole);
        const Vec arriving = unzoned(v, v.zone_c, step.at, at, step.dc + at, width);
        const Vec before =
            Cell::backward(load_some(dread + at, width) + arriving,
                           load_some(step.dsums + Cell::kO * H + at, width), slots,
                           load_some(step.c + at, width), peephole, gates, dpeephole);
        add_some(step.dc + at, before, width);
        for (int g = 0; g < S; ++g) {
            store_some(step.denter + g * H + at, gates[g], width);
            store_some(step.dsums + g * H + at, gates[g], width);
        }
        if (!v.peepholes) continue;
        for (int k = 0; k < 3; ++k) add_some(totals.peepholes + k * H + at, dpeephole[k], width);
    }
}

// The gates of another cell, to the same end.
template <class Cell>
void backward_gates(const tt_variant& v, const VariantBackStep& step) {
    const int64_t H = v.units;
    for (int u = 0; u < vectors_of(H); ++u) {
        const int64_t at = (int64_t)u * kWidth;
        const int width = width_of(H, u);
        Vec slots[Cell::kSlots], enter[Cell::kGates], state[Cell::kGates];
        for (int k = 0; k < Cell::kSlots; ++k)
            slots[k] = load_some(step.slots + k * H + at, width);
        const Vec dh = load_some(step.doutput + at, width);
        if constexpr (Cell::kCells == 3) {
            Vec cell[3], dcell[3];
            for (int k = 0; k < 3; ++k) {
                cell[k] = load_some(step.c + k * H + at, width);
                dcell[k] = load_some(step.dc + k * H + at, width);
            }
            Cell::backward(dh, slots, cell, dcell, enter);
            for (int k = 0; k < 3; ++k) store_some(step.dc + k * H + at, dcell[k], width);
            std::copy_n(enter, Cell::kGates, state);
        } else {
            const Vec h = load_some(step.before + at, width);
            add_some(step.dh + at, Cell::backward(dh, slots, h, enter, state), width);
        }
        for (int g = 0; g < Cell::kGates; ++g) {
            store_some(step.denter + g * H + at, enter[g], width);
            store_some(step.dsums + g * H + at, state[g], width);
        }
    }
}

// From the gradients of the gates' sums to those of the products that they are made of.
template <class Cell>
void backward_sums(const tt_variant& v, const VariantBackStep& step, VariantTotals& totals) {
    const int64_t H = v.units;
    for (int g = 0; g < Cell::kGates; ++g) {
        float* const d = step.dsums + g * H;
        for (int u = 0; u < vectors_of(H); ++u) {
            const int64_t at = (int64_t)u * kWidth;
            const int width = width_of(H, u);
            const Vec gradient = load_some(d + at, width);
            add_some(totals.bias + g * H + at, gradient, width);
            if (!v.gain) continue;
            add_some(totals.gain + g * H + at,
                     gradient * load_some(step.normal + g * H + at, width), width);
            store_some(d + at, gradient * load_some(v.gain + g * H + at, width), width);
        }
        if (v.gain)
            normalise_backward(d, step.normal + g * H, step.normal[Cell::kGates * H + g], H);
    }
}

template <class Cell>
struct VariantTransposed {
    Buffer<float> hidden, project;

    explicit VariantTransposed(const tt_variant& v)
        : hidden(panel_size<float>(Cell::kGates * v.units, 1) * vectors_of(v.outputs)),
          project(v.project ? panel_size<float>(v.outputs, 1) * vectors_of(v.units) : 0) {
        static constexpr int kInOrder[] = {0, 1, 2, 3};
        pack_transposed<float>(v.weight, v.units, v.outputs, kInOrder, Cell::kGates, 0,
                               vectors_of(v.outputs), hidden);
        if (v.project)
            pack_transposed<float>(v.project, v.outputs, v.units, kInOrder, 1, 0,
                                   vectors_of(v.units), project);
    }
};

// All steps of the lanes of one shard, last to first.
template <class Cell>
void variant_backward_shard(const tt_variant& v, const tt_variant_gradients& d, const Plan& plan,
                            const std::vector<int64_t>& lanes,
                            const VariantTransposed<Cell>& weights, VariantTotals& totals) {
    constexpr int G = Cell::kGates, S = Cell::kSlots;
    const int64_t H = v.units, P = v.outputs, T = v.steps, C = Cell::kCells * H;
    const size_t many = lanes.size();
    const int64_t longest = lanes.empty() ? 0 : plan.length[(size_t)lanes[0]];
    Buffer<float> fresh((int64_t)many * P), outputs((int64_t)many * H), read(H), dread(H);
    std::vector<VariantBackStep> steps(many);
    Buffer<float> products((int64_t)many * P);
    std::vector<const float*> rows(many);
    std::vector<float*> outputs_of(many), products_of(many);
    for (size_t i = 0; i < many; ++i) {
        outputs_of[i] = outputs + (int64_t)i * H;
        products_of[i] = products + (int64_t)i * P;
    }

    const auto put = [](float* to, const float* from, int64_t lane, int64_t count) {
        if (from)
            std::copy_n(from + lane * count, count, to + lane * count);
        else if (to)
            std::fill_n(to + lane * count, count, 0.0f);
    };
    for (const int64_t lane : lanes) {
        const int64_t first = lane * T + plan.length[(size_t)lane], rest = (lane + 1) * T - first;
        std::fill_n(d.denter + first * G * H, rest * G * H, 0.0f);
        std::fill_n(d.dsums + first * G * H, rest * G * H, 0.0f);
        if (v.project) std::fill_n(d.doutput + first * P, rest * P, 0.0f);
        if (v.project) std::fill_n(d.output + first * H, rest * H, 0.0f);
        put(d.dh, d.dh_end, lane, P);
        put(d.dh_restart, nullptr, lane, P);
        if (!C) continue;
        put(d.dc, d.dc_end, lane, C);
        put(d.dc_restart, nullptr, lane, C);
    }
    const auto prepare = [&](size_t i, int64_t t) {
        const int64_t lane = lanes[i], at = lane * T + t;
        VariantBackStep step = {};
        step.at = at;
        step.before = v.resets && v.resets[at] ? v.h_restart + lane * P
                      : t                      ? v.y + (at - 1) * P
                                               : v.h + lane * P;
        if (C) step.c = v.c_before + at * C;
        step.slots = v.slots + at * S * H;
        if (v.normal) step.normal = v.normal + at * (G * H + G);
        step.denter = d.denter + at * G * H;
        step.dsums = d.dsums + at * G * H;
        step.dh = d.dh + lane * P;
        if (C) step.dc = d.dc + lane * C;
        step.fresh = v.project ? d.doutput + at * P : fresh + (int64_t)i * P;
        step.doutput = v.project ? outputs + (int64_t)i * H : step.fresh;
        if (v.project) step.output = d.output + at * H;
        for (int u = 0; u < vectors_of(P); ++u) {
            const int64_t from = (int64_t)u * kWidth;
            const int width = width_of(P, u);
            if (d.dy) add_some(step.dh + from, load_some(d.dy + at * P + from, width), width);
            store_some(step.fresh + from,
                       unzoned(v, v.zone_h, at, from, step.dh + from, width), width);
        }
        return step;
    };
    // What went into a step that was a reset belongs to the state that resets go to.
    const auto restart = [](float* from, float* to, int64_t count) {
        for (int64_t k = 0; k < count; ++k) to[k] += from[k];
        std::fill_n(from, count, 0.0f);
    };
    for (int64_t t = longest - 1; t >= 0; --t) {
        int alive = 0;
        for (size_t i = 0; i < many && plan.length[(size_t)lanes[i]] > t; ++i, ++alive) {
            steps[i] = prepare(i, t);
            rows[i] = steps[i].fresh;
        }
        if (v.project)
            multiply_rows(rows.data(), outputs_of.data(), alive, (const float*)weights.project, P,
                          H);
        for (int i = 0; i < alive; ++i) {
            if constexpr (Cell::kCells == 1)
                backward_cell<Cell>(v, steps[(size_t)i], read, dread, totals);
            else
                backward_gates<Cell>(v, steps[(size_t)i]);
            backward_sums<Cell>(v, steps[(size_t)i], totals);
            rows[(size_t)i] = steps[(size_t)i].dsums;
        }
        multiply_rows(rows.data(), products_of.data(), alive, (const float*)weights.hidden, G * H,
                      P);
        for (int i = 0; i < alive; ++i)
            for (int u = 0; u < vectors_of(P); ++u) {
                const VariantBackStep& step = steps[(size_t)i];
                const int64_t at = (int64_t)u * kWidth;
                const int width = width_of(P, u);
                const Vec value = load_some(products_of[(size_t)i] + at, width);
                add_some(step.dh + at, value * kept(v, step.at, at), width);
            }
        for (int i = 0; v.resets && i < alive; ++i) {
            const int64_t lane = lanes[(size_t)i];
            if (!v.resets[lane * T + t]) continue;
            restart(d.dh + lane * P, d.dh_restart + lane * P, P);
            if (C) restart(d.dc + lane * C, d.dc_restart + lane * C, C);
        }
        if (t % VariantTotals::kSteps == 0) totals.flush();
    }
}

template <class Cell>
void variant_backward(const tt_variant& v, const tt_variant_gradients& d) {
    constexpr int G = Cell::kGates;
    const int64_t H = v.units;
    const Plan plan = plan_of(v, multiplications<Cell>(v));
    const VariantTransposed<Cell> weights(v);
    const auto parts = (int64_t)plan.shards.size();
    std::vector<std::unique_ptr<VariantTotals>> totals;
    for (int64_t part = 0; part < parts; ++part)
        totals.push_back(std::make_unique<VariantTotals>(H, G));
    in_parallel(parts, [&](int64_t part) {
        variant_backward_shard<Cell>(v, d, plan, plan.shards[(size_t)part], weights,
                                     *totals[(size_t)part]);
    });
    for (int64_t part = 1; part < parts; ++part)
        for (int64_t i = 0; i < totals[0]->size; ++i)
            totals[0]->sums[i] += totals[(size_t)part]->sums[i];
    const float* from = totals[0]->sums;
    const auto take = [&](float* to, int64_t count) {
        if (to) std::copy_n(from, count, to);
        from += count;
    };
    take(d.dbias, G * H);
    take(d.dgain, G * H);
    take(d.dcell_gain, H);
    take(d.dcell_bias, H);
    take(d.dpeepholes, 3 * H);
}

}  // namespace TT_ISA
