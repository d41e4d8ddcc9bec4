// SPDX-License-Identifier: Apache-2.0
// All domains together, as far as they go without being attached: what Probe::Start and Ask share.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/probe/domain.h"

namespace moat::probe {

using Domains = std::vector<std::unique_ptr<Domain>>;

// Opens each domain that configuration wants, refuses the others, and chooses a program for each event.
Domains OpenDomains(const config::Config& config);
// The maps that they share.
Result<std::unique_ptr<SharedMaps>> MakeMaps(const Domains& domains, const config::Config& config);
// Loads them, each on a thread of its own.
void LoadDomains(const Domains& domains, const SharedMaps& maps);

Domain* Find(const Domains& domains, std::string_view name);  // null: there is none of this name

}  // namespace moat::probe
