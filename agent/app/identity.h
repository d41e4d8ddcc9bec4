// SPDX-License-Identifier: Apache-2.0
// Whom policies take a workload for.
#pragma once

#include <string>

#include "agent/app/workload_watch.h"
#include "agent/event/workload.h"
#include "agent/policy/evaluate.h"

namespace moat::app {

// Pure; any thread.
policy::Identity IdentityOf(const event::Workload& workload);

// Whose a cgroup is. Of one that is not there no runtime is asked: what its path tells is all there is. workloads: null, and nobody is
// asked at all. Any thread.
event::Workload WhoseCgroup(const std::string& cgroup, WorkloadWatch* workloads);

}  // namespace moat::app
