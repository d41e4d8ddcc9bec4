// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/patterns.h"

#include <algorithm>

namespace moat::policy {
namespace {

// Backwards; what ends with a 0 is a name, what ends with a dot all names that begin so.
std::string Key(std::string_view fqdn) {
  const bool wildcard = fqdn.starts_with("*.");
  std::string key(wildcard ? fqdn.substr(1) : fqdn);
  std::ranges::reverse(key);
  return wildcard ? key : key + '\0';
}

}  // namespace

Patterns::Patterns(const Set& set) {
  const auto add = [this](const std::vector<Peer>& peers) {
    for (const Peer& peer : peers) {
      if (!peer.cidr) {
        keys_.push_back(Key(peer.fqdn));
      }
    }
  };
  for (const Policy& policy : set.policies) {
    if (!policy.egress || policy.mode == Mode::kObserve) {
      continue;
    }
    add(policy.egress->allow);
    add(policy.egress->deny);
    for (const Holding& holding : policy.egress->holding) {
      add(holding.allow);
      add(holding.deny);
    }
  }
  std::ranges::sort(keys_);
  const auto same = std::ranges::unique(keys_);
  keys_.erase(same.begin(), same.end());
}

std::vector<uint32_t> Patterns::Within(std::string_view fqdn) const {
  const std::string key = Key(fqdn);
  std::vector<uint32_t> within;
  for (auto at = std::ranges::lower_bound(keys_, key); at != keys_.end() && at->starts_with(key); ++at) {
    within.push_back(static_cast<uint32_t>(at - keys_.begin()) + 1);
  }
  return within;
}

void Patterns::AddRows(Rows& rows) const {
  for (size_t i = 0; i < keys_.size(); ++i) {
    moat_pol_name_key row{};
    row.prefix_bits = MOAT_POL_NAME_FIXED + static_cast<uint32_t>(keys_[i].size()) * 8;
    keys_[i].copy(row.text.name, sizeof(row.text.name));
    rows.names.emplace_back(row, static_cast<uint32_t>(i) + 1);
  }
}

}  // namespace moat::policy
