// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/evaluate.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace moat::policy {
namespace {

// The policies that are asked: all that decide, or only the enforced ones.
struct Asked {
  std::vector<const Policy*> selecting;
  std::vector<const Policy*> undecided;  // that may select it, nobody knows yet
  std::vector<const Policy*> all;
};

Asked Ask(const Set& set, const Identity& who, bool dry_run_too) {
  Asked asked;
  for (const Policy& policy : set.policies) {
    if (policy.mode == Mode::kObserve || (policy.mode == Mode::kDryRun && !dry_run_too)) {
      continue;
    }
    asked.all.push_back(&policy);
    const Selected selected = Selects(policy, who);
    if (selected == Selected::kYes) {
      asked.selecting.push_back(&policy);
    } else if (selected == Selected::kUnknown) {
      asked.undecided.push_back(&policy);
    }
  }
  return asked;
}

Decision Decide(Action action, const Policy* policy, const Where& rule, std::string why) {
  return {.action = action, .enforced = true, .policy = policy, .rule = rule, .why = std::move(why)};
}

// Enforced policies first; then what those in dry-run would add.
Decision Twice(const Set& set, const Identity& who, const std::function<Decision(const Asked&)>& decide) {
  Decision decision = decide(Ask(set, who, /*dry_run_too=*/false));
  if (decision.action == Action::kDeny) {
    return decision;
  }
  Decision would = decide(Ask(set, who, /*dry_run_too=*/true));
  if (would.action == Action::kDeny) {
    would.enforced = false;
    return would;
  }
  return decision.policy != nullptr ? decision : would;
}

// A policy that may select it, and denies what it does not know, has a rule of this kind.
std::optional<Decision> DeniedUnknown(const Asked& asked, const std::function<bool(const Policy&)>& has_rule) {
  for (const Policy* policy : asked.undecided) {
    if (policy->unknown == Action::kDeny && has_rule(*policy)) {
      return Decide(Action::kDeny, policy, policy->at, "who it is is not known yet, and unknown is deny");
    }
  }
  return std::nullopt;
}

bool Contains(const Cidr& network, const Cidr& address) {
  if (network.v6 != address.v6) {
    return false;
  }
  for (size_t bit = 0; bit < network.length; ++bit) {
    const auto mask = static_cast<uint8_t>(0x80 >> bit % 8);
    if ((network.address[bit / 8] & mask) != (address.address[bit / 8] & mask)) {
      return false;
    }
  }
  return true;
}

bool NameFits(std::string_view pattern, std::string_view name) {
  if (!pattern.starts_with("*.")) {
    return pattern == name;
  }
  const std::string_view ending = pattern.substr(1);  // ".example.com"
  return name.size() > ending.size() && name.ends_with(ending);
}

bool PortsMatch(const Peer& peer, const Destination& where, Action action) {
  if (peer.ports.empty()) {
    return true;
  }
  return std::ranges::any_of(peer.ports, [&](const Ports& ports) {
    return where.reply ? action == Action::kAllow && ports.protocol == Protocol::kTcp
                       : ports.protocol == where.protocol && ports.low <= where.port && where.port <= ports.high;
  });
}

bool Matches(const Peer& peer, const Destination& where, Action action) {
  const bool here = peer.cidr ? Contains(*peer.cidr, where.address)
                              : std::ranges::any_of(where.names, [&](const auto& name) { return NameFits(peer.fqdn, name); });
  return here && PortsMatch(peer, where, action);
}

const Peer* Find(const std::vector<Peer>& peers, const Destination& where, Action action) {
  const auto found = std::ranges::find_if(peers, [&](const Peer& peer) { return Matches(peer, where, action); });
  return found == peers.end() ? nullptr : &*found;
}

// What is said of holders of one asset: a denial, or nothing.
std::optional<Decision> DeniedHolder(const Asked& asked, const std::string& asset, const Destination& where) {
  const Policy* narrows = nullptr;
  Where narrowed;
  bool allowed = false;
  for (const Policy* policy : asked.selecting) {
    if (!policy->egress) {
      continue;
    }
    for (const Holding& holding : policy->egress->holding) {
      if (holding.asset != asset) {
        continue;
      }
      if (const Peer* peer = Find(holding.deny, where, Action::kDeny)) {
        return Decide(Action::kDeny, policy, peer->at, "it holds " + asset + ", whose holders may not go there");
      }
      if (!holding.allow.empty()) {
        narrows = policy;
        narrowed = holding.at;
        allowed = allowed || Find(holding.allow, where, Action::kAllow) != nullptr;
      }
    }
  }
  if (narrows != nullptr && !allowed) {
    return Decide(Action::kDeny, narrows, narrowed, "it holds " + asset + ", whose holders may go to other places only");
  }
  return std::nullopt;
}

Decision OfEgress(const Asked& asked, const Set& set, uint64_t held, const Destination& where) {
  if (auto denied = DeniedUnknown(asked, [](const Policy& policy) { return policy.egress.has_value(); })) {
    return *std::move(denied);
  }
  for (size_t label = 0; label < set.assets.size(); ++label) {
    if ((held >> label & 1) != 0) {
      if (auto denied = DeniedHolder(asked, set.assets[label].name, where)) {
        return *std::move(denied);
      }
    }
  }
  if (where.reply) {
    return {};
  }
  const Policy *allowing = nullptr, *closing = nullptr;
  Where allowed;
  for (const Policy* policy : asked.selecting) {
    if (!policy->egress) {
      continue;
    }
    if (const Peer* peer = Find(policy->egress->deny, where, Action::kDeny)) {
      return Decide(Action::kDeny, policy, peer->at, "egress.deny");
    }
    const Peer* peer = Find(policy->egress->allow, where, Action::kAllow);
    if (allowing == nullptr && peer != nullptr) {
      allowing = policy;
      allowed = peer->at;
    }
    closing = closing == nullptr && policy->egress->fallback == Action::kDeny ? policy : closing;
  }
  if (allowing != nullptr) {
    return Decide(Action::kAllow, allowing, allowed, "egress.allow");
  }
  if (closing != nullptr) {
    return Decide(Action::kDeny, closing, closing->at, "egress.default is deny");
  }
  return {};
}

std::optional<Action> Of(const AssetRule& rule, Operation operation) {
  switch (operation) {
    case Operation::kRead: return rule.read;
    case Operation::kWrite: return rule.write;
    case Operation::kMap: return rule.map;
    case Operation::kExec: return rule.exec;
  }
  return std::nullopt;
}

Decision OfAsset(const Asked& asked, std::string_view asset, Operation operation) {
  const auto names_it = [&](const Policy& policy) {
    return std::ranges::find(policy.assets, asset, &AssetRule::asset) != policy.assets.end();
  };
  if (auto denied = DeniedUnknown(asked, names_it)) {
    return *std::move(denied);
  }
  const Policy* allowing = nullptr;
  Where allowed;
  for (const Policy* policy : asked.selecting) {
    const auto rule = std::ranges::find(policy->assets, asset, &AssetRule::asset);
    const std::optional<Action> action = rule == policy->assets.end() ? std::nullopt : Of(*rule, operation);
    if (action == Action::kDeny) {
      return Decide(Action::kDeny, policy, rule->at, "assets: deny");
    }
    if (action == Action::kAllow && allowing == nullptr) {
      allowing = policy;
      allowed = rule->at;
    }
  }
  if (allowing != nullptr) {
    return Decide(Action::kAllow, allowing, allowed, "assets: allow");
  }
  const auto named = std::ranges::find_if(asked.all, [&](const Policy* policy) { return names_it(*policy); });
  if (named == asked.all.end()) {
    return {};
  }
  const auto rule = std::ranges::find((*named)->assets, asset, &AssetRule::asset);
  return Decide(Action::kDeny, *named, rule->at, "no policy allows it, and this one names the asset");
}

Decision OfGpu(const Asked& asked, const std::function<std::optional<Action>(const Gpu&)>& rule) {
  const auto says = [&](const Policy& policy) { return policy.gpu ? rule(*policy.gpu) : std::nullopt; };
  if (auto denied = DeniedUnknown(asked, [&](const Policy& policy) { return says(policy) == Action::kDeny; })) {
    return *std::move(denied);
  }
  Decision decision;
  for (const Policy* policy : asked.selecting) {
    const std::optional<Action> action = says(*policy);
    if (action == Action::kDeny) {
      return Decide(Action::kDeny, policy, policy->at, "gpu: deny");
    }
    if (action == Action::kAllow && decision.policy == nullptr) {
      decision = Decide(Action::kAllow, policy, policy->at, "gpu.use: allow");
    }
  }
  return decision;
}

}  // namespace

