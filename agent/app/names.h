// SPDX-License-Identifier: Apache-2.0
// What the numbers in events are called on this host, now.
#pragma once

#include <memory>

#include "agent/app/policies.h"
#include "agent/event/batch.h"
#include "agent/probe/probe.h"

namespace moat::app {

// Any thread. policies: null when there are none.
std::shared_ptr<const event::Names> MakeNames(const probe::Probe& probe, const Policies* policies);

}  // namespace moat::app
