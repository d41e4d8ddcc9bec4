// SPDX-License-Identifier: Apache-2.0
// Start-up as a list of named steps. Each that succeeded is undone in reverse order, whatever happened after it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/base/error.h"

namespace moat::app {

struct Step {
  std::string name;
  std::function<Status()> start;
  std::function<void()> stop;  // may be empty; called only when start succeeded
};

// One thread.
class Steps {
 public:
  Steps() = default;
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;
  ~Steps() { Stop(); }

  // Starts them in order, logging the time each takes. The first error ends it, with the step's name before it; what was started
  // stays so until Stop().
  Status Start(std::vector<Step> steps);
  // Stops what was started, backwards. Safe to call twice.
  void Stop();

 private:
  std::vector<Step> started_;
};

// Ends the process with exit code 1 unless the guard goes within the time: a stop that hangs must not keep hooks attached.
class StopGuard {
 public:
  StopGuard(uint32_t timeout_ms, int exit_code);
  ~StopGuard();
  // Whatever is still to come is the kernel's work, which it does as well for a process that ends: when the time is over it ends
  // with exit_code. A preemptible kernel waits for every task to be seen before it lets go of a trampoline (ftrace_shutdown: synchronize_rcu_tasks),
  // one after another, 130 to 250 ms each.
  static void OnlyDetaching();
  StopGuard(const StopGuard&) = delete;
  StopGuard& operator=(const StopGuard&) = delete;
};

}  // namespace moat::app
