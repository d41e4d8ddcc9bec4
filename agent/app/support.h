// SPDX-License-Identifier: Apache-2.0
// What of a set of policies this kernel can enforce.
#pragma once

#include <string>
#include <vector>

#include "agent/base/status.h"
#include "agent/policy/model.h"

namespace moat::app {

struct Supported {
  policy::Set set;  // without what cannot be enforced and may be only watched
  std::vector<std::string> exposures;  // what was taken out, and why
  std::vector<std::string> problems;   // what cannot be enforced and must be: "file:line:column: ..."
};

// Of whom there is somebody to ask whose a cgroup is.
struct Tellers {
  bool pods = false, containers = false, jobs = false;
};

// Does a policy that is enforced, or in dry-run, select by what only they can tell?
bool AsksWhose(const policy::Set& set);

// domains: as the probe describes them. A policy in mode observe asks for nothing.
Supported Support(policy::Set set, const std::vector<DomainStatus>& domains, const Tellers& tellers);

}  // namespace moat::app
