// The classic cells with products of bfloat16. Compiled once for each instruction set that has them,
// with TT_ISA as the namespace of what is in it.
#include "kernels.h"

#include "backward.h"
#include "forward.h"

namespace TT_ISA {
namespace {

void run_forward(const tt_sequence& s) {
    for_cell(s.layer.cell, [&](auto cell) { forward<decltype(cell), BFloat16>(s); });
}

void run_backward(const tt_sequence& s, const tt_gradients& d) {
    for_cell(s.layer.cell, [&](auto cell) { backward<decltype(cell), BFloat16>(s, d); });
}

}  // namespace
}  // namespace TT_ISA

namespace tt {

const BFloat16Kernels* TT_JOIN(TT_ISA, _kernels)() {
    static const BFloat16Kernels kernels = {TT_TEXT(TT_ISA), TT_ISA::run_forward,
                                            TT_ISA::run_backward};
    return &kernels;
}

}  // namespace tt
