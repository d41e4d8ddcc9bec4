// SPDX-License-Identifier: Apache-2.0
// Parts of reading moatd.yaml that stand in files of their own.
#pragma once

#include <string>
#include <string_view>

#include "agent/config/config.h"
#include "agent/config/section.h"

namespace moat::config {

// A path; "" is a value too: off.
void ReadPathOrNone(Section& section, std::string_view key, std::string& field);  // config.cc
void ReadApiDoors(const Reading& reading, Section& api, Config& config);          // api.cc

}  // namespace moat::config
