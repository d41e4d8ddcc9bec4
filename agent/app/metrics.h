// SPDX-License-Identifier: Apache-2.0
// What the agent knows of itself, as Prometheus is told it.
#pragma once

#include <vector>

#include "agent/api/finding_table.h"
#include "agent/api/server.h"
#include "agent/app/policies.h"
#include "agent/metrics/metrics.h"
#include "agent/sink/runner.h"

namespace moat::app {

// Any thread.
metrics::Input MetricsOf(api::StatusSnapshot status, const InForce& policies, const std::vector<api::FindingTotal>& findings,
                         const std::vector<sink::SinkStats>& sinks, const api::ApiCounters& api);

}  // namespace moat::app
