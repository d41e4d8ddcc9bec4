// SPDX-License-Identifier: Apache-2.0
// How much of a name that a runtime tells is believed: far more than any has, and little enough to keep thousands of. What is beyond is
// refused with its whole container, and never cut: a policy would select by what is left.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "agent/base/utf8.h"

namespace moat::enrich {

constexpr size_t kMaxNameBytes = 1024;  // Kubernetes: 253; an image's name with its registry: 512 at most
constexpr size_t kMaxLabels = 1024;
constexpr size_t kMaxLabelBytes = size_t{64} << 10;  // keys and values of one set; Kubernetes: 380 a label

inline bool TakeName(std::string_view from, std::string& to) {
  if (from.size() > kMaxNameBytes || !IsUtf8(from)) {
    return false;
  }
  to = from;
  return true;
}

using Labels = std::map<std::string, std::string>;

// Adds one; bytes: of those so far. As in a protobuf map, the last of one key stands.
inline bool TakeLabel(std::string_view key, std::string_view value, Labels& to, size_t& bytes) {
  bytes += key.size() + value.size();
  if (bytes > kMaxLabelBytes || to.size() >= kMaxLabels || !IsUtf8(key) || !IsUtf8(value)) {
    return false;
  }
  to.insert_or_assign(std::string(key), std::string(value));
  return true;
}

}  // namespace moat::enrich
