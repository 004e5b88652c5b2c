// Rows of pre-activations, one for each step: what gates are computed from.
//
// They are given or, where a step has few features, are products of these with a matrix, computed
// here for some steps at a time: a product by itself would write to memory, and its backward pass
// read from there, many times what it is computed from.
#pragma once

#include <algorithm>
#include <vector>

#include "maths.h"
#include "throughtime.h"

namespace TT_ISA {

// Steps that are computed before the next ones are begun: weights are loaded once for all of them,
// and what lies in between stays in the nearest cache.
constexpr int kTile = 8;

// Call work(place, width) for each vector of `count` numbers, the last of which may be in part.
template <class Work>
TT_INLINE void for_vectors(int64_t count, const Work& work) {
    int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth) work(i, kWidth);
    if (i < count) work(i, (int)(count - i));
}

// The rows of one lane.
class Rows {
public:
    Rows(const tt_gated& s, int64_t lane)
        : features_(s.features),
          width_(s.width),
          x_(s.x + lane * s.steps * s.features),
          weight_(s.weight),
          made_(s.weight ? (size_t)(kTile * s.width) : 0) {}

    int64_t width() const { return width_; }

    // The rows of kSteps steps from t on, one after the other.
    template <int kSteps>
    const float* at(int64_t t) {
        const float* const x = x_ + t * features_;
        if (!weight_) return x;
        for_vectors(width_, [&](int64_t i, int width) TT_ALWAYS {
            Vec sums[kSteps];
            const Vec bias = load_some(weight_ + features_ * width_ + i, width);
            for (int k = 0; k < kSteps; ++k) sums[k] = bias;
            for (int64_t f = 0; f < features_; ++f) {
                const Vec weights = load_some(weight_ + f * width_ + i, width);
                for (int k = 0; k < kSteps; ++k) sums[k] += x[k * features_ + f] * weights;
            }
            for (int k = 0; k < kSteps; ++k)
                store_some(made_.data() + k * width_ + i, sums[k], width);
        });
        return made_.data();
    }

protected:
    const int64_t features_, width_;
    const float* const x_;
    const float* const weight_;

private:
    std::vector<float> made_;
};

// The gradients of one lane's rows: where they are to be written, and what follows from them.
class RowGradients : Rows {
public:
    RowGradients(const tt_gated& s, const tt_gated_gradients& d, int64_t lane)
        : Rows(s, lane),
          dx_(d.dx + lane * s.steps * s.features),
          dweight_(s.weight ? d.dweight + lane * (s.features + 1) * s.width : nullptr),
          made_(s.weight ? (size_t)(kTile * s.width) : 0),
          sums_(s.weight ? (size_t)(kTile * s.features * kWidth) : 0) {
        if (dweight_) std::fill_n(dweight_, (features_ + 1) * width_, 0.0f);
    }

    float* at(int64_t t) { return dweight_ ? made_.data() : dx_ + t * features_; }

    // To be called when the gradients of kSteps steps from t on are where `at` says.
    template <int kSteps>
    void done(int64_t t) {
        if (!dweight_) return;
        const float* const x = x_ + t * features_;
        std::fill_n(sums_.data(), kSteps * features_ * kWidth, 0.0f);
        for_vectors(width_, [&](int64_t i, int width) TT_ALWAYS {
            Vec d[kSteps], total = {};
            for (int k = 0; k < kSteps; ++k)
                total += d[k] = load_some(made_.data() + k * width_ + i, width);
            add(features_, i, total, width);
            for (int64_t f = 0; f < features_; ++f) {
                const Vec weights = load_some(weight_ + f * width_ + i, width);
                float* const sums = sums_.data() + f * kSteps * kWidth;
                total = Vec{};
                for (int k = 0; k < kSteps; ++k) {
                    total += x[k * features_ + f] * d[k];
                    store(sums + k * kWidth, load(sums + k * kWidth) + weights * d[k]);
                }
                add(f, i, total, width);
            }
        });
        for (int64_t f = 0; f < features_; ++f)
            for (int k = 0; k < kSteps; ++k)
                dx_[(t + k) * features_ + f] = sum(load(&sums_[(f * kSteps + k) * kWidth]));
    }

    // Steps from t on to the end are not there.
    void absent(int64_t t, int64_t steps) {
        std::fill_n(dx_ + t * features_, (steps - t) * features_, 0.0f);
    }

private:
    TT_INLINE void add(int64_t row, int64_t i, Vec value, int width) {
        float* const to = dweight_ + row * width_ + i;
        store_some(to, load_some(to, width) + value, width);
    }

    float* const dx_;
    float* const dweight_;
    std::vector<float> made_, sums_;
};

}  // namespace TT_ISA
