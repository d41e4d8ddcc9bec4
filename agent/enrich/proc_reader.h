// SPDX-License-Identifier: Apache-2.0
// One process as /proc shows it, for those that no event told of.
#pragma once

#include <optional>
#include <string>

#include "agent/event/event.h"

namespace moat::enrich {

// Exactly the process with this pid and start time (to one clock tick, which is all that /proc tells), else nullopt. The result
// has the key as asked, from_scan set, and parent.start_ns 0: /proc does not tell it. root: "/proc" but in tests. Any thread.
std::optional<event::Process> ReadProcess(const std::string& root, const event::ProcessKey& key);

}  // namespace moat::enrich
