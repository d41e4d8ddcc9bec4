// SPDX-License-Identifier: Apache-2.0
// The rules of a set of policies, numbered in the order in which they are asked, with a text for each.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "agent/policy/image.h"
#include "agent/policy/model.h"
#include "agent/policy/peers.h"

namespace moat::policy {

// Numbers carry MOAT_RULE_DENY where the rule denies; 0: there is no such rule.
struct HoldingNumbers {
  size_t label = 0;
  std::vector<PeerRule> peers{};  // denials first
  uint32_t others = 0;  // holders go to the allowed peers only
  uint32_t budget = 0;
  const Budget* limit = nullptr;  // of budget
};

struct PolicyNumbers {
  uint32_t unknown = 0;
  std::vector<PeerRule> peers{};  // denials first
  uint32_t fallback = 0;
  std::vector<HoldingNumbers> holding{};
  struct Asset {
    size_t label = 0;
    std::array<uint32_t, MOAT_POL_OPERATIONS> rules{};
    uint32_t others = 0;  // it is named here, and no policy allows it
  };
  std::vector<Asset> assets{};
  uint32_t gpu_use = 0;
  std::array<uint32_t, MOAT_POL_GPU_CATEGORIES> gpu_calls{};
};

// One for each policy. They point into set. `rules.first` is given.
std::vector<PolicyNumbers> Number(const Set& set, Rules& rules);

// "10.0.0.0/8 443/tcp 53/udp", "*.example.com"
std::string ToString(const Peer& peer);
// "1048576 bytes per 86400 s", "1.0000 percent per 86400 s"
std::string ToString(const Budget& budget);
// In bytes, for an asset of this size.
uint64_t LimitOf(const Budget& budget, uint64_t asset_bytes);

}  // namespace moat::policy
