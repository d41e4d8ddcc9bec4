// SPDX-License-Identifier: Apache-2.0
// Feeds the rings of the Tracer in this process at a steady rate, faster than real system calls could.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/base/error.h"

struct feed_bpf;

namespace moat::bench {

class Feeder {
 public:
  // The rings and counters are found among this process's own descriptors: exactly one Tracer must run.
  static Result<std::unique_ptr<Feeder>> Create(int cpu);
  ~Feeder();

  struct Fed {
    uint64_t events = 0, cpu_ns = 0, wall_ns = 0;  // CPU: of the feeding alone
  };
  // rate a second, in slices of a millisecond. Runs on the feeder's core and comes back when it is over.
  Result<Fed> Run(uint64_t rate, uint64_t ms);

 private:
  Feeder() = default;
  int cpu_ = 0;
  feed_bpf* object_ = nullptr;
};

}  // namespace moat::bench
