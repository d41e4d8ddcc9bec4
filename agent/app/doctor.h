// SPDX-License-Identifier: Apache-2.0
// moatd --doctor: what an agent started now would get, with nothing attached.
#pragma once

#include "agent/config/config.h"

namespace moat::app {

// Prints v1.AgentStatus as JSON on standard output. True: every event of every domain would have a backend.
bool PrintDoctor(const config::Config& config);

}  // namespace moat::app
