// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/scope.h"

#include <fstream>

namespace moat::probe {

std::string CgroupOf(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::")) {
      return line.substr(3);
    }
  }
  return "";
}

bool InScope(std::string_view path, std::string_view scope) {
  if (scope == "host" || scope == "/") {
    return true;
  }
  return path.starts_with(scope) && (path.size() == scope.size() || path[scope.size()] == '/');
}

}  // namespace moat::probe
