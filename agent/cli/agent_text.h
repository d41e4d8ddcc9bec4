// SPDX-License-Identifier: Apache-2.0
// Parts of the agent's status as text; status and doctor share them.
#pragma once

#include <string>

namespace moat::v1 {
class AgentStatus;
}

namespace moat::cli {

// Each event, its backend, and why. missing: the word for a hook that is not attached.
std::string HookTable(const v1::AgentStatus& agent, bool color, const char* missing = "not attached");
std::string UnseenList(const v1::AgentStatus& agent);               // what no hook sees; "" when nothing was named
std::string LedgerTable(const v1::AgentStatus& agent, bool color);  // with the line that says whether it adds up
std::string ToJson(const v1::AgentStatus& agent);                   // proto3 JSON: 64-bit numbers are strings

}  // namespace moat::cli
