// A variant of a classic cell over whole sequences. The input's product is there already; each step
// is the state's product for all lanes, and then the rest lane by lane, since what is normalised
// needs all units of a lane at once.
#pragma once

#include "plan.h"
#include "variant_cells.h"

namespace TT_ISA {

// Where one lane's step reads and writes.
struct VariantStep {
    int64_t at;            // lane * T + t
    const float* before;   // (P,): h that the step starts from
    float* c;              // (C,): c that it starts from
    float* hidden;         // (P,): h as it is multiplied
    float* sums;           // (vectors, G, kWidth): the state's share, normalised in place
    float* slots;          // (S*H,)
    float* normal;         // (G*H + G,): what was normalised and by how much, or null
    float* output;         // (H,): h' before it is projected
    float* c_after;        // (C,)
};

TT_INLINE Vec load_or(const float* from, int64_t at, int width, float otherwise) {
    return from ? load_some(from + at, width) : splat(otherwise);
}

TT_INLINE void load_peepholes(const tt_variant& v, int64_t at, int width, Vec* peephole) {
    for (int k = 0; k < 3; ++k)
        peephole[k] = load_or(v.peepholes ? v.peepholes + k * v.units : nullptr, at, width, 0.0f);
}

// What is multiplied of `width` units of h.
TT_INLINE Vec kept(const tt_variant& v, int64_t step, int64_t unit) {
    if (!v.drop) return splat(1.0f);
    return chosen(v.drop[step], unit, v.drop_below) ? Vec{} : splat(v.drop_scale);
}

// A state after a step, of what it was and what it would become.
TT_INLINE Vec zoned(const tt_variant& v, const int32_t* noise, int64_t step, int64_t unit,
                    Vec before, Vec after) {
    if (noise) return chosen(noise[step], unit, v.zone_below) ? before : after;
    return v.zoneout == 0.0f ? after : v.zoneout * before + (1.0f - v.zoneout) * after;
}

// Everything of a step between its products.
template <class Cell>
void forward_row(const tt_variant& v, const VariantStep& step) {
    constexpr int G = Cell::kGates;
    const int64_t H = v.units;
    const int vectors = vectors_of(H);
    if (v.gain)
        for (int g = 0; g < G; ++g) {
            float* const sums = step.sums + g * kWidth;
            const float scale = normalise(sums, G * kWidth, H);
            if (!step.normal) continue;
            step.normal[G * H + g] = scale;
            for (int u = 0; u < vectors; ++u)
                store_some(step.normal + g * H + u * kWidth, load(sums + u * G * kWidth),
                           width_of(H, u));
        }
    for (int u = 0; u < vectors; ++u) {
        const int64_t at = (int64_t)u * kWidth;
        const int width = width_of(H, u);
        Vec enter[G], state[G], slots[Cell::kSlots];
        for (int g = 0; g < G; ++g) {
            enter[g] = load_some(v.enter + (step.at * G + g) * H + at, width);
            state[g] = load(step.sums + (u * G + g) * kWidth);
            if (v.gain) state[g] *= load_some(v.gain + g * H + at, width);
            if (v.bias) state[g] += load_some(v.bias + g * H + at, width);
        }
        if constexpr (Cell::kCells == 3) {
            Vec cell[3];
            for (int k = 0; k < 3; ++k) cell[k] = load_some(step.c + k * H + at, width);
            store_some(step.output + at, Cell::forward(enter, state, cell, slots), width);
            for (int k = 0; k < 3; ++k) store_some(step.c_after + k * H + at, cell[k], width);
        } else if constexpr (Cell::kCells == 1) {
            Vec peephole[3];
            load_peepholes(v, at, width, peephole);
            const Vec c = Cell::forward(enter, state, load_some(step.c + at, width), peephole, slots);
            store_some(step.c_after + at, c, width);
            store_some(step.output + at, c, width);
        } else {
            const Vec h = Cell::forward(enter, state, load_some(step.before + at, width), slots);
            store_some(step.output + at, h, width);
        }
        for (int k = 0; k < Cell::kSlots; ++k) store_some(step.slots + k * H + at, slots[k], width);
    }
    if constexpr (Cell::kCells == 1) {
        if (v.cell_gain) normalise(step.output, kWidth, H);
        for (int u = 0; u < vectors; ++u) {
            const int64_t at = (int64_t)u * kWidth;
            const int width = width_of(H, u);
            Vec read = load_some(step.output + at, width);
            if (v.cell_gain)
                read = read * load_some(v.cell_gain + at, width) + load_some(v.cell_bias + at, width);
            const Vec o = load_some(step.slots + Cell::kO * H + at, width);
            store_some(step.output + at, o * tanh(read), width);
            const Vec c = zoned(v, v.zone_c, step.at, at, load_some(step.c + at, width),
                                load_some(step.c_after + at, width));
            store_some(step.c_after + at, c, width);
        }
    }
}

template <class Cell>
struct VariantWeights {
    Buffer<float> hidden, project;

