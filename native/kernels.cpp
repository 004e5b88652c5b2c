// Everything in float32. Compiled once for each instruction set, with TT_ISA as the namespace of what
// is in it.
#include "kernels.h"

#include "backward.h"
#include "forward.h"
#include "gated.h"
#include "linear.h"
#include "map.h"
#include "selective.h"
#include "step.h"
#include "variant_backward.h"
#include "variant_forward.h"

namespace TT_ISA {
namespace {

void run_forward(const tt_sequence& s) {
    for_cell(s.layer.cell, [&](auto cell) { forward<decltype(cell), float>(s); });
}

void run_backward(const tt_sequence& s, const tt_gradients& d) {
    for_cell(s.layer.cell, [&](auto cell) { backward<decltype(cell), float>(s, d); });
}

void run_linear_forward(const tt_linear& s) {
    s.is_complex ? linear_forward<ComplexStep>(s) : linear_forward<RealStep>(s);
}

void run_linear_backward(const tt_linear& s, const tt_linear_gradients& d) {
    s.is_complex ? linear_backward<ComplexStep>(s, d) : linear_backward<RealStep>(s, d);
}

template <class Function>
void for_variant(int32_t cell, const Function& function) {
    switch (cell) {
        case TT_VARIANT_TANH: return function(RnnVariant<false>{});
        case TT_VARIANT_RELU: return function(RnnVariant<true>{});
        case TT_VARIANT_LSTM: return function(LstmVariant<false>{});
        case TT_VARIANT_COUPLED: return function(LstmVariant<true>{});
        case TT_VARIANT_SLSTM: return function(SlstmVariant{});
        default: return function(GruVariant{});
    }
}

void run_variant_forward(const tt_variant& v) {
    for_variant(v.cell, [&](auto cell) { variant_forward<decltype(cell)>(v); });
}

void run_variant_backward(const tt_variant& v, const tt_variant_gradients& d) {
    for_variant(v.cell, [&](auto cell) { variant_backward<decltype(cell)>(v, d); });
}

void run_step(const tt_layer& layer, int64_t lanes, const float* x, const float* h, const float* c,
              float* h_after, float* c_after) {
    for_cell(layer.cell, [&](auto cell) {
        step<decltype(cell)>(layer, lanes, x, h, c, h_after, c_after);
    });
}

void* new_stepper(const tt_layer& layer, int64_t lanes, const float* h, const float* c) {
    return for_cell(layer.cell, [&](auto cell) -> void* {
        return static_cast<Stepper*>(new CellStepper<decltype(cell)>(layer, lanes, h, c));
    });
}

template <class UnitOfKind>
struct Kind {
    using Unit = UnitOfKind;
};

template <class Function>
void for_unit(int32_t gates, const Function& function) {
    switch (gates) {
        case TT_MIN_GRU: return function(Kind<Real<MinGru>>{});
        case TT_MIN_LSTM: return function(Kind<Real<MinLstm>>{});
        case TT_RG_LRU: return function(Kind<Real<RgLru>>{});
        case TT_ROTATION: return function(Kind<Rotation>{});
        default: return function(Kind<Real<Hgrn>>{});
    }
}

void run_gated_forward(const tt_gated& s) {
    if (s.gates == TT_SELECTIVE) return selective_forward(s);
    for_unit(s.gates, [&](auto kind) { gated_forward<typename decltype(kind)::Unit>(s); });
}

void run_gated_backward(const tt_gated& s, const tt_gated_gradients& d) {
    if (s.gates == TT_SELECTIVE) return selective_backward(s, d);
    for_unit(s.gates, [&](auto kind) { gated_backward<typename decltype(kind)::Unit>(s, d); });
}

Stepper& as_stepper(void* stepper) { return *static_cast<Stepper*>(stepper); }

void free_stepper(void* stepper) { delete &as_stepper(stepper); }
float* h_of_stepper(void* stepper) { return as_stepper(stepper).h(); }
float* c_of_stepper(void* stepper) { return as_stepper(stepper).c(); }

bool run_stepper(void* stepper, int64_t count, const int64_t* which, const float* x,
                 const uint8_t* resets, float* y) {
    return as_stepper(stepper).step(count, which, x, resets, y);
}

void* new_map(int64_t inputs, int64_t outputs, const float* weight, const float* bias) {
    return new LinearMap(inputs, outputs, weight, bias);
}

void free_map(void* map) { delete static_cast<LinearMap*>(map); }

void apply_map(const void* map, int64_t count, const float* x, float* y) {
    static_cast<const LinearMap*>(map)->apply(count, x, y);
}

}  // namespace
}  // namespace TT_ISA

namespace tt {

const Kernels* TT_JOIN(TT_ISA, _kernels)() {
    using namespace TT_ISA;
    static const Kernels kernels = {
        TT_TEXT(TT_ISA),      run_forward,         run_backward,
        run_linear_forward,   run_linear_backward, run_step,          new_stepper,
        free_stepper,         h_of_stepper,        c_of_stepper,      run_stepper,
        new_map,              free_map,            apply_map,
        run_variant_forward,  run_variant_backward, run_gated_forward, run_gated_backward};
    return &kernels;
}

}  // namespace tt
