// The linear map behind what a unit reads out, y = W u + b: made for some steps at a time, while u is
// in the nearest caches. Of u nothing is ever written; backward makes it again.
#pragma once

#include <algorithm>
#include <vector>

#include "product.h"
#include "rows.h"
#include "weights.h"

namespace TT_ISA {

// Steps that are multiplied together; a few left over would take as long as many.
constexpr int64_t kLeaveSteps = 96;
static_assert(kLeaveSteps % kTile == 0, "no tile of steps is in two of these");
static_assert(kLeaveSteps % rows_at_once(1) == 0 && kLeaveSteps <= kBlockRows, "none are left over");

// What a thread needs to leave: packed weights and room for some steps.
class Leave {
  public:
    Leave(const tt_gated& s, bool back)
        : size_(s.leave_weight ? s.size : 0),
          outputs_(s.leave_weight ? s.outputs : 0),
          panels_(back ? panel_size<float>(outputs_, 1) * vectors_of(size_)
                       : panel_size<float>(size_, 1) * vectors_of(outputs_)),
          bias_(vectors_of(outputs_) * (int64_t)kWidth),
          u_(kLeaveSteps * size_),
          du_(back ? kLeaveSteps * size_ : 0),
          packed_u_(back ? kPanel<float> * vectors_of(size_) : 0),
          packed_dy_(back ? kPanel<float> * vectors_of(outputs_) : 0) {
        if (!size_) return;
        static constexpr int kInOrder[] = {0};
        if (back)
            pack_transposed<float>(s.leave_weight, outputs_, size_, kInOrder, 1, 0,
                                   vectors_of(size_), panels_);
        else
            pack_gates<float>(s.leave_weight, outputs_, size_, 1, 0, vectors_of(outputs_), panels_);
        bias_.clear(vectors_of(outputs_) * (int64_t)kWidth);
        if (s.leave_bias) std::copy_n(s.leave_bias, outputs_, (float*)bias_);
    }

    // Where u of step t is to be written, or its gradient lies.
    float* u(int64_t t) const { return u_ + t % kLeaveSteps * size_; }
    const float* du(int64_t t) const { return du_ + t % kLeaveSteps * size_; }

    // To be called when u is there up to before step t, of so many of a lane, whose outputs are y.
    void forward(int64_t t, int64_t length, float* y) {
        if (t % kLeaveSteps && t != length) return;
        const int64_t first = (t - 1) / kLeaveSteps * kLeaveSteps;
        const float* rows[kLeaveSteps];
        float* outputs[kLeaveSteps];
        for (int64_t k = first; k < t; ++k) {
            rows[k - first] = u(k);
            outputs[k - first] = y + k * outputs_;
        }
        multiply_rows(rows, outputs, (int)(t - first), (const float*)panels_, size_, outputs_,
                      (const float*)bias_);
    }

    // Going back: to be called before the steps that end before t are begun; makes du of all those
    // that are multiplied together.
    void open(int64_t t, int64_t length, const float* dy) {
        if (t % kLeaveSteps && t != length) return;
        const int64_t first = (t - 1) / kLeaveSteps * kLeaveSteps;
        const float* rows[kLeaveSteps];
        float* outputs[kLeaveSteps];
        for (int64_t k = first; k < t; ++k) {
            rows[k - first] = dy + k * outputs_;
            outputs[k - first] = du_ + (k - first) * size_;
        }
        multiply_rows(rows, outputs, (int)(t - first), (const float*)panels_, outputs_, size_,
                      nullptr);
    }

    // To be called when u is there from step t on; adds to the gradients of weight and bias.
    void close(int64_t t, int64_t length, const float* dy, float* dweight, float* dbias) {
        if (t % kLeaveSteps) return;
        const int64_t count = std::min(kLeaveSteps, length - t);
        const float *of_u[kLeaveSteps], *of_dy[kLeaveSteps];
        for (int64_t k = 0; k < count; ++k) {
            of_u[k] = u(t + k);
            of_dy[k] = dy + (t + k) * outputs_;
        }
        for_vectors(outputs_, [&](int64_t i, int width) TT_ALWAYS {
            Vec total = {};
            for (int64_t k = 0; k < count; ++k) total += load_some(of_dy[k] + i, width);
            store_some(dbias + i, load_some(dbias + i, width) + total, width);
        });
        pack_rows(of_u, count, 0, size_, (float*)packed_u_);
        pack_rows(of_dy, count, 0, outputs_, (float*)packed_dy_);
        compute_tiles<float>(packed_dy_, packed_u_, count, outputs_,
                             {dweight, size_, 0, size_, false});
    }

  private:
    int64_t size_, outputs_;
    Buffer<float> panels_, bias_, u_, du_, packed_u_, packed_dy_;
};

}  // namespace TT_ISA
