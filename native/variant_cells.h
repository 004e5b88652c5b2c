// What the variants of the classic cells compute from the input's and the state's share of their
// gates, and its derivative, one vector of units at a time; and what they are varied by: normalised
// sums, and noise that is a function of a number and of the unit.
#pragma once

#include <cmath>

#include "maths.h"
#include "product.h"

namespace TT_ISA {

typedef uint32_t BitsVec __attribute__((vector_size(4 * kWidth)));

// Numbers of 32 bits, well mixed; as in src/throughtime/layers/noise.py.
TT_INLINE BitsVec mixed(BitsVec z) {
    z = (z ^ (z >> 16)) * 0x7feb352du;
    z = (z ^ (z >> 15)) * 0x846ca68bu;
    return z ^ (z >> 16);
}

// Whether `noise` chooses each of the units from `first` on: all bits of those that it does.
TT_INLINE IntVec chosen(int32_t noise, int64_t first, int32_t below) {
    BitsVec unit;
    for (int i = 0; i < kWidth; ++i) unit[i] = (uint32_t)(first + 1 + i);
    return (IntVec)mixed(mixed(unit) ^ (uint32_t)noise) < below;
}

// As torch.nn.LayerNorm has it.
constexpr float kLeastVariance = 1e-5f;

// Give `units` numbers, of which a vector comes every `stride`, zero mean and unit variance. Return
// what they were multiplied by.
inline float normalise(float* values, int64_t stride, int64_t units) {
    const int vectors = vectors_of(units);
    Vec total = {}, squares = {};
    for (int v = 0; v < vectors; ++v) total += load_some(values + v * stride, width_of(units, v));
    const float mean = sum(total) / (float)units;
    for (int v = 0; v < vectors; ++v) {
        const int width = width_of(units, v);
        store_some(values + v * stride, load_some(values + v * stride, width) - mean, width);
        const Vec apart = load_some(values + v * stride, width);
        squares += apart * apart;
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / (float)units + kLeastVariance);
    for (int v = 0; v < vectors; ++v) {
        const int width = width_of(units, v);
        store_some(values + v * stride, load_some(values + v * stride, width) * scale, width);
    }
    return scale;
}

// Turn the gradient of normalised numbers, (units,), into that of the numbers before.
inline void normalise_backward(float* gradient, const float* normal, float scale, int64_t units) {
    const int vectors = vectors_of(units);
    Vec total = {}, along = {};
    for (int v = 0; v < vectors; ++v) {
        const int width = width_of(units, v);
        const Vec d = load_some(gradient + v * kWidth, width);
        total += d;
        along += d * load_some(normal + v * kWidth, width);
    }
    const float mean = sum(total) / (float)units, share = sum(along) / (float)units;
    for (int v = 0; v < vectors; ++v) {
        const int width = width_of(units, v);
        const Vec d = load_some(gradient + v * kWidth, width);
        const Vec n = load_some(normal + v * kWidth, width);
        store_some(gradient + v * kWidth, scale * (d - mean - n * share), width);
    }
}

// h' = phi(e + s). Slot: h'.
template <bool kRelu>
struct RnnVariant {
    static constexpr int kGates = 1, kSlots = 1, kCells = 0;

    static TT_INLINE Vec forward(const Vec* enter, const Vec* state, Vec /*h*/, Vec* slot) {
        const Vec total = enter[0] + state[0];
        return slot[0] = kRelu ? relu(total) : tanh(total);
    }

    // The gradients of both shares, and what goes past them.
    static TT_INLINE Vec backward(Vec dh, const Vec* slot, Vec /*h*/, Vec* enter, Vec* state) {
        const Vec after = slot[0];
        enter[0] = state[0] = kRelu ? (after <= 0.0f ? Vec{} : dh) : dh * (1.0f - after * after);
        return Vec{};
    }
};

// r, z, n: n = tanh(e_n + r s_n), h' = (1 - z) n + z h. Slots: r, z, n, s_n.
struct GruVariant {
    static constexpr int kGates = 3, kSlots = 4, kCells = 0;

    static TT_INLINE Vec forward(const Vec* enter, const Vec* state, Vec h, Vec* slot) {
        const Vec r = sigmoid(enter[0] + state[0]), z = sigmoid(enter[1] + state[1]);
        const Vec n = tanh(enter[2] + r * state[2]);
        slot[0] = r;
        slot[1] = z;
        slot[2] = n;
        slot[3] = state[2];
        return (1.0f - z) * n + z * h;
    }

    static TT_INLINE Vec backward(Vec dh, const Vec* slot, Vec h, Vec* enter, Vec* state) {
        const Vec r = slot[0], z = slot[1], n = slot[2];
        const Vec dn = dh * (1.0f - z) * (1.0f - n * n);
        enter[0] = state[0] = dn * slot[3] * r * (1.0f - r);
        enter[1] = state[1] = dh * (h - n) * z * (1.0f - z);
        enter[2] = dn;
        state[2] = dn * r;
        return dh * z;
    }
};

// i, f, g, o: c' = f c + i g, with i = 1 - f and no gate of its own if coupled; h' = o tanh(c'), with
// what is read of c' normalised or not. Gates see the cell through peepholes: i and f what it was, o
// what it becomes. Slots: the gates.
template <bool kCoupled>
struct LstmVariant {
    static constexpr int kGates = kCoupled ? 3 : 4, kSlots = kGates;
    static constexpr int kCells = 1;
    static constexpr int kF = kCoupled ? 0 : 1, kG = kF + 1, kO = kF + 2;

