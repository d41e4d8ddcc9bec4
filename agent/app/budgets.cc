// SPDX-License-Identifier: Apache-2.0
#include "agent/app/budgets.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace moat::app {

std::vector<BudgetUse> UsedBudgets(const policy::Set& set, const policy::Compiler& compiler,
                                   const std::vector<probe::PolicyMaps::Sent>& sent) {
  const auto asset = [&set](uint32_t label) {
    return label < set.assets.size() ? set.assets[label].name : "label " + std::to_string(label);
  };
  std::map<std::tuple<uint64_t, uint32_t, uint32_t, bool>, uint64_t> used;
  for (const probe::PolicyMaps::Sent& row : sent) {
    used[{row.subject, row.label, row.per_seconds, row.dry_run}] = row.bytes;
  }
  std::vector<BudgetUse> out;
  const policy::Rules& rules = compiler.rules();
  for (const policy::Spender& spender : compiler.Spenders()) {
    const auto found = used.find({spender.subject, spender.label, spender.budget.per_seconds, spender.dry_run});
    const size_t rule = (spender.budget.rule & ~MOAT_RULE_DENY) - rules.first;
    out.push_back({.workload = spender.name,
                   .policy = rule < rules.texts.size() ? rules.texts[rule].policy : "",
                   .asset = asset(spender.label),
                   .dry_run = spender.dry_run,
                   .limit_bytes = spender.budget.bytes,
                   .per_seconds = spender.budget.per_seconds,
                   .used_bytes = found != used.end() ? found->second : 0});
    if (found != used.end()) {
      used.erase(found);
    }
  }
  for (const auto& [key, bytes] : used) {
    const auto& [subject, label, per_seconds, dry_run] = key;
    out.push_back({.workload = fmt::format("gone: {:016x}", subject),
                   .policy = "",
                   .asset = asset(label),
                   .dry_run = dry_run,
                   .limit_bytes = 0,
                   .per_seconds = per_seconds,
                   .used_bytes = bytes});
  }
  return out;
}

bool HasParts(const policy::Set& set) {
  return std::ranges::any_of(set.policies, [](const policy::Policy& policy) {
    return policy.egress && std::ranges::any_of(policy.egress->holding, [](const policy::Holding& holding) {
             return holding.budget && holding.budget->millionths != 0;
           });
  });
}

std::vector<uint64_t> AssetBytes(const std::vector<probe::ResolvedAsset>& assets) {
  std::vector<uint64_t> bytes;
  for (const probe::ResolvedAsset& asset : assets) {
    bytes.resize(std::max<size_t>(bytes.size(), asset.id + 1));
    for (const probe::ResolvedAsset::File& file : asset.files) {
      struct stat info{};
      if (!file.directory && stat(file.path.c_str(), &info) == 0) {
        bytes[asset.id] += static_cast<uint64_t>(info.st_size);
      }
    }
  }
  return bytes;
}

}  // namespace moat::app
