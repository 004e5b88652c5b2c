// One step: straight from unpacked weights, or by a stepper that has packed them once and keeps the
// states of its lanes.
#pragma once

#include "forward.h"

namespace TT_ISA {

// Dot products of one vector with kRows rows of a matrix, `apart` numbers from one to the next.
template <int kRows>
inline void dot(const float* x, const float* matrix, int64_t apart, int64_t terms, float* sums) {
    Vec total[kRows] = {};
    int64_t k = 0;
    for (; k + kWidth <= terms; k += kWidth) {
        const Vec some = load(x + k);
        for (int r = 0; r < kRows; ++r) total[r] += load(matrix + r * apart + k) * some;
    }
    if (k < terms) {
        const int width = (int)(terms - k);
        const Vec some = load_part(x + k, width);
        for (int r = 0; r < kRows; ++r) total[r] += load_part(matrix + r * apart + k, width) * some;
    }
    for (int r = 0; r < kRows; ++r) sums[r] += sum(total[r]);
}

template <class Cell>
void step(const tt_layer& layer, int64_t lanes, const float* x, const float* h, const float* c,
          float* h_after, float* c_after) {
    constexpr int G = Cell::kGates;
    const int64_t H = layer.units, F = layer.features;
    for (int64_t lane = 0; lane < lanes; ++lane)
        for (int64_t at = 0; at < H; at += kWidth) {
            const int width = (int)std::min<int64_t>(kWidth, H - at);
            alignas(64) float gates[G + 1][kWidth] = {};
            for (int i = 0; i < width; ++i) {
                float sums[G], hidden[G];
                for (int g = 0; g < G; ++g) {
                    const int64_t row = g * H + at + i;
                    sums[g] = layer.bias_ih ? layer.bias_ih[row] : 0.0f;
                    hidden[g] = layer.bias_hh ? layer.bias_hh[row] : 0.0f;
                }
                dot<G>(x + lane * F, layer.weight_ih + (at + i) * F, H * F, F, sums);
                dot<G>(h + lane * H, layer.weight_hh + (at + i) * H, H * H, H, hidden);
                for (int g = 0; g < G; ++g)
                    gates[g][i] = Cell::kSplitsLastGate && g == G - 1 ? hidden[g]
                                                                      : sums[g] + hidden[g];
                gates[G][i] = sums[G - 1];
            }
            Vec sums[G], slots[Cell::kSlots], cell = {};
            for (int g = 0; g < G; ++g) sums[g] = load(gates[g]);
            if (Cell::kHasCell) cell = load_some(c + lane * H + at, width);
            const Vec after = Cell::forward(sums, load(gates[G]),
                                            load_some(h + lane * H + at, width), cell, slots);
            store_some(h_after + lane * H + at, after, width);
            if (Cell::kHasCell) store_some(c_after + lane * H + at, cell, width);
        }
}

// What tt_stepper points at.
class Stepper {
  public:
    virtual ~Stepper() = default;
    // Returns false, having done nothing, when a lane is not there or named twice.
    virtual bool step(int64_t count, const int64_t* which, const float* x, const uint8_t* resets,
                      float* y) = 0;
    virtual float* h() = 0;
    virtual float* c() = 0;
};

template <class Cell>
class CellStepper final : public Stepper {
  public:
    CellStepper(const tt_layer& layer, int64_t lanes, const float* h_restart,
                const float* c_restart)
        : packed_(layer),
          h_(lanes * layer.units),
          c_(Cell::kHasCell ? lanes * layer.units : 0),
          h_restart_(layer.units),
          c_restart_(layer.units),
          projected_((int64_t)kAtOnce * packed_.vectors * Cell::kGates * kWidth),
          named_((size_t)lanes, 0) {
        packed_.pack(layer, 0, 1);
        for (int64_t u = 0; u < layer.units; ++u) {
            h_restart_[u] = h_restart ? h_restart[u] : 0.0f;
            c_restart_[u] = c_restart ? c_restart[u] : 0.0f;
        }
        for (int64_t lane = 0; lane < lanes; ++lane) restart(lane);
    }

    float* h() override { return h_; }
    float* c() override { return Cell::kHasCell ? (float*)c_ : nullptr; }

    bool step(int64_t count, const int64_t* which, const float* x, const uint8_t* resets,
              float* y) override {
        if (!all_there(count, which)) return false;
        const int64_t H = packed_.units, F = packed_.features;
        for (int64_t begin = 0; begin < count; begin += kAtOnce) {
            const int some = (int)std::min<int64_t>(kAtOnce, count - begin);
            const float* inputs[kAtOnce];
            const float* rows[kAtOnce];
            Step<float> steps[kAtOnce];
            for (int i = 0; i < some; ++i) {
                const int64_t lane = which ? which[begin + i] : begin + i;
                if (resets && resets[begin + i]) restart(lane);
                inputs[i] = x + (begin + i) * F;
                rows[i] = h_ + lane * H;
                float* c = c_ + (Cell::kHasCell ? lane * H : 0);
                steps[i] = {projected_ + i * (int64_t)packed_.vectors * Cell::kGates * kWidth,
                            rows[i], rows[i], c, y + (begin + i) * H, c, nullptr, nullptr};
            }
            project(packed_, inputs, some, (float*)projected_);
            advance(packed_, steps, rows, some);
            for (int i = 0; i < some; ++i)
                std::copy_n(y + (begin + i) * H, H, const_cast<float*>(rows[i]));
        }
        return true;
    }

  private:
    // Lanes computed together: a few register blocks, so that panels are read from the cache seldom.
    static constexpr int kAtOnce = 48;

    bool all_there(int64_t count, const int64_t* which) {
        const auto lanes = (int64_t)named_.size();
        if (!which) return count <= lanes;
        ++calls_;
        for (int64_t i = 0; i < count; ++i) {
            if (which[i] < 0 || which[i] >= lanes || named_[(size_t)which[i]] == calls_)
                return false;
            named_[(size_t)which[i]] = calls_;
        }
        return true;
    }

    void restart(int64_t lane) {
        const int64_t H = packed_.units;
        std::copy_n((const float*)h_restart_, H, h_ + lane * H);
        if (Cell::kHasCell) std::copy_n((const float*)c_restart_, H, c_ + lane * H);
    }

    PackedLayer<Cell, float> packed_;
    Buffer<float> h_, c_, h_restart_, c_restart_, projected_;
    std::vector<uint64_t> named_;  // the last call that named each lane
    uint64_t calls_ = 0;
};

}  // namespace TT_ISA
