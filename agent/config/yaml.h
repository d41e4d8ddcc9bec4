// SPDX-License-Identifier: Apache-2.0
// A YAML file as a small tree that remembers where everything stood. Built from yaml-cpp's events and not from its nodes:
// an alias is seen (and refused) before anything is expanded, so a file costs at most its own size.
#pragma once

#include <string>
#include <vector>

#include "agent/config/config.h"

namespace moat::config {

struct Node {
  enum class Type { kNull, kScalar, kList, kMap };
  Type type = Type::kNull;
  bool plain = false;  // a scalar without quotes
  int line = 0, column = 0;
  std::string value;        // of a scalar
  std::vector<Node> items;  // of a list; of a map: key, value, key, value, ...
};

// At most kMaxFileBytes of a regular file. A problem is added, and "" returned, when it cannot be read.
std::string ReadFile(const std::string& path, std::vector<Problem>& problems);

// The documents of a file. Problems are added for what is not YAML, anchors and aliases, keys given twice and depth.
std::vector<Node> ParseYaml(const std::string& text, const std::string& file, std::vector<Problem>& problems);

}  // namespace moat::config
