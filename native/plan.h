// How the work of a whole sequence is divided, and where each of its rows reads and writes.
//
// Work is divided by lanes: a shard is some lanes for all of their steps, so that no thread waits for
// another in the middle. Within a shard, time goes in chunks that fit in the cache. Lanes are sorted
// by length, so those still there at a step come first.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "threads.h"
#include "throughtime.h"
#include "vector.h"

namespace TT_ISA {

// Aligned memory that frees itself and is not filled.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t count)
        : data_(static_cast<T*>(
              ::operator new(sizeof(T) * (size_t)(count > 0 ? count : 1), kAlignment))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { ::operator delete(data_, kAlignment); }
    operator T*() const { return data_; }
    void clear(int64_t count) { memset((void*)data_, 0, sizeof(T) * (size_t)count); }

  private:
    static constexpr std::align_val_t kAlignment{64};
    T* data_;
};

// The cache that one chunk of time should fit in, in numbers of four bytes.
constexpr int64_t kChunkNumbers = 64 * 1024;
// Multiplications below which one more thread costs more than it saves.
constexpr int64_t kWorthAThread = 200 * 1000;

// Which lanes are whose, and where each lane's rows begin.
struct Plan {
    int64_t rows;
    std::vector<int64_t> length, offset;        // of each lane
    std::vector<std::vector<int64_t>> shards;   // lanes, longest first
};

// How many threads so many multiplications are worth, when they can be cut in at most `most` parts.
inline int64_t threads_for(int64_t threads, int64_t multiplications, int64_t most) {
    return std::max<int64_t>(1, std::min({threads, most, multiplications / kWorthAThread + 1}));
}

// Sequence: anything with threads, lanes, steps and lengths; `multiplications` of each row.
template <class Sequence>
Plan plan_of(const Sequence& s, int64_t multiplications) {
    Plan plan;
    plan.length.assign((size_t)s.lanes, s.steps);
    if (s.lengths) std::copy(s.lengths, s.lengths + s.lanes, plan.length.begin());
    plan.offset.resize((size_t)s.lanes);
    plan.rows = 0;
    for (size_t lane = 0; lane < plan.length.size(); ++lane) {
        plan.offset[lane] = plan.rows;
        plan.rows += plan.length[lane];
    }
    std::vector<int64_t> order((size_t)s.lanes);
    std::iota(order.begin(), order.end(), 0);
    if (s.lengths)
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            return plan.length[(size_t)a] > plan.length[(size_t)b];
        });
    const int64_t shards = threads_for(s.threads, plan.rows * multiplications, s.lanes);
    plan.shards.resize((size_t)shards);
    // Dealt out like cards there and back, so that every shard gets long and short ones.
    for (int64_t i = 0; i < s.lanes; ++i) {
        const int64_t turn = i % (2 * shards);
        plan.shards[(size_t)(turn < shards ? turn : 2 * shards - 1 - turn)].push_back(
            order[(size_t)i]);
    }
    return plan;
}

template <class Cell>
Plan plan_of(const tt_sequence& s) {
    return plan_of(s, (s.layer.features + s.layer.units) * s.layer.units * Cell::kGates);
}

// What step t of a lane starts from: (H,), of the state h.
inline const float* h_before(const tt_sequence& s, int64_t lane, int64_t t) {
    const int64_t H = s.layer.units;
    if (s.resets && s.resets[lane * s.steps + t]) return s.h_restart + lane * H;
    return t ? s.y + (lane * s.steps + t - 1) * H : s.h + lane * H;
}

inline int64_t chunk_steps(int64_t lanes, int64_t numbers_of_a_row) {
    return std::max<int64_t>(1, kChunkNumbers / std::max<int64_t>(1, lanes * numbers_of_a_row));
}

}  // namespace TT_ISA