    explicit VariantWeights(const tt_variant& v)
        : hidden(panel_size<float>(v.outputs, Cell::kGates) * vectors_of(v.units)),
          project(v.project ? panel_size<float>(v.units, 1) * vectors_of(v.outputs) : 0) {
        pack_gates<float>(v.weight, v.units, v.outputs, Cell::kGates, 0, vectors_of(v.units), hidden);
        if (v.project)
            pack_gates<float>(v.project, v.outputs, v.units, 1, 0, vectors_of(v.outputs), project);
    }
};

// All steps of the lanes of one shard.
template <class Cell>
void variant_forward_shard(const tt_variant& v, const Plan& plan, const std::vector<int64_t>& lanes,
                           const VariantWeights<Cell>& weights) {
    constexpr int G = Cell::kGates, S = Cell::kSlots;
    const int64_t H = v.units, P = v.outputs, T = v.steps, C = Cell::kCells * H;
    const int64_t sums_of_a_row = (int64_t)vectors_of(H) * G * kWidth;
    const size_t many = lanes.size();
    const int64_t longest = lanes.empty() ? 0 : plan.length[(size_t)lanes[0]];
    const bool keep = v.slots != nullptr;
    const auto scratch = [&](int64_t numbers) { return keep ? 0 : (int64_t)many * numbers; };
    Buffer<float> sums((int64_t)many * sums_of_a_row), outputs((int64_t)many * H);
    Buffer<float> slots(scratch(S * H)), hidden(scratch(P)), cells(scratch(C));
    std::vector<VariantStep> steps(many);
    Buffer<float> products(v.project ? (int64_t)many * P : 0);
    std::vector<const float*> rows(many), outputs_of(many);
    std::vector<float*> projected(many);
    for (size_t i = 0; v.project && i < many; ++i) projected[i] = products + (int64_t)i * P;

    for (const int64_t lane : lanes) {
        const int64_t first = lane * T + plan.length[(size_t)lane], rest = (lane + 1) * T - first;
        std::fill_n(v.y + first * P, rest * P, 0.0f);
        if (keep) std::fill_n(v.hidden + first * P, rest * P, 0.0f);
        std::copy_n(v.h + lane * P, P, v.h_end + lane * P);
        if (C) std::copy_n(v.c + lane * C, C, v.c_end + lane * C);
    }
    const auto prepare = [&](size_t i, int64_t t) {
        const int64_t lane = lanes[i], row = keep ? lane * T + t : (int64_t)i;
        const bool reset = v.resets && v.resets[lane * T + t];
        VariantStep step = {};
        step.at = lane * T + t;
        step.before = reset ? v.h_restart + lane * P : t ? v.y + (step.at - 1) * P : v.h + lane * P;
        step.hidden = (keep ? v.hidden : (float*)hidden) + row * P;
        step.sums = sums + (int64_t)i * sums_of_a_row;
        step.slots = (keep ? v.slots : (float*)slots) + row * S * H;
        if (v.normal) step.normal = v.normal + row * (G * H + G);
        step.output = outputs + (int64_t)i * H;
        if (C) {
            step.c = (keep ? v.c_before : (float*)cells) + row * C;
            step.c_after = v.c_end + lane * C;
            std::copy_n(reset ? v.c_restart + lane * C : step.c_after, C, step.c);
        }
        for (int u = 0; u < vectors_of(P); ++u) {
            const int64_t at = (int64_t)u * kWidth;
            const int width = width_of(P, u);
            store_some(step.hidden + at,
                       load_some(step.before + at, width) * kept(v, step.at, at), width);
        }
        return step;
    };
    for (int64_t t = 0; t < longest; ++t) {
        int alive = 0;
        for (size_t i = 0; i < many && plan.length[(size_t)lanes[i]] > t; ++i, ++alive) {
            steps[i] = prepare(i, t);
            rows[i] = steps[i].hidden;
            outputs_of[i] = steps[i].output;
        }
        multiply_gates<G>(rows.data(), alive, (const float*)weights.hidden, P, H, nullptr,
                          (float*)sums);
        for (int i = 0; i < alive; ++i) forward_row<Cell>(v, steps[(size_t)i]);
        if (v.project)
            multiply_rows(outputs_of.data(), projected.data(), alive, (const float*)weights.project,
                          H, P);
        for (int i = 0; i < alive; ++i) {
            const VariantStep& step = steps[(size_t)i];
            const float* const value = v.project ? projected[(size_t)i] : step.output;
            for (int u = 0; u < vectors_of(P); ++u) {
                const int64_t at = (int64_t)u * kWidth;
                const int width = width_of(P, u);
                store_some(v.y + step.at * P + at,
                           zoned(v, v.zone_h, step.at, at, load_some(step.before + at, width),
                                 load_some(value + at, width)),
                           width);
            }
        }
    }
    for (const int64_t lane : lanes)
        if (const int64_t length = plan.length[(size_t)lane])
            std::copy_n(v.y + (lane * T + length - 1) * P, P, v.h_end + lane * P);
}

template <class Cell>
int64_t multiplications(const tt_variant& v) {
    return (Cell::kGates + (v.project ? 1 : 0)) * v.units * v.outputs;
}

template <class Cell>
void variant_forward(const tt_variant& v) {
    const Plan plan = plan_of(v, multiplications<Cell>(v));
    const VariantWeights<Cell> weights(v);
    in_parallel((int64_t)plan.shards.size(), [&](int64_t part) {
        variant_forward_shard<Cell>(v, plan, plan.shards[(size_t)part], weights);
    });
}

}  // namespace TT_ISA
