// SPDX-License-Identifier: Apache-2.0
// Whom policies take a workload for.
#pragma once

#include "agent/event/workload.h"
#include "agent/policy/evaluate.h"

namespace moat::app {

// Pure; any thread.
policy::Identity IdentityOf(const event::Workload& workload);

}  // namespace moat::app
