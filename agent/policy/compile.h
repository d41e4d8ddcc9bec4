// SPDX-License-Identifier: Apache-2.0
// Policies -> rows for the kernel. What the kernel then decides is what evaluate.h says of the same set; a test holds the two together.
//
// Rows come in parts, because cgroups come and go while a policy is in force: those that every process needs, then some for each cgroup.
// A profile is what some processes have in common: the policies that select them, and those that might.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/policy/evaluate.h"
#include "agent/policy/image.h"
#include "agent/policy/model.h"

namespace moat::policy {

// A budget of a workload: moat_pol_sent is counted by subject, label, time and part.
struct Spender {
  uint64_t subject = 0;
  std::string name{};  // what subject is made of: Identity::workload, or the cgroup
  uint32_t label = 0;
  bool dry_run = false;
  moat_pol_budget budget{};
};

// One thread at a time.
class Compiler {
 public:
  // set must be free of problems, and outlive the compiler. Its asset n has label bit n. first_rule: at least 1.
  static std::unique_ptr<Compiler> Create(const Set& set, uint32_t first_rule);
  virtual ~Compiler() = default;

  // Paths of executables that are subjects; for each of their files AddExecutable.
  virtual std::vector<std::string> Executables() const = 0;
  // dev: major << 20 | minor. Before the first cgroup.
  virtual void AddExecutable(const std::string& path, uint32_t dev, uint64_t inode) = 0;

  // How large an asset is: budgets may be a part of it. Before the first cgroup; until then 0.
  virtual void SetAssetBytes(size_t label, uint64_t bytes) = 0;
  // The profile of processes in a cgroup, and of those in cgroups below it of which nothing is known yet. who: as much as is known;
  // settled: whatever lies below this cgroup is the same workload (a unit, a container), not another.
  virtual void AddCgroup(uint64_t cgroup_id, const Identity& who, bool settled) = 0;

  // The rows that came since the last call.
  virtual Rows Take() = 0;

  virtual const Rules& rules() const = 0;
  // Of the cgroups that were added so far, the first 16,384 workloads. A budget of an executable alone is not among them.
  virtual std::vector<Spender> Spenders() const = 0;
};

}  // namespace moat::policy
