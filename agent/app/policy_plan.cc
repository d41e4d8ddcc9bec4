// SPDX-License-Identifier: Apache-2.0
#include "agent/app/policy_plan.h"

#include <memory>
#include <string>
#include <utility>

#include "agent/policy/numbering.h"

namespace moat::app {

Result<PolicyPlan> PlanChange(const config::Config& config, const Policies::Edit& edit, const std::vector<DomainStatus>& domains,
                              const Tellers& tellers) {
  PolicyPlan plan;
  std::vector<config::Problem>& problems = plan.change.problems;
  plan.before = policy::ReadSources(config.policy_files, problems);
  if (!problems.empty()) {
    return plan;
  }
  MOAT_ASSIGN(SourceEdit next, edit(plan.before));
  problems = std::move(next.problems);
  if (!problems.empty()) {
    return plan;
  }
  policy::Parsed parsed = policy::ParseAndCheckSources(next.sources, config.assets);
  Supported supported;
  if (parsed.problems.empty()) {
    supported = Support(parsed.set, domains, tellers);
    for (const std::string& problem : supported.problems) {
      parsed.problems.push_back(config::FromString(problem));
    }
  }
  for (const config::Problem& problem : parsed.problems) {
    problems.push_back(InGiven(problem, next));
  }
  if (!problems.empty()) {
    return plan;
  }
  policy::Rules rules;
  policy::Number(supported.set, rules);
  plan.change.set.set = std::make_shared<const policy::Set>(std::move(supported.set));
  plan.change.set.rules = std::make_shared<const policy::Rules>(std::move(rules));
  plan.change.set.exposures = std::move(supported.exposures);
  plan.change.set.sources = next.sources;
  plan.after = std::move(next.sources);
  plan.set = std::move(parsed.set);
  return plan;
}

}  // namespace moat::app
