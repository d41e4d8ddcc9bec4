// SPDX-License-Identifier: Apache-2.0
// The cgroups of this host and who they are: what a compiled policy needs a row for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/cgroup.h"
#include "agent/policy/compile.h"

namespace moat::app {

// One thread.
class CgroupRows {
 public:
  // scope: as in configuration. Cgroups above it have no row, nor have those that are too deep for the kernel to look at.
  CgroupRows(Cgroup2Mount mount, std::string scope) : mount_(std::move(mount)), scope_(std::move(scope)) {}

  // All there are now. set: whose subjects may name cgroups.
  void AddAll(const policy::Set& set, policy::Compiler& compiler) const;
  // One that came. False: it needs no row, or is gone.
  bool AddOne(uint64_t id, const policy::Set& set, policy::Compiler& compiler) const;

 private:
  bool Add(uint64_t id, const std::string& path, const policy::Set& set, policy::Compiler& compiler) const;

  const Cgroup2Mount mount_;
  const std::string scope_;
};

}  // namespace moat::app
