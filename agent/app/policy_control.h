// SPDX-License-Identifier: Apache-2.0
// Policies as the API speaks of them.
#pragma once

#include <memory>

#include "agent/api/policy_control.h"
#include "agent/app/policies.h"
#include "agent/app/workload_watch.h"
#include "agent/config/config.h"

namespace moat::app {

// policies and workloads must outlive it.
std::unique_ptr<api::PolicyControl> MakePolicyControl(const config::Config& config, Policies& policies, WorkloadWatch& workloads);

}  // namespace moat::app
