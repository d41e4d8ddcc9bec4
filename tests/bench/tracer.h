// SPDX-License-Identifier: Apache-2.0
// moat inside the bench's own process: the real probe, ring thread, decoder, process tree and pipeline, all on the agent's core,
// and a consumer that counts.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"

namespace moat::bench {

class Tracer {
 public:
  static Result<std::unique_ptr<Tracer>> Start(const config::Config& config, int agent_cpu);
  virtual ~Tracer() = default;
  virtual uint64_t events() const = 0;  // that came to the end of the pipeline
  // Of the whole way. Balances when at rest, which sums, told once a second, disturb for a moment: asked again until it does, for at
  // most two seconds.
  virtual Ledger ledger() const = 0;
  virtual void Settle() = 0;  // waits until nothing has come for a moment
};

}  // namespace moat::bench
