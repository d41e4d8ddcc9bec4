// SPDX-License-Identifier: Apache-2.0
// Sums of what passes through the pipeline: who runs, who reads which asset, who uses which device, who talks to whom.
#pragma once

#include <cstddef>
#include <memory>

#include "agent/enrich/gpu_holders.h"
#include "agent/event/activity.h"
#include "agent/event/batch.h"

namespace moat::enrich {

struct ActivityLimits {
  size_t workloads = 4096, assets = 16384, devices = 4096, flows = 16384;
  size_t sums = 16384;  // running totals that events bear, of processes and sockets
  GpuHoldersLimits gpus{};
  size_t commands = 16384;  // numbers of calls, by process, device and command
};

// OnBatch: pipeline thread. Get: any thread, which the pipeline waits for while it copies.
class ActivityTable : public event::Consumer {
 public:
  static std::unique_ptr<ActivityTable> Create(ActivityLimits limits = {});
  virtual event::Activity Get(event::ActivityOf what) const = 0;
};

}  // namespace moat::enrich
