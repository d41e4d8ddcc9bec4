// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/scope.h"

#include "agent/base/cgroup.h"

namespace moat::probe {

std::string CgroupOf(uint32_t pid) { return CgroupOfProcess(pid).value_or(""); }

bool InScope(std::string_view path, std::string_view scope) {
  if (scope == "host" || scope == "/") {
    return true;
  }
  return path.starts_with(scope) && (path.size() == scope.size() || path[scope.size()] == '/');
}

}  // namespace moat::probe
