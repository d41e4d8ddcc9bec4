// SPDX-License-Identifier: Apache-2.0
// What the API counts of its callers, for metrics.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/api/audit.h"
#include "agent/api/refusal.h"
#include "agent/base/counters.h"

namespace moat::api {

constexpr size_t kCodes = 17;  // of gRPC

// Plain numbers, as of one moment.
struct ApiCounters {
  struct Calls {
    std::string method;  // of the table of roles; "other" for every other, so that a caller cannot make up rows
    std::array<uint64_t, kCodes> by_code{};
  };
  std::vector<Calls> calls;  // methods that were called
  std::array<uint64_t, static_cast<size_t>(Refusal::kCount)> refused{};  // connections
  uint64_t handshakes = 0;      // connections let in
  uint64_t connections = 0;     // that are open now
  uint64_t closed = 0;          // that would not be let in any more, or whose certificate had ended
  uint64_t rate_limited = 0;    // calls
  uint64_t denied = 0;          // calls, for want of a role
  uint64_t reloads = 0, reloads_failed = 0;  // of certificates
  bool stale = false;  // the last of them failed: what was in force before stays
  AuditCounts audit;
};

// What they are summed from. Any thread.
struct DoorCounters {
  std::array<Counter, static_cast<size_t>(Refusal::kCount)> refused;
  Counter handshakes, opened, ended, closed, rate_limited, denied, reloads, reloads_failed;
  std::atomic<bool> stale = false;
};

}  // namespace moat::api
