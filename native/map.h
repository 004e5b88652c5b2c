// A linear map with its weights packed once, such as the head above a stepper.
#pragma once

#include <algorithm>

#include "plan.h"
#include "product.h"

namespace TT_ISA {

// y = W x + b of rows in float32, one row like another whatever is beside it. Applying it changes
// nothing of it.
class LinearMap {
  public:
    LinearMap(int64_t inputs, int64_t outputs, const float* weight, const float* bias)
        : inputs_(inputs),
          outputs_(outputs),
          panels_(panel_size<float>(inputs, 1) * vectors_of(outputs)),
          start_((int64_t)vectors_of(outputs) * kWidth) {
        pack_gates<float>(weight, outputs, inputs, 1, 0, vectors_of(outputs), panels_);
        start_.clear((int64_t)vectors_of(outputs) * kWidth);
        if (bias) std::copy_n(bias, outputs, (float*)start_);
    }

    void apply(int64_t count, const float* x, float* y) const {
        for (int64_t begin = 0; begin < count; begin += kAtOnce) {
            const int some = (int)std::min<int64_t>(kAtOnce, count - begin);
            const float* rows[kAtOnce];
            float* outputs[kAtOnce];
            for (int i = 0; i < some; ++i) {
                rows[i] = x + (begin + i) * inputs_;
                outputs[i] = y + (begin + i) * outputs_;
            }
            multiply_rows<float>(rows, outputs, some, panels_, inputs_, outputs_, start_);
        }
    }

  private:
    // Rows computed together: a few register blocks, so that panels are read from the cache seldom.
    static constexpr int kAtOnce = 48;

    const int64_t inputs_, outputs_;
    Buffer<float> panels_, start_;
};

}  // namespace TT_ISA
