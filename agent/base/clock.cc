// SPDX-License-Identifier: Apache-2.0
#include "agent/base/clock.h"

#include <ctime>

namespace moat {

namespace {

uint64_t Read(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace

uint64_t MonotonicNs() { return Read(CLOCK_MONOTONIC); }
uint64_t BootNs() { return Read(CLOCK_BOOTTIME); }
uint64_t WallNs() { return Read(CLOCK_REALTIME); }

// The wall clock read between two reads of the monotonic one; of several tries the tightest, since a preemption in between would
// shift every event.
void WallClock::Refresh() {
  uint64_t best_width = UINT64_MAX;
  int64_t best = 0;
  for (int i = 0; i < 5; ++i) {
    uint64_t before = MonotonicNs();
    uint64_t wall = WallNs();
    uint64_t width = MonotonicNs() - before;
    if (width < best_width) {
      best_width = width;
      best = static_cast<int64_t>(wall - (before + width / 2));
    }
  }
  offset_ns_.store(best, std::memory_order_relaxed);
}

}  // namespace moat
