// SPDX-License-Identifier: Apache-2.0
// What detectors may ask of the agent: whose a cgroup is, and what policies say of an act, whatever their mode.
#pragma once

#include <memory>

#include "agent/app/workload_watch.h"
#include "agent/detect/engine.h"
#include "agent/policy/model.h"

namespace moat::app {

class World : public detect::World {
 public:
  static std::unique_ptr<World> Create();

  // Any thread. null: nobody can be asked (any more); after this returns the one before is not asked.
  virtual void SetWorkloads(WorkloadWatch* workloads) = 0;
  virtual void SetPolicies(const std::shared_ptr<const policy::Set>& set) = 0;  // null: there are none
};

}  // namespace moat::app
