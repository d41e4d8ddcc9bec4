// SPDX-License-Identifier: Apache-2.0
// Decides by a compiled image alone, look-up by look-up as bpf/enforce does, in the plainest code.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/policy/image.h"

namespace moat::test {

class Lookup {
 public:
  explicit Lookup(const policy::Rows& rows) : rows_(rows) {}

  struct To {
    uint8_t address[16] = {};
    bool v6 = false;
    uint8_t protocol = MOAT_POL_OTHER;
    uint16_t port = 0;
    std::vector<std::string> names{};  // by which it goes
  };
  struct Answer {
    uint32_t rule = 0, would = 0;
  };

  uint32_t ProfileOf(uint64_t cgroup, bool below, std::optional<uint64_t> exe_inode = {}) const {
    uint32_t profile = 0;
    for (const auto& [key, row] : rows_.cgroups) {
      profile = key.cgroup_id == cgroup ? (below ? row.below : row.profile) : profile;
    }
    const moat_pol_profile* row = Profile(profile);
    if (row != nullptr && (row->flags & MOAT_POL_BY_EXE) != 0 && exe_inode) {
      for (const auto& [exe, number] : rows_.exes) {
        for (const auto& [by, other] : rows_.by_exe) {
          if (exe.inode == *exe_inode && by.profile == profile && by.exe == number) {
            return other;
          }
        }
      }
    }
    return profile;
  }

  Answer Egress(uint32_t profile, uint64_t labels, const To& to) const {
    Answer answer;
    const moat_pol_profile* row = Profile(profile);
    if (row == nullptr) {
      return answer;
    }
    answer.rule = Part(*row, profile, MOAT_POL_ENFORCED, labels, to);
    if ((answer.rule & MOAT_RULE_DENY) != 0 || (row->flags & MOAT_POL_DRY) == 0) {
      return answer;
    }
    const uint32_t would = Part(*row, profile, MOAT_POL_WOULD, labels, to);
    if ((would & MOAT_RULE_DENY) != 0) {
      answer.would = would;
    } else if (answer.rule == 0) {
      answer.rule = would;
    }
    return answer;
  }

  Answer Asset(uint32_t profile, uint32_t asset, size_t operation) const {
    for (const auto& [key, row] : rows_.assets) {
      if (key.profile == profile && key.asset == asset) {
        return Both(row.rule[MOAT_POL_ENFORCED][operation], row.rule[MOAT_POL_WOULD][operation]);
      }
    }
    return {};
  }

  Answer Gpu(uint32_t profile, std::optional<size_t> category) const {
    const moat_pol_profile* row = Profile(profile);
    if (row == nullptr) {
      return {};
    }
    const auto of = [&](const moat_pol_gpu& gpu) { return category ? gpu.calls[*category] : gpu.use; };
    return Both(of(row->gpu[MOAT_POL_ENFORCED]), of(row->gpu[MOAT_POL_WOULD]));
  }

 private:
  static Answer Both(uint32_t enforced, uint32_t would) {
    if ((enforced & MOAT_RULE_DENY) != 0) {
      return {.rule = enforced};
    }
    return (would & MOAT_RULE_DENY) != 0 ? Answer{.rule = enforced, .would = would}
                                         : Answer{.rule = enforced != 0 ? enforced : would};
  }

  const moat_pol_profile* Profile(uint32_t profile) const {
    for (const auto& [key, row] : rows_.profiles) {
      if (key.profile == profile) {
        return &row;
      }
    }
    return nullptr;
  }

  // The longest of the prefixes that fit. skip: where the bits begin that prefix_bits counts.
  template <typename Key, typename Value>
  static std::optional<Value> Longest(const policy::Rows::Table<Key, Value>& table, const Key& asked) {
    std::optional<Value> best;
    uint32_t best_bits = 0;
    const auto* want = reinterpret_cast<const uint8_t*>(&asked) + sizeof(uint32_t);
    for (const auto& [key, value] : table) {
      const auto* have = reinterpret_cast<const uint8_t*>(&key) + sizeof(uint32_t);
      bool fits = true;
      for (uint32_t bit = 0; bit < key.prefix_bits && fits; ++bit) {
        fits = ((want[bit / 8] ^ have[bit / 8]) >> (7 - bit % 8) & 1) == 0;
      }
      if (fits && (!best || key.prefix_bits > best_bits)) {
        best = value;
        best_bits = key.prefix_bits;
      }
    }
    return best;
  }

  // Of a list: by the address, then by each name.
  std::vector<moat_pol_port_key> Sets(uint32_t list, const To& to) const {
    std::vector<moat_pol_port_key> sets;
    const auto add = [&](uint32_t set) {
      moat_pol_port_key port{};
      port.set = set;
      port.protocol = to.protocol;
      port.port[0] = static_cast<uint8_t>(to.port >> 8);
      port.port[1] = static_cast<uint8_t>(to.port & 0xff);
      sets.push_back(port);
    };
    moat_pol_peer_key peer{};
    peer.list = list << 1 | (to.v6 ? 1u : 0u);
    std::memcpy(peer.address, to.address, sizeof(peer.address));
    if (const auto set = Longest(rows_.peers, peer); set && list != 0) {
      add(*set);
    }
    for (const std::string& name : to.names) {
      moat_pol_name_key key{};
      std::copy(name.rbegin(), name.rend(), key.text.name);
      const auto pattern = Longest(rows_.names, key);
      for (const auto& [named, set] : rows_.named) {
        if (pattern && named.list == list && named.pattern == *pattern && list != 0) {
          add(set);
        }
      }
    }
    return sets;
  }

  uint32_t Find(uint32_t list, const To& to) const {
    uint32_t first = 0;
    for (const moat_pol_port_key& port : Sets(list, to)) {
      const uint32_t rule = Longest(rows_.ports, port).value_or(0);
      const bool denies = (rule & MOAT_RULE_DENY) != 0, denied = (first & MOAT_RULE_DENY) != 0;
      if (rule != 0 && (first == 0 || (denies != denied ? denies : rule < first))) {
        first = rule;
      }
    }
    return first;
  }

  uint32_t Part(const moat_pol_profile& row, uint32_t profile, uint32_t part, uint64_t labels, const To& to) const {
    const moat_pol_egress& egress = row.egress[part];
    if (egress.unknown != 0) {
      return egress.unknown;
    }
    uint64_t held = labels & egress.holding;
    if (held != 0) {
      moat_pol_mask sum{};
      for (const moat_pol_port_key& port : Sets(egress.holders, to)) {
        const moat_pol_mask mask = Longest(rows_.masks, port).value_or(moat_pol_mask{});
        sum.denied |= mask.denied;
        sum.allowed |= mask.allowed;
      }
      held &= sum.denied | (egress.others & ~sum.allowed);
    }
    if (held != 0) {
      for (const auto& [key, holding] : rows_.holdings) {
        if (key.profile == profile && key.part == part && key.label == static_cast<uint32_t>(__builtin_ctzll(held))) {
          const uint32_t rule = Find(holding.list, to);
          return ((rule & MOAT_RULE_DENY) != 0 ? rule : holding.fallback) | MOAT_RULE_DENY;
        }
      }
      return MOAT_RULE_DENY;
    }
    if (to.protocol == MOAT_POL_REPLY) {
      return 0;
    }
    const uint32_t rule = Find(egress.list, to);
    return rule != 0 ? rule : egress.fallback;
  }

  const policy::Rows& rows_;
};

}  // namespace moat::test
