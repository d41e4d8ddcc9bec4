// SPDX-License-Identifier: Apache-2.0
// What the agent knows of itself, as Prometheus is told it.
#pragma once

#include "agent/api/server.h"
#include "agent/app/policies.h"
#include "agent/metrics/metrics.h"

namespace moat::app {

// Any thread. Findings, sinks and calls of the API are left empty.
metrics::Input MetricsOf(api::StatusSnapshot status, const InForce& policies);

}  // namespace moat::app
