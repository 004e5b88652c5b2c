// The kernels of one instruction set, as a table; kernels.cpp makes one for each it is compiled for.
#pragma once

#include "throughtime.h"

namespace tt {

struct Kernels {
    const char* name;
    bool has_bfloat16;
    void (*forward)(const tt_sequence&);
    void (*backward)(const tt_sequence&, const tt_gradients&);
    void (*linear_forward)(const tt_linear&);
    void (*linear_backward)(const tt_linear&, const tt_linear_gradients&);
    void (*step)(const tt_layer&, int64_t, const float*, const float*, const float*, float*, float*);
    void* (*stepper_new)(const tt_layer&, int64_t, const float*, const float*);
    void (*stepper_free)(void*);
    float* (*stepper_h)(void*);
    float* (*stepper_c)(void*);
    bool (*stepper_step)(void*, int64_t, const int64_t*, const float*, const uint8_t*, float*);
    void (*variant_forward)(const tt_variant&);
    void (*variant_backward)(const tt_variant&, const tt_variant_gradients&);
    void (*gated_forward)(const tt_gated&);
    void (*gated_backward)(const tt_gated&, const tt_gated_gradients&);
};

// Null where the compiler could not make them.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512_bf16_kernels();

}  // namespace tt
