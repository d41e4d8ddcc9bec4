// SPDX-License-Identifier: Apache-2.0
// What Status/Get and the metrics tell of the agent's parts.
#pragma once

#include <cstdint>
#include <string>

#include "agent/api/hub.h"
#include "agent/api/server.h"
#include "agent/app/pipeline.h"
#include "agent/detect/engine.h"
#include "agent/probe/probe.h"
#include "agent/sink/sinks.h"

namespace moat::app {

struct Parts {
  const probe::Probe& probe;
  const Pipeline& pipeline;
  const api::Hub& hub;
  const detect::Engine* engine = nullptr;  // null: nothing looks for findings
  const sink::Sinks* sinks = nullptr;      // null: none are configured
};

// Any thread, while the parts run.
api::StatusSnapshot SnapshotOf(const Parts& parts, const std::string& scope, uint64_t started_unix_ns, uint64_t attach_ms);

}  // namespace moat::app
