// SPDX-License-Identifier: Apache-2.0
// What of the agent itself is not as it should be, as drafts of findings: whoever relies on it must hear when it sees less.
#pragma once

#include <string>
#include <vector>

#include "agent/api/server.h"
#include "agent/detect/detector.h"
#include "agent/sink/runner.h"

namespace moat::app {

// Of what somebody has changed of moatd's own in the kernel, in the words of Policies::TakeTampering().
std::vector<detect::Draft> Tampered(const std::vector<std::string>& tampering);

// Pure; any thread. problems: of the policies' files, when what is in force is older than they are.
std::vector<detect::Draft> Degraded(const api::StatusSnapshot& status, const std::vector<std::string>& problems,
                                    const std::vector<sink::SinkStats>& sinks, const api::ApiCounters& api);

}  // namespace moat::app
