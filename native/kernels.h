// The kernels of one instruction set, as tables; kernels.cpp and bfloat16.cpp
// make one for each that they are compiled for.
#pragma once

#include "throughtime.h"

namespace tt {

struct Kernels {
    const char* name;
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
    void* (*map_new)(int64_t, int64_t, const float*, const float*);
    void (*map_free)(void*);
    void (*map_apply)(const void*, int64_t, const float*, float*);
    void (*variant_forward)(const tt_variant&);
    void (*variant_backward)(const tt_variant&, const tt_variant_gradients&);
    void (*gated_forward)(const tt_gated&);
    void (*gated_backward)(const tt_gated&, const tt_gated_gradients&);
};

// What a set that multiplies bfloat16 adds to those of AVX-512, of the classic cells.
struct BFloat16Kernels {
    const char* name;
    void (*forward)(const tt_sequence&);
    void (*backward)(const tt_sequence&, const tt_gradients&);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const BFloat16Kernels* avx512_bf16_kernels();
const BFloat16Kernels* amx_kernels();

#define TT_JOIN_(a, b) a##b
#define TT_JOIN(a, b) TT_JOIN_(a, b)
#define TT_TEXT_(a) #a
#define TT_TEXT(a) TT_TEXT_(a)

}  // namespace tt
