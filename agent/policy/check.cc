// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/check.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/strings.h"
#include "bpf/abi/policy.h"

namespace moat::policy {
namespace {

class Checker {
 public:
  explicit Checker(const Set& set) : set_(set), names_(set.names.begin(), set.names.end()) {}

  std::vector<config::Problem> Run() {
    for (const Policy& policy : set_.policies) {
      CheckPolicy(policy);
    }
    return std::move(problems_);
  }

 private:
  void Complain(const Where& at, std::string message) { problems_.push_back({at.file, at.line, at.column, std::move(message)}); }

  void CheckPolicy(const Policy& policy) {
    Count(policy.at, subjects_, policy.subjects.size(), kMaxSubjects, "subjects");
    std::map<std::string_view, int> told;
    for (const AssetRule& rule : policy.assets) {
      CheckName(rule.at, rule.asset);
      Once(told, rule.at, rule.asset, "under assets");
    }
    size_t rules = policy.assets.size();
    if (policy.gpu) {
      rules += static_cast<size_t>(std::popcount(policy.gpu->deny)) + (policy.gpu->use ? 1 : 0);
    }
    if (policy.egress) {
      rules += RulesOf(policy.egress->allow) + RulesOf(policy.egress->deny);
      told.clear();
      for (const Holding& holding : policy.egress->holding) {
        CheckName(holding.at, holding.asset);
        Once(told, holding.at, holding.asset, "under holding");
        rules += RulesOf(holding.allow) + RulesOf(holding.deny) + (holding.budget ? 1 : 0);
        CheckBudget(holding);
      }
    }
    Count(policy.at, rules_, rules, kMaxRules, "rules");
  }

  // The kernel has room for so many counts of what the holders of one asset send.
  void CheckBudget(const Holding& holding) {
    if (!holding.budget) {
      return;
    }
    std::set<uint64_t>& times = budget_times_[holding.asset];
    times.insert(holding.budget->per_seconds);
    if (times.size() == MOAT_POL_BUDGETS + 1) {
      Complain(holding.at, "budgets of asset '" + holding.asset + "' are told for more than " + std::to_string(MOAT_POL_BUDGETS) +
                               " different times (per): give those of two policies the same");
    }
  }

  // Each port of a peer is a rule of its own.
  static size_t RulesOf(const std::vector<Peer>& peers) {
    size_t rules = 0;
    for (const Peer& peer : peers) {
      rules += std::max<size_t>(peer.ports.size(), 1);
    }
    return rules;
  }

  void CheckName(const Where& at, const std::string& asset) {
    if (std::ranges::find(names_, asset) != names_.end()) {
      return;
    }
    const std::string_view near = Nearest(asset, names_);
    Complain(at, "unknown asset '" + asset + "'" +
                     (!near.empty()    ? ", did you mean '" + std::string(near) + "'?"
                      : names_.empty() ? ": these files define no asset"
                                       : ": none of these files defines it"));
  }

  // Of two rules for one asset nobody could say which of them counts.
  void Once(std::map<std::string_view, int>& told, const Where& at, std::string_view asset, const char* list) {
    const auto [first, fresh] = told.try_emplace(asset, at.line);
    if (!fresh) {
      Complain(at, "asset '" + std::string(asset) + "' is named twice " + list + " of this policy, first in line " +
                       std::to_string(first->second));
    }
  }

  // Of all policies together. Told once, at the policy that is too much.
  void Count(const Where& at, size_t& sum, size_t more, size_t limit, const char* what) {
    const bool was_good = sum <= limit;
    sum += more;
    if (was_good && sum > limit) {
      Complain(at, "with this policy there are " + std::to_string(sum) + " " + what + ", and at most " + std::to_string(limit) +
                       " are possible");
    }
  }

  const Set& set_;
  const std::vector<std::string_view> names_;
  std::vector<config::Problem> problems_;
  std::map<std::string_view, std::set<uint64_t>> budget_times_;  // by asset, in seconds
  size_t subjects_ = 0, rules_ = 0;
};

}  // namespace

std::vector<config::Problem> Check(const Set& set) { return Checker(set).Run(); }

}  // namespace moat::policy
