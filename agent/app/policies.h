// SPDX-License-Identifier: Apache-2.0
// The policies of this host: read from the files of the configuration, compiled, put into force, and kept so: files that change are read
// again, cgroups that come get their rows. A set with a mistake changes nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/app/budgets.h"
#include "agent/app/policy_documents.h"
#include "agent/app/workload_watch.h"
#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/event/batch.h"
#include "agent/policy/image.h"
#include "agent/policy/model.h"
#include "agent/policy/parse.h"
#include "agent/probe/probe.h"

namespace moat::app {

// What is in force.
struct InForce {
  std::shared_ptr<const policy::Set> set;  // null: nothing
  std::shared_ptr<const policy::Rules> rules;
  uint32_t generation = 0;
  std::vector<std::string> exposures;  // rules that this kernel cannot enforce
  std::vector<std::string> problems;  // of the last reading, when it failed: what is in force is older than the files
  std::vector<policy::Source> sources;  // the files that it was made of
  std::vector<moat_pol_count> counts;  // by index of rules->texts
  bool cleared = false;
};

// What became of a change, or would become. With problems: nothing changed.
struct PoliciesChange {
  std::vector<config::Problem> problems{};
  std::vector<std::string> written{};  // files
  InForce set{};
};

// Any thread.
class Policies {
 public:
  // Fails when the files have mistakes or this kernel cannot enforce them. changed: names of rules or assets are other than before; called
  // on the thread that reads. probe and workloads must outlive it.
  static Result<std::unique_ptr<Policies>> Start(const config::Config& config, probe::Probe& probe, WorkloadWatch& workloads,
                                                 std::function<void(const Policies&)> changed);
  // What is in force stays so.
  virtual ~Policies() = default;

  // The configuration's assets were read again.
  virtual Status SetAssets(const std::vector<config::Asset>& assets) = 0;
  virtual InForce Get() const = 0;
  // What somebody has changed of what moatd keeps in the kernel, and is as it was again; since the last call. Beyond 256, the rest is in the
  // log alone.
  virtual std::vector<std::string> TakeTampering() = 0;

  // Changes files and what is in force together, or neither. expected: the generation that must be in force (else kAborted), 0: any.
  // dry_run: what would be. edit: gets the files as they are, on the caller's thread; nobody else changes anything meanwhile.
  using Edit = std::function<Result<SourceEdit>(std::vector<policy::Source> now)>;
  virtual Result<PoliciesChange> Change(uint32_t expected, bool dry_run, const Edit& edit) = 0;
  // To the files before the last change, or those before Clear().
  virtual Result<PoliciesChange> Rollback() = 0;
  // Nothing is in force, until the next change. The files stay.
  virtual Status Clear() = 0;

  virtual std::vector<BudgetUse> Budgets() = 0;

  // By rule number, of all rules that verdicts may still name.
  virtual std::unordered_map<uint32_t, event::Names::Rule> RuleNames() const = 0;
};

}  // namespace moat::app
