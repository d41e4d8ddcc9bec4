// SPDX-License-Identifier: Apache-2.0
// The cgroups of this host and who they are: what a compiled policy needs a row for.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/app/workload_watch.h"
#include "agent/base/cgroup.h"
#include "agent/event/workload.h"
#include "agent/policy/compile.h"

namespace moat::app {

// One thread at a time.
class CgroupRows {
 public:
  // scope: as in configuration. Cgroups above it have no row, nor have those that are too deep for the kernel to look at. workloads must
  // outlive it.
  CgroupRows(Cgroup2Mount mount, std::string scope, WorkloadWatch& workloads)
      : mount_(std::move(mount)), scope_(std::move(scope)), workloads_(workloads) {}

  // All there are now. set: whose subjects may name cgroups.
  void AddAll(const policy::Set& set, policy::Compiler& compiler);
  // One that came. False: it needs no row, or cannot be found: it is gone, or not there yet, for the kernel tells of a cgroup a moment before
  // anybody can look it up. So it is looked for again by AddEarly.
  bool AddOne(uint64_t id, uint64_t now_ns, const policy::Set& set, policy::Compiler& compiler);
  bool AddEarly(uint64_t now_ns, const policy::Set& set, policy::Compiler& compiler);
  bool any_early() const { return !early_.empty(); }
  // Those of which more is known than when their row was made. False: none.
  bool AddChanged(policy::Compiler& compiler);
  // Those that went.
  void Forget(const std::vector<uint64_t>& ids);

 private:
  bool Find(uint64_t id, bool& found, const policy::Set& set, policy::Compiler& compiler);
  bool Add(uint64_t id, const std::string& path, const policy::Set& set, policy::Compiler& compiler);

  const Cgroup2Mount mount_;
  const std::string scope_;
  WorkloadWatch& workloads_;
  std::unordered_map<uint64_t, uint64_t> early_;  // came, and cannot be found yet -> until when it is looked for
  std::unordered_map<uint64_t, event::Workload> told_;  // pods, containers and jobs with a row, as it was made
};

}  // namespace moat::app
