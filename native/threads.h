// Running parts of a piece of work side by side, on the threads that the caller's library already
// has: two pools on the same cores would fight. Compiled once, not per instruction set.
#pragma once

#include <cstdint>

namespace tt {

// Call work(context, part) for each part in [0, parts), each once, on up to `parts` threads.
// An exception (only std::bad_alloc is thrown here) in any part is thrown again at the end.
void run_parts(int64_t parts, void (*work)(void*, int64_t), void* context);

void use_pool(void* gomp_parallel);

}  // namespace tt

template <class Work>
void in_parallel(int64_t parts, const Work& work) {
    tt::run_parts(
        parts, [](void* context, int64_t part) { (*static_cast<const Work*>(context))(part); },
        const_cast<Work*>(&work));
}