Decision EvaluateEgress(const Set& set, const Identity& who, uint64_t held, const Destination& where) {
  return Twice(set, who, [&](const Asked& asked) { return OfEgress(asked, set, held, where); });
}

bool HoldersMayGo(const Set& set, const Identity& who, uint64_t held, const Destination& where) {
  if (held == 0 || EvaluateEgress(set, who, held, where).action == Action::kDeny) {
    return false;
  }
  const auto named = [&](const std::string& asset) {
    return std::ranges::any_of(set.policies, [&](const Policy& policy) {
      return policy.mode != Mode::kObserve && policy.egress && Selects(policy, who) == Selected::kYes &&
             std::ranges::any_of(policy.egress->holding, [&](const Holding& holding) {
               return holding.asset == asset && Find(holding.allow, where, Action::kAllow) != nullptr;
             });
    });
  };
  for (size_t label = 0; label < set.assets.size() && label < 64; ++label) {
    if ((held >> label & 1) != 0 && !named(set.assets[label].name)) {
      return false;
    }
  }
  return true;
}

Decision EvaluateAsset(const Set& set, const Identity& who, std::string_view asset, Operation operation) {
  return Twice(set, who, [&](const Asked& asked) { return OfAsset(asked, asset, operation); });
}

Decision EvaluateGpuUse(const Set& set, const Identity& who) {
  return Twice(set, who, [&](const Asked& asked) { return OfGpu(asked, [](const Gpu& gpu) { return gpu.use; }); });
}

Decision EvaluateGpuCall(const Set& set, const Identity& who, GpuCategory category) {
  const auto rule = [category](const Gpu& gpu) {
    return (gpu.deny & category) != 0 ? std::optional(Action::kDeny) : std::nullopt;
  };
  return Twice(set, who, [&](const Asked& asked) { return OfGpu(asked, rule); });
}

}  // namespace moat::policy
