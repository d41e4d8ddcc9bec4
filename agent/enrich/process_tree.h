// SPDX-License-Identifier: Apache-2.0
// Who did it: every process that was seen, by (pid, start time), built from scan, fork, exec and exit. One thread (the pipeline);
// the Process values it hands out are immutable and may be kept by anyone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/base/error.h"
#include "agent/event/event.h"

namespace moat::enrich {

// Reads a process that no event told of (agent/enrich/proc_reader.h has the one for /proc). nullopt: gone, or another process has
// the pid by now.
using ProcessReader = std::function<std::optional<event::Process>(const event::ProcessKey& key)>;
// Path of a cgroup by its id, "" when unknown (agent/enrich/cgroup_paths.h). now_ns: CLOCK_MONOTONIC.
using CgroupResolver = std::function<std::string(uint64_t cgroup_id, uint64_t now_ns)>;

struct ProcessTreeLimits {
  // The tree never holds more than either: a few hundred KiB on most hosts, the bound where someone runs as many processes with
  // as many arguments as they can.
  size_t max_processes = 131072;
  size_t max_bytes = size_t{64} << 20;
  // A TCP close comes up to a FIN timeout (60 s) after its process, a fanotify notice within the second.
  uint64_t exited_grace_ns = 65'000'000'000;
  size_t max_exited = 16384;
  // Reading /proc takes 50 to 100 us: at most about 5 % of the pipeline thread, however many unknown processes come.
  uint64_t reads_per_second = 500;
};

struct ProcessTreeStats {
  uint64_t live = 0, exited = 0;  // held now
  uint64_t bytes = 0;  // about, held now
  uint64_t evicted_live = 0;  // thrown out while running, for want of room; read again from /proc when it acts
  uint64_t evicted_exited = 0;  // thrown out before their grace was over
  uint64_t reads = 0;  // /proc asked for an unknown process
  uint64_t reads_failed = 0;  // of those, gone already
  uint64_t reads_deferred = 0;  // events without info, since reads_per_second was reached
};

class ProcessTree {
 public:
  static std::unique_ptr<ProcessTree> Create(ProcessReader reader, CgroupResolver cgroups, const ProcessTreeLimits& limits = {});
  virtual ~ProcessTree() = default;

  // Sets header.info, and learns from fork, exec, exit and scan; an exec's body gets the completed image. After a fork the child
  // has its parent's image until it execs. Events of one process in their order; the time that passes is header.time_ns.
  virtual void Apply(event::Event& event) = 0;

  virtual std::shared_ptr<const event::Process> Find(const event::ProcessKey& key) const = 0;
  virtual ProcessTreeStats stats() const = 0;  // same thread as Apply
};

}  // namespace moat::enrich
