// SPDX-License-Identifier: Apache-2.0
// Whose the cgroups of this host are. A thread of its own asks the container runtimes and Slurm, so that nobody else waits for them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "agent/app/support.h"
#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/enrich/workloads.h"
#include "agent/event/workload.h"

namespace moat::app {

// Any thread; nothing waits for a runtime.
class WorkloadWatch {
 public:
  // Begins to ask about the cgroups in scope at once.
  static Result<std::unique_ptr<WorkloadWatch>> Start(const config::Config& config);
  virtual ~WorkloadWatch() = default;

  // Whose it is, as far as is known. One that is new is asked about at once.
  virtual event::Workload OfPath(std::string_view cgroup_path) = 0;
  virtual Result<event::Workload> OfCgroup(uint64_t cgroup_id) = 0;  // kNotFound: there is no such cgroup any more
  virtual std::vector<event::Workload> List() const = 0;  // all pods, containers and jobs
  virtual void Forget(std::string_view cgroup_path) = 0;  // the cgroup is gone; noticed in the end without this, too

  // Who is there to be asked, or is to be asked by configuration.
  virtual Tellers tellers() const = 0;
  virtual std::vector<enrich::WorkloadSource> Sources() const = 0;  // those that are there, or should be

  // Waits until all that was there when this began has been asked about once, and no longer than ms. For the start.
  virtual void Settle(uint64_t ms) = 0;
  // changed: something is known, or other than before; called on a thread of this class, and not after the call that replaces it.
  virtual void OnChange(std::function<void()> changed) = 0;
};

}  // namespace moat::app
