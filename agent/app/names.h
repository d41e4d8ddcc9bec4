// SPDX-License-Identifier: Apache-2.0
// What the numbers in events are called on this host, now.
#pragma once

#include <memory>

#include "agent/event/batch.h"
#include "agent/probe/probe.h"

namespace moat::app {

// Any thread.
std::shared_ptr<const event::Names> MakeNames(const probe::Probe& probe);

}  // namespace moat::app
