// SPDX-License-Identifier: Apache-2.0
// What is left of the budgets in force.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/policy/compile.h"
#include "agent/probe/policy_maps.h"
#include "agent/probe/probe.h"

namespace moat::app {

// Of one workload that a budget is about, whether it has sent anything or not.
struct BudgetUse {
  std::string workload{}, policy{}, asset{};
  bool dry_run = false;  // counted, and not held against anybody
  uint64_t limit_bytes = 0, per_seconds = 0, used_bytes = 0;
};

// Pure. Workloads whose cgroups are gone have used what they have, all the same: they are named by number.
std::vector<BudgetUse> UsedBudgets(const policy::Set& set, const policy::Compiler& compiler,
                                   const std::vector<probe::PolicyMaps::Sent>& sent);

// Whether some budget is a part of an asset, so that it changes with the asset's size.
bool HasParts(const policy::Set& set);
// By label: what the files that are known have now. A stat() of each.
std::vector<uint64_t> AssetBytes(const std::vector<probe::ResolvedAsset>& assets);

}  // namespace moat::app
