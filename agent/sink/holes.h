// SPDX-License-Identifier: Apache-2.0
// Ranges of numbers that are missing, disjoint and in order. There are few: each is a place on disk that was damaged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace moat::sink {

class Holes {
 public:
  // [begin, end); nothing when empty.
  void Add(uint64_t begin, uint64_t end) {
    if (begin >= end) {
      return;
    }
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const auto& [a, b] : ranges_) {
      if (b < begin || a > end) {
        ranges.emplace_back(a, b);
      } else {
        begin = std::min(begin, a);
        end = std::max(end, b);
      }
    }
    ranges.emplace_back(begin, end);
    std::ranges::sort(ranges);
    ranges_ = std::move(ranges);
  }
  // Of [begin, end) how many are missing.
  uint64_t Count(uint64_t begin, uint64_t end) const {
    uint64_t count = 0;
    for (const auto& [a, b] : ranges_) {
      const uint64_t low = std::max(a, begin), high = std::min(b, end);
      count += high > low ? high - low : 0;
    }
    return count;
  }
  const std::vector<std::pair<uint64_t, uint64_t>>& ranges() const { return ranges_; }

 private:
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

}  // namespace moat::sink
