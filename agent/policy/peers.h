// SPDX-License-Identifier: Apache-2.0
// Lists of peers as rows: for each prefix the rules of all prefixes around it are united, so that the longest match says it all.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "agent/policy/image.h"
#include "agent/policy/model.h"
#include "agent/policy/patterns.h"

namespace moat::policy {

struct PeerRule {
  const Peer* peer = nullptr;
  uint32_t rule = 0;  // MOAT_RULE_DENY: it denies
};

// One thread.
class PeerLists {
 public:
  // patterns must outlive it.
  explicit PeerLists(const Patterns& patterns) : patterns_(patterns) {}

  // The number of a list, new or as given before for the same rules; 0: it has no peers. peers: in the order in which they are asked.
  // replies: see ports.h. New rows go to `rows`.
  uint32_t Add(const std::vector<PeerRule>& peers, bool replies, Rows& rows);

  // What is said of holders of each label, as one list of masks: who may not go where.
  struct Holders {
    size_t label = 0;
    std::vector<PeerRule> peers{};
  };
  uint32_t AddHolders(const std::vector<Holders>& holders, Rows& rows);

 private:
  struct Place;
  // By address, then by name.
  std::vector<Place> Places(const std::vector<PeerRule>& peers) const;
  void AddNamed(const std::vector<PeerRule>& peers, std::vector<Place>& places) const;
  static void AddRow(uint32_t list, const Place& place, uint32_t set, Rows& rows);
  uint32_t PortSet(const std::vector<const PeerRule*>& rules, bool replies, Rows& rows);

  const Patterns& patterns_;
  std::map<std::pair<bool, std::vector<uint32_t>>, uint32_t> lists_;  // by their rules
  std::map<std::pair<bool, std::vector<uint32_t>>, uint32_t> sets_;
  uint32_t numbers_ = 0;  // of lists, both kinds
  uint32_t masks_ = 0;  // of sets of masks
};

}  // namespace moat::policy
