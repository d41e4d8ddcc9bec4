// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/peers.h"

#include <algorithm>
#include <compare>
#include <cstring>
#include <optional>
#include <tuple>

#include "agent/policy/ports.h"

namespace moat::policy {
namespace {

struct Placed {
  Cidr cidr{};
  size_t order = 0;  // among the peers
};

bool Before(const Placed& a, const Placed& b) {
  return std::tie(a.cidr.v6, a.cidr.address, a.cidr.length, a.order) <
         std::tie(b.cidr.v6, b.cidr.address, b.cidr.length, b.order);
}

bool Covers(const Cidr& wide, const Cidr& narrow) {
  if (wide.v6 != narrow.v6 || wide.length > narrow.length) {
    return false;
  }
  const size_t whole = wide.length / 8, rest = wide.length % 8;
  const auto mask = static_cast<uint8_t>(0xff00 >> rest);
  return std::equal(wide.address.begin(), wide.address.begin() + static_cast<std::ptrdiff_t>(whole), narrow.address.begin()) &&
         (rest == 0 || ((wide.address[whole] ^ narrow.address[whole]) & mask) == 0);
}

// What of the address counts.
Cidr Masked(Cidr cidr) {
  for (size_t bit = cidr.length; bit < 128; ++bit) {
    cidr.address[bit / 8] = static_cast<uint8_t>(cidr.address[bit / 8] & ~(0x80 >> bit % 8));
  }
  return cidr;
}

std::vector<uint32_t> Numbers(const std::vector<const PeerRule*>& rules) {
  std::vector<uint32_t> numbers;
  numbers.reserve(rules.size());
  for (const PeerRule* rule : rules) {
    numbers.push_back(rule->rule);
  }
  return numbers;
}

}  // namespace

uint32_t PeerLists::PortSet(const std::vector<const PeerRule*>& rules, bool replies, Rows& rows) {
  const auto [found, fresh] = sets_.try_emplace({replies, Numbers(rules)}, static_cast<uint32_t>(sets_.size() + 1));
  const uint32_t set = found->second;
  if (!fresh) {
    return set;
  }
  std::vector<PortRule> by_port;
  by_port.reserve(rules.size());
  for (const PeerRule* rule : rules) {
    by_port.push_back({.rule = rule->rule, .ports = &rule->peer->ports});
  }
  if (rules.size() == 1 && rules.front()->peer->ports.empty()) {  // every port of every protocol
    moat_pol_port_key key{};
    key.prefix_bits = MOAT_POL_PORT_FIXED;
    key.set = set;
    rows.ports.emplace_back(key, rules.front()->rule);
    return set;
  }
  for (const PortRange& range : Flatten(by_port, replies)) {
    for (moat_pol_port_key key : Prefixes(range)) {
      key.set = set;
      rows.ports.emplace_back(key, range.rule);
    }
  }
  return set;
}

// A prefix or a pattern of names, and the rules of it and of all around it, in their order.
struct PeerLists::Place {
  Cidr cidr{};
  uint32_t pattern = 0;  // 0: it is a prefix
  std::vector<size_t> orders{};
};

void PeerLists::AddNamed(const std::vector<PeerRule>& peers, std::vector<Place>& places) const {
  std::map<uint32_t, std::vector<size_t>> orders;  // by pattern
  for (size_t i = 0; i < peers.size(); ++i) {
    if (!peers[i].peer->cidr) {
      for (const uint32_t pattern : patterns_.Within(peers[i].peer->fqdn)) {
        orders[pattern].push_back(i);
      }
    }
  }
  for (auto& [pattern, of_pattern] : orders) {
    places.push_back({.cidr = {}, .pattern = pattern, .orders = std::move(of_pattern)});
  }
}

std::vector<PeerLists::Place> PeerLists::Places(const std::vector<PeerRule>& peers) const {
  std::vector<Placed> placed;
  placed.reserve(peers.size());
  for (size_t i = 0; i < peers.size(); ++i) {
    if (const std::optional<Cidr>& cidr = peers[i].peer->cidr) {
      placed.push_back({.cidr = Masked(*cidr), .order = i});
    }
  }
  // Wider prefixes come first, and those around the one at hand are on the stack.
  std::sort(placed.begin(), placed.end(), Before);
  std::vector<Place> places;
  std::vector<size_t> around;
  for (size_t i = 0; i < placed.size();) {
    while (!around.empty() && !Covers(places[around.back()].cidr, placed[i].cidr)) {
      around.pop_back();
    }
    Place here{
        .cidr = placed[i].cidr, .pattern = 0, .orders = around.empty() ? std::vector<size_t>() : places[around.back()].orders};
    for (; i < placed.size() && placed[i].cidr == here.cidr; ++i) {
      here.orders.push_back(placed[i].order);
    }
    std::ranges::sort(here.orders);
    around.push_back(places.size());
    places.push_back(std::move(here));
  }
  AddNamed(peers, places);
  return places;
}

namespace {

moat_pol_peer_key PeerKey(uint32_t list, const Cidr& cidr) {
  moat_pol_peer_key key{};
  key.prefix_bits = MOAT_POL_PEER_FIXED + cidr.length;
  key.list = list << 1 | (cidr.v6 ? 1u : 0u);
  std::memcpy(key.address, cidr.address.data(), sizeof(key.address));
  return key;
}

}  // namespace

void PeerLists::AddRow(uint32_t list, const Place& place, uint32_t set, Rows& rows) {
  if (place.pattern == 0) {
    rows.peers.emplace_back(PeerKey(list, place.cidr), set);
    return;
  }
  moat_pol_named_key key{};
  key.list = list;
  key.pattern = place.pattern;
  rows.named.emplace_back(key, set);
}

uint32_t PeerLists::Add(const std::vector<PeerRule>& peers, bool replies, Rows& rows) {
  if (peers.empty()) {
    return 0;
  }
  std::vector<const PeerRule*> all;
  all.reserve(peers.size());
  for (const PeerRule& peer : peers) {
    all.push_back(&peer);
  }
  const auto [found, fresh] = lists_.try_emplace({replies, Numbers(all)}, numbers_ + 1);
  if (!fresh) {
    return found->second;
  }
  const uint32_t list = ++numbers_;
  for (const Place& place : Places(peers)) {
    std::vector<const PeerRule*> rules;
    rules.reserve(place.orders.size());
    for (const size_t order : place.orders) {
      rules.push_back(&peers[order]);
    }
    AddRow(list, place, PortSet(rules, replies, rows), rows);
  }
  return list;
}

uint32_t PeerLists::AddHolders(const std::vector<Holders>& holders, Rows& rows) {
  std::vector<PeerRule> peers;
  std::vector<const Holders*> whose;  // of each of them
  for (const Holders& one : holders) {
    for (const PeerRule& peer : one.peers) {
      peers.push_back(peer);
      whose.push_back(&one);
    }
  }
  if (peers.empty()) {
    return 0;
  }
  const uint32_t list = ++numbers_;
  for (const Place& place : Places(peers)) {
    std::vector<MaskRules> by_label;
    for (const Holders& one : holders) {
      MaskRules rules{.label = one.label, .rules = {}};
      for (const size_t order : place.orders) {
        if (whose[order] == &one) {
          rules.rules.push_back({.rule = peers[order].rule, .ports = &peers[order].peer->ports});
        }
      }
      by_label.push_back(std::move(rules));
    }
    const uint32_t set = ++masks_;
    for (const PortMask& range : FlattenMasks(by_label)) {
      for (moat_pol_port_key key : Prefixes(range.range)) {
        key.set = set;
        rows.masks.emplace_back(key, range.mask);
      }
    }
    AddRow(list, place, set, rows);
  }
  return list;
}

}  // namespace moat::policy
