// SPDX-License-Identifier: Apache-2.0
// What an agent that started now would get, found out without one.
#pragma once

#include <vector>

#include "agent/base/status.h"
#include "agent/config/config.h"

namespace moat::probe {

// Opens, chooses and loads what Probe::Start would, so that the verifier's refusals show, attaches none of it, and lets go of all of it
// before it returns. Only the questions what the kernel offers attach, an empty program for the moment of one getpgid() (features.h).
// The scope is not looked at: its cgroup may be made later.
//
// In the answer, loaded and attached say what would be: attached means that the program is loaded and that nothing which can be
// known without attaching stands against it; no hook has a proof, which takes the agent's own calls. What would keep an agent from starting at all (a map that cannot be made, no cgroup2)
// is the error of every domain.
std::vector<DomainStatus> Ask(const config::Config& config);

}  // namespace moat::probe
