// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/numbering.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "agent/event/event.h"
#include "agent/policy/values.h"

namespace moat::policy {
namespace {

class Numberer {
 public:
  Numberer(const Set& set, Rules& rules) : set_(set), rules_(rules) {}

  PolicyNumbers Of(const Policy& policy) {
    policy_ = &policy;
    PolicyNumbers numbers;
    if (policy.unknown == Action::kDeny) {
      numbers.unknown = New(policy.at, Action::kDeny, "unknown: deny");
    }
    if (policy.egress) {
      const Egress& egress = *policy.egress;
      numbers.peers = Peers(egress.deny, egress.allow, "egress");
      if (egress.fallback == Action::kDeny) {
        numbers.fallback = New(policy.at, Action::kDeny, "egress.default: deny");
      }
      for (const Holding& holding : egress.holding) {
        numbers.holding.push_back(OfHolding(holding));
      }
    }
    for (const AssetRule& rule : policy.assets) {
      numbers.assets.push_back(OfAsset(rule));
    }
    if (policy.gpu) {
      if (policy.gpu->use) {
        numbers.gpu_use = New(policy.at, *policy.gpu->use, std::string("gpu.use: ") + Word(*policy.gpu->use));
      }
      for (size_t bit = 0; bit < MOAT_POL_GPU_CATEGORIES; ++bit) {
        if ((policy.gpu->deny >> bit & 1) != 0) {
          numbers.gpu_calls[bit] = New(policy.at, Action::kDeny, std::string("gpu.deny ") + event::GpuCategoryName(bit));
        }
      }
    }
    return numbers;
  }

 private:
  static const char* Word(Action action) { return action == Action::kDeny ? "deny" : "allow"; }

  uint32_t New(const Where& at, Action action, std::string text) {
    const bool deny = action == Action::kDeny;
    rules_.texts.push_back({.policy = policy_->name,
                            .file = at.file,
                            .line = at.line,
                            .column = at.column,
                            .text = std::move(text),
                            .deny = deny,
                            .dry_run = policy_->mode == Mode::kDryRun});
    const auto number = static_cast<uint32_t>(rules_.first + rules_.texts.size() - 1);
    return deny ? number | MOAT_RULE_DENY : number;
  }

  std::vector<PeerRule> Peers(const std::vector<Peer>& deny, const std::vector<Peer>& allow, const std::string& where) {
    std::vector<PeerRule> peers;
    peers.reserve(deny.size() + allow.size());
    for (const Peer& peer : deny) {
      peers.push_back({.peer = &peer, .rule = New(peer.at, Action::kDeny, where + ".deny " + ToString(peer))});
    }
    for (const Peer& peer : allow) {
      peers.push_back({.peer = &peer, .rule = New(peer.at, Action::kAllow, where + ".allow " + ToString(peer))});
    }
    return peers;
  }

  size_t Label(const std::string& asset) const {
    const auto found = std::ranges::find(set_.assets, asset, &config::Asset::name);
    return static_cast<size_t>(found - set_.assets.begin());
  }

  HoldingNumbers OfHolding(const Holding& holding) {
    const std::string where = "egress.holding " + holding.asset;
    HoldingNumbers numbers{.label = Label(holding.asset), .peers = Peers(holding.deny, holding.allow, where)};
    if (!holding.allow.empty()) {
      numbers.others = New(holding.at, Action::kDeny, where + ": not among the allowed");
    }
    if (holding.budget) {
      numbers.budget = New(holding.at, Action::kDeny, where + ": budget of " + ToString(*holding.budget));
      numbers.limit = &*holding.budget;
    }
    return numbers;
  }

  PolicyNumbers::Asset OfAsset(const AssetRule& rule) {
    PolicyNumbers::Asset numbers{.label = Label(rule.asset)};
    const std::pair<const std::optional<Action>*, const char*> operations[] = {
        {&rule.read, "read"}, {&rule.write, "write"}, {&rule.map, "map"}, {&rule.exec, "exec"}};
    for (size_t i = 0; i < std::size(operations); ++i) {
      if (const std::optional<Action>& action = *operations[i].first) {
        numbers.rules[i] = New(rule.at, *action, "assets " + rule.asset + " " + operations[i].second + ": " + Word(*action));
      }
    }
    numbers.others = New(rule.at, Action::kDeny, "assets " + rule.asset + ": no policy allows it");
    return numbers;
  }

  const Set& set_;
  Rules& rules_;
  const Policy* policy_ = nullptr;
};

}  // namespace

std::vector<PolicyNumbers> Number(const Set& set, Rules& rules) {
  Numberer numberer(set, rules);
  std::vector<PolicyNumbers> numbers;
  numbers.reserve(set.policies.size());
  for (const Policy& policy : set.policies) {
    numbers.push_back(numberer.Of(policy));
  }
  return numbers;
}

std::string ToString(const Budget& budget) {
  const std::string what = budget.millionths != 0 ? std::to_string(budget.millionths / 10'000) + "." +
                                                        std::to_string(budget.millionths % 10'000 + 10'000).substr(1) + " percent"
                                                  : std::to_string(budget.bytes) + " bytes";
  return what + " per " + std::to_string(budget.per_seconds) + " s";
}

uint64_t LimitOf(const Budget& budget, uint64_t asset_bytes) {
  return budget.millionths == 0
             ? budget.bytes
             : asset_bytes / 1'000'000 * budget.millionths + asset_bytes % 1'000'000 * budget.millionths / 1'000'000;
}

std::string ToString(const Peer& peer) {
  std::string text = peer.cidr ? ToString(*peer.cidr) : peer.fqdn;
  for (const Ports& ports : peer.ports) {
    text += " " + ToString(ports);
  }
  return text;
}

}  // namespace moat::policy
