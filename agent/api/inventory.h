// SPDX-License-Identifier: Apache-2.0
// What the service Inventory asks of the agent.
#pragma once

#include <functional>
#include <string>

#include "agent/event/activity.h"
#include "agent/event/workload.h"

namespace moat::api {

// Called on gRPC's threads. Empty functions: nothing was seen, nobody is known.
struct InventorySource {
  std::function<event::Activity(event::ActivityOf)> activity{};
  std::function<event::Workload(const std::string& cgroup)> whose{};
};

}  // namespace moat::api
