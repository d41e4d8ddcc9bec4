// SPDX-License-Identifier: Apache-2.0
// Canaries: assets that nobody has a reason to touch. Whatever is seen of one (an open, a mapping, reads, a change of its file or names,
// a verdict) bears kFlagCanary, and the first of each process is a warning in the log.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/event/batch.h"

namespace moat::app {

// Sets kFlagCanary where it belongs.
void MarkCanaries(event::Batch& batch);

// Pipeline thread.
std::unique_ptr<event::Consumer> MakeCanaryLog();

}  // namespace moat::app
