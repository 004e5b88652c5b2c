// The C interface: the choice of an instruction set, and exceptions turned into return values.
#include <atomic>
#include <cstring>
#include <new>
#include <vector>

#if defined(TT_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels.h"
#include "threads.h"

namespace {

using tt::BFloat16Kernels;
using tt::Kernels;

// An instruction set.
struct Set {
    const char* name;
    const Kernels* kernels;
    const BFloat16Kernels* bfloat16;  // or null
};

#if defined(TT_AVX512)
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

#if defined(TT_AMX)
// Whether there are tiles, and the system lets this process use them. Linux wants to be asked, since
// they make what it keeps of a thread larger.
bool has_amx() {
    constexpr unsigned kTiles = 1u << 24, kBFloat16 = 1u << 22;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (kTiles | kBFloat16)) != (kTiles | kBFloat16))
        return false;
    constexpr long kAskFor = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
}
#endif

// The sets that were built and this machine can run, best last.
std::vector<Set> find_usable() {
    std::vector<Set> sets;
    const auto add = [&](const Kernels* kernels, const BFloat16Kernels* bfloat16 = nullptr) {
        sets.push_back({bfloat16 ? bfloat16->name : kernels->name, kernels, bfloat16});
    };
#if defined(TT_PORTABLE)
    add(tt::portable_kernels());
#endif
#if defined(TT_AVX2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        add(tt::avx2_kernels());
#endif
#if defined(TT_AVX512)
    if (has_avx512()) add(tt::avx512_kernels());
#if defined(TT_AVX512_BF16)
    if (has_avx512() && __builtin_cpu_supports("avx512bf16"))
        add(tt::avx512_kernels(), tt::avx512_bf16_kernels());
#endif
#if defined(TT_AMX)
    if (has_avx512() && __builtin_cpu_supports("avx512bf16") && has_amx())
        add(tt::avx512_kernels(), tt::amx_kernels());
#endif
#endif
    return sets;
}

const std::vector<Set>& usable() {
    static const std::vector<Set> sets = find_usable();
    return sets;
}

std::atomic<const Set*> in_use{nullptr};

const Set& chosen_set() {
    const Set* chosen = in_use.load(std::memory_order_acquire);
    if (!chosen) in_use = chosen = &usable().back();
    return *chosen;
}

const Kernels& kernels() { return *chosen_set().kernels; }

template <class Function>
int guarded(const Function& function) {
    try {
        function();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

bool can_run(const tt_layer& layer) {
    return layer.numbers == TT_FLOAT32 || chosen_set().bfloat16;
}

}  // namespace

// A stepper stays with the kernels that made it, and so does a map.
struct tt_stepper {
    const Kernels* kernels;
    void* stepper;
};

struct tt_map {
    const Kernels* kernels;
    void* map;
};

extern "C" {

int tt_interface(void) { return 3; }

const char* tt_instruction_set(void) { return usable().empty() ? nullptr : chosen_set().name; }

int tt_has_bfloat16(void) { return chosen_set().bfloat16 != nullptr; }

int tt_use_instruction_set(const char* name) {
    for (const Set& each : usable()) {
        if (strcmp(each.name, name)) continue;
        in_use = &each;
        return 0;
    }
    return 2;
}

void tt_use_pool(void* gomp_parallel) { tt::use_pool(gomp_parallel); }

int tt_forward(const tt_sequence* sequence) {
    if (!can_run(sequence->layer)) return 2;
    const Set& set = chosen_set();
    const bool wide = sequence->layer.numbers == TT_FLOAT32;
    return guarded([&] { (wide ? set.kernels->forward : set.bfloat16->forward)(*sequence); });
}

int tt_backward(const tt_sequence* sequence, const tt_gradients* gradients) {
    if (!can_run(sequence->layer)) return 2;
    const Set& set = chosen_set();
    const bool wide = sequence->layer.numbers == TT_FLOAT32;
    return guarded([&] {
        (wide ? set.kernels->backward : set.bfloat16->backward)(*sequence, *gradients);
    });
}

int tt_linear_forward(const tt_linear* linear) {
    return guarded([&] { kernels().linear_forward(*linear); });
}

int tt_linear_backward(const tt_linear* linear, const tt_linear_gradients* gradients) {
    return guarded([&] { kernels().linear_backward(*linear, *gradients); });
}

int tt_variant_forward(const tt_variant* variant) {
    return guarded([&] { kernels().variant_forward(*variant); });
}

int tt_variant_backward(const tt_variant* variant, const tt_variant_gradients* gradients) {
    return guarded([&] { kernels().variant_backward(*variant, *gradients); });
}

int tt_step(const tt_layer* layer, int64_t lanes, const float* x, const float* h, const float* c,
            float* h_after, float* c_after) {
    return guarded([&] { kernels().step(*layer, lanes, x, h, c, h_after, c_after); });
}

tt_stepper* tt_stepper_new(const tt_layer* layer, int64_t lanes, const float* h_restart,
                           const float* c_restart) {
    try {
        const Kernels* made_by = &kernels();
        void* stepper = made_by->stepper_new(*layer, lanes, h_restart, c_restart);
        return new tt_stepper{made_by, stepper};
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void tt_stepper_free(tt_stepper* stepper) {
    if (!stepper) return;
    stepper->kernels->stepper_free(stepper->stepper);
    delete stepper;
}

float* tt_stepper_h(tt_stepper* stepper) { return stepper->kernels->stepper_h(stepper->stepper); }
float* tt_stepper_c(tt_stepper* stepper) { return stepper->kernels->stepper_c(stepper->stepper); }

int tt_stepper_step(tt_stepper* stepper, int64_t count, const int64_t* which, const float* x,
                    const uint8_t* resets, float* y) {
    return stepper->kernels->stepper_step(stepper->stepper, count, which, x, resets, y) ? 0 : 3;
}

tt_map* tt_map_new(int64_t inputs, int64_t outputs, const float* weight, const float* bias) {
    try {
        const Kernels* made_by = &kernels();
        void* map = made_by->map_new(inputs, outputs, weight, bias);
        return new tt_map{made_by, map};
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void tt_map_free(tt_map* map) {
    if (!map) return;
    map->kernels->map_free(map->map);
    delete map;
}

void tt_map_apply(const tt_map* map, int64_t count, const float* x, float* y) {
    map->kernels->map_apply(map->map, count, x, y);
}

int tt_gated_forward(const tt_gated* gated) {
    return guarded([&] { kernels().gated_forward(*gated); });
}

int tt_gated_backward(const tt_gated* gated, const tt_gated_gradients* gradients) {
    return guarded([&] { kernels().gated_backward(*gated, *gradients); });
}

}  // extern "C"
