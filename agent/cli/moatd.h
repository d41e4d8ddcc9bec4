// SPDX-License-Identifier: Apache-2.0
// Asks the moatd program, where no agent runs, what one would get here.
#pragma once

#include <string>

#include "agent/base/child.h"
#include "agent/base/error.h"
#include "moat/v1/status.pb.h"

namespace moat::cli {

// given, or else moatd beside this program, or else on PATH (of which only absolute folders count: a program found in the current
// one would be run as root). path, self: $PATH and the folder of this program.
Result<std::string> FindMoatd(const std::string& given, const std::string& path, const std::string& self);
std::string OwnFolder();  // "" when /proc does not tell

// Runs "PROGRAM --doctor". Its answer is not trusted: it is bounded in time, in size and in the number and length of its names. Its
// texts, and those of the error, still need Safe().
Result<v1::AgentStatus> AskMoatd(const std::string& program, const ChildLimits& limits = {});

}  // namespace moat::cli