    static TT_INLINE Vec input_gate(const Vec* slot) { return kCoupled ? 1.0f - slot[kF] : slot[0]; }

    static TT_INLINE Vec cell(const Vec* slot, Vec c) {
        return slot[kF] * c + input_gate(slot) * slot[kG];
    }

    static TT_INLINE Vec forward(const Vec* enter, const Vec* state, Vec c, const Vec* peephole,
                                 Vec* slot) {
        if (!kCoupled) slot[0] = sigmoid(enter[0] + state[0] + peephole[0] * c);
        slot[kF] = sigmoid(enter[kF] + state[kF] + peephole[1] * c);
        slot[kG] = tanh(enter[kG] + state[kG]);
        const Vec after = cell(slot, c);
        slot[kO] = sigmoid(enter[kO] + state[kO] + peephole[2] * after);
        return after;
    }

    // From the gradients of c' (but for what comes through o) and of o's sum to those of the gates'
    // sums, of c and of the peepholes.
    static TT_INLINE Vec backward(Vec dc, Vec d_o, const Vec* slot, Vec c, const Vec* peephole,
                                  Vec* gate, Vec* dpeephole) {
        const Vec i = input_gate(slot), f = slot[kF], g = slot[kG];
        dc += d_o * peephole[2];
        gate[kO] = d_o;
        gate[kG] = dc * i * (1.0f - g * g);
        gate[kF] = dc * (kCoupled ? c - g : c) * f * (1.0f - f);
        dpeephole[1] = gate[kF] * c;
        dpeephole[2] = d_o * cell(slot, c);
        Vec before = dc * f + gate[kF] * peephole[1];
        dpeephole[0] = Vec{};
        if (!kCoupled) {
            gate[0] = dc * g * i * (1.0f - i);
            dpeephole[0] = gate[0] * c;
            before += gate[0] * peephole[0];
        }
        return before;
    }
};

// The larger; NaN where either is.
TT_INLINE Vec larger(Vec a, Vec b) { return (a > b) | (a != a) ? a : b; }

// z, i, f, o: c' = f c + i z and n' = f n + i, both kept times exp(-m') with i = exp(s_i) and
// m' = max(log f + m, s_i), or s_i where there is nothing yet; h' = o c' / n'. Of what was kept, `keep`
// is left and of what comes, `share` is taken. Slots: z, keep, share, o, and what f's sum becomes;
// keep below zero where m' is s_i, which neither being 1 tells: both may be rounded to that.
struct SlstmVariant {
    static constexpr int kGates = 4, kSlots = 5, kCells = 3;

    static TT_INLINE Vec forward(const Vec* enter, const Vec* state, Vec* cell, Vec* slot) {
        const Vec log_i = enter[1] + state[1], sum_f = enter[2] + state[2];
        const Vec before = cell[2] - softplus(-sum_f);  // log sigmoid(x) = -log(1 + exp(-x))
        const IntVec fresh = cell[1] == 0.0f;
        const Vec m = fresh ? log_i : larger(before, log_i);
        const Vec keep = exp_of(before - larger(before, m)), share = exp_of(log_i - m);
        slot[0] = tanh(enter[0] + state[0]);
        slot[1] = fresh | (m != before) ? -keep : keep;
        slot[2] = share;
        slot[3] = sigmoid(enter[3] + state[3]);
        slot[4] = sigmoid(sum_f);
        cell[0] = keep * cell[0] + share * slot[0];
        cell[1] = keep * cell[1] + share;
        cell[2] = m;
        return slot[3] * cell[0] / cell[1];
    }

    // The gradients of the gates' sums; `dcell`, of what the step made of the cell, becomes that of
    // what the cell was.
    static TT_INLINE void backward(Vec dh, const Vec* slot, const Vec* cell, Vec* dcell, Vec* gate) {
        const IntVec by_input = slot[1] <= 0.0f;
        const Vec z = slot[0], keep = by_input ? -slot[1] : slot[1], share = slot[2], o = slot[3], f = slot[4];
        const Vec c = keep * cell[0] + share * z, n = keep * cell[1] + share;
        const Vec out = c / n;
        const Vec dc = dcell[0] + dh * o / n, dn = dcell[1] - dh * o * out / n;
        gate[3] = dh * out * o * (1.0f - o);
        gate[0] = dc * share * (1.0f - z * z);
        const Vec along_keep = (dc * cell[0] + dn * cell[1]) * keep;
        const Vec along_share = (dc * z + dn) * share;
        // Where `before` is the larger, keep = exp(before - before) moves nothing.
        const IntVec larger_before = ~by_input | ((cell[1] == 0.0f) & (keep == 1.0f));
        const Vec dbefore = larger_before ? Vec{} : along_keep;
        const Vec dm = dcell[2] - along_share - dbefore;
        gate[1] = along_share + (by_input ? dm : Vec{});
        const Vec through = dbefore + (by_input ? Vec{} : dm);
        gate[2] = through * (1.0f - f);
        dcell[0] = dc * keep;
        dcell[1] = dn * keep;
        dcell[2] = through;
    }
};

}  // namespace TT_ISA
