// SPDX-License-Identifier: Apache-2.0
// Counters that one or more threads raise and any thread reads. Relaxed: a reader sees a recent value, and sums of several
// counters agree only when the writers are at rest.
#pragma once

#include <atomic>
#include <cstdint>

namespace moat {

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  // For a counter with a single writing thread: a plain load and store (1 ns), no locked instruction (5 ns and more).
  void AddOwned(uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace moat
