// SPDX-License-Identifier: Apache-2.0
// The rules of one place, by protocol and port: which of them decides where. Pure; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/policy/model.h"
#include "bpf/abi/policy.h"

namespace moat::policy {

struct PortRule {
  uint32_t rule = 0;  // MOAT_RULE_DENY: it denies
  const std::vector<Ports>* ports = nullptr;  // empty: all, of every protocol
};

// A part of the ports of one protocol, and the rule that decides there: the first denial, else the first permission.
struct PortRange {
  moat_pol_protocol protocol = MOAT_POL_OTHER;
  uint16_t low = 0, high = 0;
  uint32_t rule = 0;
  bool operator==(const PortRange&) const = default;
};

// rules: in the order in which they are asked. replies: with what is said of answers on accepted connections (MOAT_POL_REPLY): the port
// there is the caller's, so that any permission for TCP holds, and only denials of every port do.
std::vector<PortRange> Flatten(const std::vector<PortRule>& rules, bool replies);

// The same for the holders of several assets: which of them are denied, and which are allowed. A place of which nothing is said is left out.
struct MaskRules {
  size_t label = 0;
  std::vector<PortRule> rules{};
};
struct PortMask {
  PortRange range{};  // its rule says nothing
  moat_pol_mask mask{};
};
std::vector<PortMask> FlattenMasks(const std::vector<MaskRules>& holders);

// As keys of the ports' trie, without generation and set.
std::vector<moat_pol_port_key> Prefixes(const PortRange& range);

}  // namespace moat::policy
