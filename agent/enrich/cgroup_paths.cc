// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/cgroup_paths.h"

namespace moat::enrich {

namespace {
constexpr uint64_t kWalkEveryNs = 100'000'000;
// Cgroups on a busy node: a few thousand. Beyond this the memory is forgotten and built anew: a host that makes cgroups without
// end must not grow the agent.
constexpr size_t kMaxPaths = 32768;
}  // namespace

std::string CgroupPaths::Path(uint64_t id, uint64_t now_ns) {
  if (id == 0) {
    return "";
  }
  if (auto it = paths_.find(id); it != paths_.end()) {
    return it->second;
  }
  if (HandlesWork()) {
    auto path = CgroupPath(mount_, id);
    if (!path) {
      return "";
    }
    if (paths_.size() >= kMaxPaths) {
      paths_.clear();
    }
    return paths_.emplace(id, std::move(*path)).first->second;
  }
  if (now_ns >= next_walk_ns_) {
    next_walk_ns_ = now_ns + kWalkEveryNs;
    Walk();
    if (auto it = paths_.find(id); it != paths_.end()) {
      return it->second;
    }
  }
  return "";
}

// Asked once, by a cgroup that is there for sure: its own top.
bool CgroupPaths::HandlesWork() {
  if (handles_ == Handles::kUntried) {
    auto top = CgroupId(mount_, "/");
    handles_ = top && CgroupPath(mount_, *top) ? Handles::kWork : Handles::kRefused;
  }
  return handles_ == Handles::kWork;
}

void CgroupPaths::Walk() {
  ++walks_;
  if (paths_.size() >= kMaxPaths) {
    paths_.clear();
  }
  WalkCgroups(mount_, kMaxPaths, [this](uint64_t id, const std::string& path) {
    paths_.insert_or_assign(id, path);
    return true;
  });
}

}  // namespace moat::enrich
