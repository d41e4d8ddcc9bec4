// SPDX-License-Identifier: Apache-2.0
// What somebody has changed of what moatd keeps in the kernel, on its way to a finding. Any thread.
#pragma once

#include <spdlog/spdlog.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace moat::app {

class Tampering {
 public:
  // Beyond kMost between two calls of Take(), the rest is in the log alone.
  void Add(std::string what) {
    spdlog::error("policies: {}", what);
    const std::lock_guard lock(mutex_);
    if (told_.size() < kMost) {
      told_.push_back(std::move(what));
    }
  }
  std::vector<std::string> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(told_, {});
  }

 private:
  static constexpr size_t kMost = 256;
  std::mutex mutex_;
  std::vector<std::string> told_;
};

}  // namespace moat::app
