// SPDX-License-Identifier: Apache-2.0
// What moat is compared with: empty programs on moat's own hooks, and ring-only programs on those that give events. Programs are
// loaded once; Attach() and Detach() by turns.
#pragma once

#include <memory>
#include <vector>

#include "tests/bench/hooks.h"

namespace moat::bench {

class Baseline {
 public:
  static Result<std::unique_ptr<Baseline>> Empty(const std::vector<Hook>& hooks, int cgroup_fd);
  // agent_cpu: where the ring is drained, each millisecond.
  static Result<std::unique_ptr<Baseline>> RingOnly(uint64_t cgroup_id, int cgroup_fd, int agent_cpu);
  virtual ~Baseline() = default;
  virtual Status Attach() = 0;
  virtual void Detach() = 0;
  virtual uint64_t lost() const = 0;
  virtual uint64_t received() const = 0;
};

}  // namespace moat::bench
