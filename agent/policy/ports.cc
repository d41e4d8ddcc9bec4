// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/ports.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace moat::policy {
namespace {

constexpr uint32_t kPorts = 65536;

struct Edge {
  uint32_t at = 0;
  bool begins = false;
  size_t order = 0;  // of the rule
};

bool Of(moat_pol_protocol protocol, Protocol named) {
  return (protocol == MOAT_POL_TCP && named == Protocol::kTcp) || (protocol == MOAT_POL_UDP && named == Protocol::kUdp) ||
         (protocol == MOAT_POL_ICMP && named == Protocol::kIcmp);
}

// Where the rules begin and end among the ports of a protocol.
std::vector<Edge> Edges(const std::vector<PortRule>& rules, moat_pol_protocol protocol) {
  std::vector<Edge> edges;
  const auto add = [&edges](uint32_t low, uint32_t high, size_t order) {
    edges.push_back({.at = low, .begins = true, .order = order});
    edges.push_back({.at = high + 1, .begins = false, .order = order});
  };
  for (size_t i = 0; i < rules.size(); ++i) {
    const bool all = rules[i].ports->empty();
    if (protocol == MOAT_POL_REPLY) {
      const bool tcp = std::ranges::any_of(*rules[i].ports, [](const Ports& p) { return p.protocol == Protocol::kTcp; });
      if (all || (tcp && (rules[i].rule & MOAT_RULE_DENY) == 0)) {
        add(0, kPorts - 1, i);
      }
      continue;
    }
    if (all) {
      add(0, kPorts - 1, i);
      continue;
    }
    for (const Ports& ports : *rules[i].ports) {
      if (Of(protocol, ports.protocol)) {
        // Of icmp there are no ports: the kernel asks for 0.
        add(ports.low, protocol == MOAT_POL_ICMP ? kPorts - 1 : ports.high, i);
      }
    }
  }
  std::ranges::sort(edges, {}, &Edge::at);
  return edges;
}

}  // namespace

std::vector<PortRange> Flatten(const std::vector<PortRule>& rules, bool replies) {
  std::vector<PortRange> ranges;
  for (const moat_pol_protocol protocol : {MOAT_POL_OTHER, MOAT_POL_TCP, MOAT_POL_UDP, MOAT_POL_ICMP, MOAT_POL_REPLY}) {
    if (protocol == MOAT_POL_REPLY && !replies) {
      continue;
    }
    const std::vector<Edge> edges = Edges(rules, protocol);
    std::multiset<size_t> denies, allows;
    for (size_t i = 0; i < edges.size();) {
      const uint32_t at = edges[i].at;
      for (; i < edges.size() && edges[i].at == at; ++i) {
        auto& open = (rules[edges[i].order].rule & MOAT_RULE_DENY) != 0 ? denies : allows;
        if (edges[i].begins) {
          open.insert(edges[i].order);
        } else {
          open.erase(open.find(edges[i].order));
        }
      }
      if (i == edges.size() || (denies.empty() && allows.empty())) {
        continue;
      }
      const uint32_t rule = rules[denies.empty() ? *allows.begin() : *denies.begin()].rule;
      const auto low = static_cast<uint16_t>(at), high = static_cast<uint16_t>(edges[i].at - 1);
      const bool goes_on =
          !ranges.empty() && ranges.back().protocol == protocol && ranges.back().rule == rule && ranges.back().high + 1u == low;
      if (goes_on) {
        ranges.back().high = high;
      } else {
        ranges.push_back({.protocol = protocol, .low = low, .high = high, .rule = rule});
      }
    }
  }
  return ranges;
}

std::vector<PortMask> FlattenMasks(const std::vector<MaskRules>& holders) {
  // Where any label's answer changes, by (protocol, port): which labels begin or cease to be denied or allowed there.
  std::map<std::pair<int, uint32_t>, moat_pol_mask> changes;
  for (const MaskRules& holder : holders) {
    const uint64_t bit = uint64_t{1} << holder.label;
    for (const PortRange& range : Flatten(holder.rules, /*replies=*/true)) {
      auto member = (range.rule & MOAT_RULE_DENY) != 0 ? &moat_pol_mask::denied : &moat_pol_mask::allowed;
      changes[{range.protocol, range.low}].*member ^= bit;
      changes[{range.protocol, uint32_t{range.high} + 1}].*member ^= bit;
    }
  }
  std::vector<PortMask> masks;
  moat_pol_mask now{};
  for (auto at = changes.begin(); at != changes.end(); ++at) {
    const auto [protocol, low] = at->first;
    now.denied ^= at->second.denied;  // at a protocol's end all of its ranges have ended
    now.allowed ^= at->second.allowed;
    if (now.denied == 0 && now.allowed == 0) {
      continue;
    }
    const uint32_t end = std::next(at)->first.second;
    masks.push_back({.range = {.protocol = static_cast<moat_pol_protocol>(protocol),
                               .low = static_cast<uint16_t>(low),
                               .high = static_cast<uint16_t>(end - 1)},
                     .mask = now});
  }
  return masks;
}

std::vector<moat_pol_port_key> Prefixes(const PortRange& range) {
  std::vector<moat_pol_port_key> keys;
  uint32_t low = range.low;
  const uint32_t end = uint32_t{range.high} + 1;
  while (low < end) {
    // The largest aligned block that begins here and does not pass the end.
    const uint32_t aligned = low == 0 ? kPorts : 1u << std::countr_zero(low);
    const uint32_t block = std::min(aligned, std::bit_floor(end - low));
    moat_pol_port_key key{};
    key.prefix_bits = MOAT_POL_PORT_FIXED + 16 + (16 - static_cast<uint32_t>(std::countr_zero(block)));
    key.protocol = static_cast<uint8_t>(range.protocol);
    key.port[0] = static_cast<uint8_t>(low >> 8);
    key.port[1] = static_cast<uint8_t>(low & 0xff);
    keys.push_back(key);
    low += block;
  }
  return keys;
}

}  // namespace moat::policy
