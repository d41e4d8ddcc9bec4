// SPDX-License-Identifier: Apache-2.0
// Classic tracepoints: their numbers, and the perf events that programs attach to. Nothing is mounted: tracefs is opened as a
// detached mount, so the agent needs neither /sys/kernel/tracing nor a mount of its own.
#pragma once

#include <string>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::probe {

class Tracefs {
 public:
  static Result<Tracefs> Open();

  // Number of "syscalls/sys_exit_openat". Not found: this kernel has no such tracepoint.
  Result<int> EventId(const std::string& name) const;

  // A perf event on the tracepoint. A BPF program linked to it runs for every CPU and process, not only for the CPU the perf
  // event names: the program hangs on the tracepoint itself (kernel/events/core.c perf_event_attach_bpf_prog).
  Result<Fd> OpenEvent(const std::string& name) const;

 private:
  explicit Tracefs(Fd mount) : mount_(std::move(mount)) {}
  Fd mount_;
};

}  // namespace moat::probe
