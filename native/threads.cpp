#include "threads.h"

#include <atomic>
#include <exception>
#include <new>
#include <thread>
#include <vector>

namespace tt {
namespace {

typedef void (*GompParallel)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

std::atomic<GompParallel> pool{nullptr};

struct Job {
    int64_t parts;
    void (*work)(void*, int64_t);
    void* context;
    std::atomic<int64_t> next{0};
    std::atomic<bool> out_of_memory{false};
};

// Take parts until there are none left; so it does not matter how many threads really come.
void take_parts(void* data) {
    Job& job = *static_cast<Job*>(data);
    for (int64_t part; (part = job.next.fetch_add(1)) < job.parts;) {
        try {
            job.work(job.context, part);
        } catch (const std::bad_alloc&) {
            job.out_of_memory = true;
        }
    }
}

}  // namespace

void use_pool(void* gomp_parallel) { pool = reinterpret_cast<GompParallel>(gomp_parallel); }

void run_parts(int64_t parts, void (*work)(void*, int64_t), void* context) {
    Job job{parts, work, context};
    if (parts <= 1) {
        take_parts(&job);
    } else if (const GompParallel parallel = pool.load()) {
        parallel(take_parts, &job, static_cast<unsigned>(parts), 0);
    } else {
        std::vector<std::thread> threads;
        try {
            for (int64_t i = 1; i < parts; ++i) threads.emplace_back(take_parts, &job);
        } catch (const std::exception&) {
            // No more threads to be had: those that there are do it all.
        }
        take_parts(&job);
        for (std::thread& thread : threads) thread.join();
    }
    if (job.out_of_memory) throw std::bad_alloc();
}

}  // namespace tt
