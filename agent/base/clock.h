// SPDX-License-Identifier: Apache-2.0
// Clocks. Elsewhere time is an argument: only the edges (ring thread, app, tests) read a clock.
#pragma once

#include <atomic>
#include <cstdint>

namespace moat {

uint64_t MonotonicNs();  // CLOCK_MONOTONIC, as in event times
uint64_t BootNs();       // CLOCK_BOOTTIME, as in process start times; goes on during suspend
uint64_t WallNs();       // unix time

// CLOCK_MONOTONIC -> unix time by one offset, so that a batch of events is converted without a system call each and keeps its
// order. The wall clock may be stepped or slewed: call Refresh() now and then (each second is ample). Any thread.
class WallClock {
 public:
  WallClock() { Refresh(); }
  void Refresh();
  // Any number, also one that is no time: what is too large wraps.
  uint64_t ToUnixNs(uint64_t monotonic_ns) const {
    return monotonic_ns + static_cast<uint64_t>(offset_ns_.load(std::memory_order_relaxed));
  }
  uint64_t ToMonotonicNs(uint64_t unix_ns) const {
    return unix_ns - static_cast<uint64_t>(offset_ns_.load(std::memory_order_relaxed));
  }

 private:
  std::atomic<int64_t> offset_ns_{0};
};

}  // namespace moat
