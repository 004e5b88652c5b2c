// What the classic cells compute from the sums of their gates, and its derivative; one vector of
// units at a time. Sums live in product.h, time and lanes in
// forward.h and backward.h.
//
// A cell says how many gates its input and its state are multiplied for (in torch's order of rows),
// and how many numbers a unit saves for backward (slots). `backward` overwrites the slots by the
// gradients of the gates' sums. Of those, the first kGates are of the input's product and the kGates
// from kHiddenSlot on are of the state's. Slot g of the former belongs to torch's kInputRow(g)-th rows;
// of the latter the g-th to its g-th.
#pragma once

#include "maths.h"
#include "throughtime.h"

namespace TT_ISA {

// Element by element: h' = phi(s). Slot: h', then its sum's gradient.
template <bool kRelu>
struct RnnCell {
    static constexpr int kGates = 1, kSlots = 1, kHiddenSlot = 0;
    static constexpr bool kHasCell = false, kSplitsLastGate = false;
    static constexpr int kInputRow(int slot) { return slot; }

    static TT_INLINE Vec forward(const Vec* sum, Vec /*projected*/, Vec /*h*/, Vec& /*c*/, Vec* slot) {
        return slot[0] = kRelu ? relu(sum[0]) : tanh(sum[0]);
    }

    static TT_INLINE Vec backward(Vec dh, Vec* slot, Vec /*h*/, Vec /*c*/, Vec& /*dc*/) {
        const Vec after = slot[0];
        // Written so that where h' is NaN the gradient passes, as it does through torch's relu.
        slot[0] = kRelu ? (after <= 0.0f ? Vec{} : dh) : dh * (1.0f - after * after);
        return Vec{};
    }
};

// i, f, g, o: c' = f c + i g, h' = o tanh(c'). Slots: i, f, g, o.
struct LstmCell {
    static constexpr int kGates = 4, kSlots = 4, kHiddenSlot = 0;
    static constexpr bool kHasCell = true, kSplitsLastGate = false;
    static constexpr int kInputRow(int slot) { return slot; }

    static TT_INLINE Vec forward(const Vec* sum, Vec /*projected*/, Vec /*h*/, Vec& c, Vec* slot) {
        slot[0] = sigmoid(sum[0]);
        slot[1] = sigmoid(sum[1]);
        slot[2] = tanh(sum[2]);
        slot[3] = sigmoid(sum[3]);
        c = slot[1] * c + slot[0] * slot[2];
        return slot[3] * tanh(c);
    }

    static TT_INLINE Vec backward(Vec dh, Vec* slot, Vec /*h*/, Vec c, Vec& dc) {
        const Vec i = slot[0], f = slot[1], g = slot[2], o = slot[3];
        const Vec t = tanh(f * c + i * g);
        const Vec d = dc + dh * o * (1.0f - t * t);
        slot[0] = d * g * i * (1.0f - i);
        slot[1] = d * c * f * (1.0f - f);
        slot[2] = d * i * (1.0f - g * g);
        slot[3] = dh * t * o * (1.0f - o);
        dc = d * f;
        return Vec{};
    }
};

// r, z, n: n = tanh(x_n + r h_n), h' = (1 - z) n + z h. The last gate's two products are kept apart.
// Slots: n, r, z, h_n, so that the input's gradients are the first three, the state's the last.
struct GruCell {
    static constexpr int kGates = 3, kSlots = 4, kHiddenSlot = 1;
    static constexpr bool kHasCell = false, kSplitsLastGate = true;
    static constexpr int kInputRow(int slot) { return (slot + 2) % 3; }

    static TT_INLINE Vec forward(const Vec* sum, Vec projected, Vec h, Vec& /*c*/, Vec* slot) {
        const Vec r = sigmoid(sum[0]), z = sigmoid(sum[1]), n = tanh(projected + r * sum[2]);
        slot[0] = n;
        slot[1] = r;
        slot[2] = z;
        slot[3] = sum[2];
        return (1.0f - z) * n + z * h;
    }

    static TT_INLINE Vec backward(Vec dh, Vec* slot, Vec h, Vec /*c*/, Vec& /*dc*/) {
        const Vec n = slot[0], r = slot[1], z = slot[2], hidden = slot[3];
        const Vec dn = dh * (1.0f - z) * (1.0f - n * n);
        slot[0] = dn;
        slot[1] = dn * hidden * r * (1.0f - r);
        slot[2] = dh * (h - n) * z * (1.0f - z);
        slot[3] = dn * r;
        return dh * z;
    }
};

// Call function(Cell{}) of one of tt_cell.
template <class Function>
auto for_cell(int32_t cell, const Function& function) {
    switch (cell) {
        case TT_RNN_TANH: return function(RnnCell<false>{});
        case TT_RNN_RELU: return function(RnnCell<true>{});
        case TT_LSTM: return function(LstmCell{});
        default: return function(GruCell{});
    }
}

}  // namespace TT_ISA
