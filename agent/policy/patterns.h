// SPDX-License-Identifier: Apache-2.0
// The names that policies speak of ("example.com", "*.example.com"), numbered for the kernel (bpf/abi/name.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/policy/image.h"
#include "agent/policy/model.h"

namespace moat::policy {

// Plain data after its making; any thread.
class Patterns {
 public:
  // Of every peer of the set.
  explicit Patterns(const Set& set);

  bool empty() const { return keys_.empty(); }
  // The patterns that match only names which this one matches too, itself among them. fqdn: of a peer of the set.
  std::vector<uint32_t> Within(std::string_view fqdn) const;
  void AddRows(Rows& rows) const;

 private:
  std::vector<std::string> keys_;  // as in the kernel, sorted; number: the index + 1
};

}  // namespace moat::policy
