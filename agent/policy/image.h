// SPDX-License-Identifier: Apache-2.0
// A compiled policy: rows for the kernel's maps (bpf/abi/policy.h), and what its rules are, for people. Plain data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bpf/abi/name.h"

namespace moat::policy {

// Rows of one generation. The generation stands in no key yet: who writes them gives it (probe/policy_maps.h).
struct Rows {
  template <typename Key, typename Value>
  using Table = std::vector<std::pair<Key, Value>>;

  Table<moat_pol_cgroup_key, moat_pol_cgroup> cgroups{};
  Table<moat_pol_profile_key, moat_pol_profile> profiles{};
  Table<moat_pol_exe_key, uint32_t> exes{};
  Table<moat_pol_by_exe_key, uint32_t> by_exe{};
  Table<moat_pol_holding_key, moat_pol_holding> holdings{};
  Table<moat_pol_peer_key, uint32_t> peers{};
  Table<moat_pol_port_key, uint32_t> ports{};
  Table<moat_pol_port_key, moat_pol_mask> masks{};
  Table<moat_pol_name_key, uint32_t> names{};
  Table<moat_pol_named_key, uint32_t> named{};
  Table<moat_pol_asset_key, moat_pol_asset> assets{};

  size_t size() const {
    return cgroups.size() + profiles.size() + exes.size() + by_exe.size() + holdings.size() + peers.size() + ports.size() +
           masks.size() + names.size() + named.size() + assets.size();
  }
};

// A DNS server whose answers are believed.
struct Resolver {
  std::array<uint8_t, 16> address{};  // network order; of IPv4 the first four
  bool v6 = false;
  bool local = false;  // of this host: its answers come over the loopback device
  bool operator==(const Resolver&) const = default;
};

// What a rule is, for the telling.
struct RuleText {
  std::string policy{};  // its name
  std::string file{};
  int line = 0, column = 0;
  std::string text{};  // "egress.allow 10.0.0.0/8 443/tcp", "egress.default: deny"
  bool deny = false;
  bool dry_run = false;
};

// The number of a rule is first_rule + its index here.
struct Rules {
  uint32_t first = 1;
  std::vector<RuleText> texts{};
};

}  // namespace moat::policy
