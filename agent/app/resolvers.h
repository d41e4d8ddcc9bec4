// SPDX-License-Identifier: Apache-2.0
// The DNS servers whose answers are believed.
#pragma once

#include <string>
#include <vector>

#include "agent/policy/image.h"

namespace moat::app {

// configured, and those that a resolv.conf names; each once. What cannot be read there is left out. Any thread.
std::vector<policy::Resolver> FindResolvers(const std::vector<std::string>& configured,
                                            const std::string& resolv_conf = "/etc/resolv.conf");

}  // namespace moat::app
