// SPDX-License-Identifier: Apache-2.0
// Thresholds of detectors: section "detect" of moatd.yaml. Each default has its reason beside it.
#pragma once

#include <cstdint>

namespace moat::config {

struct Detect {
  bool enabled = true;
  // An open finding that is seen again is told anew after this long, then after twice as long, and so on up to the second: a flood is a few
  // messages with exact counts.
  uint32_t fold_ms = 1000;
  uint32_t fold_max_ms = 300'000;
  uint32_t max_open = 4096;  // findings that are remembered; the one that was seen longest ago is closed for a new one
  bool operator==(const Detect&) const = default;
};

}  // namespace moat::config
