// SPDX-License-Identifier: Apache-2.0
// What a change of the files of policies would come to.
#pragma once

#include <vector>

#include "agent/app/policies.h"
#include "agent/app/support.h"
#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"
#include "agent/policy/model.h"
#include "agent/policy/parse.h"

namespace moat::app {

struct PolicyPlan {
  std::vector<policy::Source> before{}, after{};  // the files
  policy::Set set{};  // as they say, with what this host cannot enforce
  PoliciesChange change{};  // with problems nothing else counts; its set has no generation and no counts
};

// Reads the files; changes nothing. An error is edit's.
Result<PolicyPlan> PlanChange(const config::Config& config, const Policies::Edit& edit, const std::vector<DomainStatus>& domains,
                              const Tellers& tellers);

}  // namespace moat::app
