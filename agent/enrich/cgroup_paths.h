// SPDX-License-Identifier: Apache-2.0
// Cgroup id -> path, remembered. A path is kept after its cgroup is gone, since events of its processes may still come.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "agent/base/cgroup.h"

namespace moat::enrich {

// One thread.
class CgroupPaths {
 public:
  explicit CgroupPaths(Cgroup2Mount mount) : mount_(std::move(mount)) {}

  // "" when unknown. A miss asks the kernel by file handle; where that is refused (no CAP_DAC_READ_SEARCH) it walks the tree, at
  // most once in 100 ms whatever is asked.
  std::string Path(uint64_t id, uint64_t now_ns);

  uint64_t walks() const { return walks_; }
  size_t size() const { return paths_.size(); }

 private:
  bool HandlesWork();
  void Walk();

  Cgroup2Mount mount_;
  std::unordered_map<uint64_t, std::string> paths_;
  enum class Handles : uint8_t { kUntried, kWork, kRefused };
  Handles handles_ = Handles::kUntried;
  uint64_t next_walk_ns_ = 0;
  uint64_t walks_ = 0;
};

}  // namespace moat::enrich
