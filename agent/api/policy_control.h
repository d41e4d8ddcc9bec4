// SPDX-License-Identifier: Apache-2.0
// What the service Policies asks of the agent. Plain data; implemented in app.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/policy/evaluate.h"
#include "agent/policy/model.h"
#include "agent/policy/parse.h"

namespace moat::api {

struct PolicyCounts {
  uint64_t allowed = 0, denied = 0, would_deny = 0;
};

struct PolicyRuleReport {
  uint32_t number = 0;
  std::string text{}, at{};  // at: "file:line:column"
  bool deny = false;
  PolicyCounts counts{};
};

struct PolicyReport {
  std::string name{};
  policy::Mode mode = policy::Mode::kObserve;
  std::string file{};
  uint32_t line = 0;
  std::vector<std::string> subjects{};  // in words
  std::vector<PolicyRuleReport> rules{};
  std::string text{};  // as it was written
};

struct PolicyBudgetReport {
  std::string workload{}, policy{}, asset{};
  bool dry_run = false;
  uint64_t limit_bytes = 0, per_seconds = 0, used_bytes = 0;
};

struct PolicySetReport {
  std::vector<PolicyReport> policies{};
  uint32_t assets = 0;
  std::vector<std::string> exposures{};
  uint32_t generation = 0;  // 0: nothing is in force
  bool cleared = false;
  std::vector<std::string> problems{};  // of the last reading of the files, when it failed
};

// With problems nothing has changed.
struct PolicyChange {
  std::vector<config::Problem> problems{};
  bool applied = false;
  std::vector<std::string> written{};  // files, those that were removed too
  PolicySetReport set{};
};

struct PolicyAssetAct {
  std::string asset{};
  policy::Operation operation = policy::Operation::kRead;
};

struct PolicyGpuAct {
  uint8_t category = 0;  // policy::GpuCategory; 0: use at all
};

struct PolicyQuestion {
  uint32_t pid = 0;  // 0: who tells
  policy::Identity who{};
  std::vector<std::string> holds{};
  std::variant<policy::Destination, PolicyAssetAct, PolicyGpuAct> act{};
};

struct PolicyDecider {
  std::string policy{}, rule{}, at{}, why{};
};

struct PolicyAnswer {
  policy::Action action = policy::Action::kAllow;
  bool would_deny = false;
  PolicyDecider decider{}, would{};
  policy::Identity who{};
  struct Selecting {
    std::string name{};
    policy::Mode mode = policy::Mode::kObserve;
    bool unknown = false;
  };
  std::vector<Selecting> selecting{};
};

// Any thread. One change at a time: the others wait.
class PolicyControl {
 public:
  virtual ~PolicyControl() = default;

  // Files of documents. expected: the generation that must be in force, 0: any. dry_run: what would be.
  virtual Result<PolicyChange> Apply(const std::vector<policy::Source>& files, uint32_t expected, bool dry_run) = 0;
  virtual Result<PolicyChange> Delete(const std::string& name) = 0;
  virtual Result<PolicyChange> Rollback() = 0;
  virtual Status Clear() = 0;
  virtual Result<PolicySetReport> List() = 0;
  virtual Result<PolicyAnswer> Explain(const PolicyQuestion& question) = 0;
  // Of the set in force; none are enforced yet.
  virtual std::vector<PolicyBudgetReport> Budgets() { return {}; }
};

}  // namespace moat::api
