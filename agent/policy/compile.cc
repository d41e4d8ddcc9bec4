// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/compile.h"

#include <algorithm>
#include <set>
#include <utility>

#include "agent/policy/numbering.h"

namespace moat::policy {
namespace {

// What each policy says of a process, by its index: whether it selects it.
using Selection = std::vector<Selected>;

// FNV-1a: the same in every agent, since what was sent is counted by it and outlives them.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

constexpr size_t kMaxSpenders = 16384;

// The better known of two: yes, then perhaps, then no.
Selected Either(Selected a, Selected b) {
  if (a == Selected::kYes || b == Selected::kYes) {
    return Selected::kYes;
  }
  return a == Selected::kUnknown || b == Selected::kUnknown ? Selected::kUnknown : Selected::kNo;
}

class CompilerImpl final : public Compiler {
 public:
  CompilerImpl(const Set& set, uint32_t first_rule) : set_(set), patterns_(set), lists_(patterns_) {
    rules_.first = first_rule;
    numbers_ = Number(set, rules_);
    patterns_.AddRows(rows_);
  }

  std::vector<std::string> Executables() const override {
    std::set<std::string> paths;
    for (const Policy& policy : set_.policies) {
      for (const Subject& subject : policy.subjects) {
        if (subject.kind == Subject::Kind::kExecutable) {
          paths.insert(subject.name);
        }
      }
    }
    return {paths.begin(), paths.end()};
  }

  void AddExecutable(const std::string& path, uint32_t dev, uint64_t inode) override {
    moat_pol_exe_key key{};
    key.dev = dev;
    key.inode = inode;
    const auto [found, fresh] = exes_.try_emplace(path, static_cast<uint32_t>(exes_.size() + 1));
    if (fresh) {
      Identity who;
      who.executable = path;
      by_exe_.push_back(Select(who));
    }
    rows_.exes.emplace_back(key, found->second);
  }

  void SetAssetBytes(size_t label, uint64_t bytes) override { asset_bytes_[label] = bytes; }

  void AddCgroup(uint64_t cgroup_id, const Identity& who, bool settled) override {
    moat_pol_cgroup_key key{};
    key.cgroup_id = cgroup_id;
    const std::string& name = who.workload.empty() ? who.cgroup : who.workload;
    const uint32_t profile = Profile(Select(who));
    rows_.cgroups.emplace_back(
        key, moat_pol_cgroup{.profile = profile, .below = Profile(SelectBelow(who, settled)), .subject = Hash(name)});
    if (budgets_.contains(profile) && spenders_.size() < kMaxSpenders) {
      spenders_[name] = profile;
    }
  }

  std::vector<Spender> Spenders() const override {
    std::vector<Spender> out;
    for (const auto& [name, profile] : spenders_) {
      for (Spender spender : budgets_.at(profile)) {
        spender.subject = Hash(name);
        spender.name = name;
        out.push_back(std::move(spender));
      }
    }
    return out;
  }

  Rows Take() override { return std::exchange(rows_, {}); }

  const Rules& rules() const override { return rules_; }

 private:
  // Those that are asked for one of the two parts (abi/policy.h).
  struct Asked {
    std::vector<size_t> selecting, undecided, all;
    bool operator==(const Asked&) const = default;
  };

  Selection Select(const Identity& who) const {
    Selection selection;
    selection.reserve(set_.policies.size());
    for (const Policy& policy : set_.policies) {
      selection.push_back(policy.mode == Mode::kObserve ? Selected::kNo : Selects(policy, who));
    }
    return selection;
  }

  Selection SelectBelow(const Identity& who, bool settled) const {
    Selection selection = Select(who);
    for (size_t i = 0; i < selection.size(); ++i) {
      const Policy& policy = set_.policies[i];
      if (selection[i] == Selected::kNo && policy.mode != Mode::kObserve && MayBeBelow(policy, who, settled)) {
        selection[i] = Selected::kUnknown;
      }
    }
    return selection;
  }

  static bool MayBeBelow(const Policy& policy, const Identity& who, bool settled) {
    return std::ranges::any_of(policy.subjects, [&](const Subject& subject) {
      switch (subject.kind) {
        case Subject::Kind::kExecutable: return false;
        case Subject::Kind::kCgroup:
          return who.cgroup == "/" || (subject.name.starts_with(who.cgroup) && subject.name.size() > who.cgroup.size() &&
                                       subject.name[who.cgroup.size()] == '/');
        default: return !settled;
      }
    });
  }

  Asked Ask(const Selection& selection, bool dry_run_too) const {
    Asked asked;
    for (size_t i = 0; i < selection.size(); ++i) {
      const Mode mode = set_.policies[i].mode;
      if (mode == Mode::kObserve || (mode == Mode::kDryRun && !dry_run_too)) {
        continue;
      }
      asked.all.push_back(i);
      if (selection[i] == Selected::kYes) {
        asked.selecting.push_back(i);
      } else if (selection[i] == Selected::kUnknown) {
        asked.undecided.push_back(i);
      }
    }
    return asked;
  }

  // by_exe: as a cgroup gives it, so that executables may add to it.
  uint32_t Profile(const Selection& selection, bool by_exe = true) {
    const auto [found, fresh] =
        profiles_.try_emplace({selection, by_exe && !by_exe_.empty()}, static_cast<uint32_t>(profiles_.size() + 1));
    const uint32_t profile = found->second;
    if (!fresh) {
      return profile;
    }
    const Asked parts[MOAT_POL_PARTS] = {Ask(selection, /*dry_run_too=*/false), Ask(selection, /*dry_run_too=*/true)};
    moat_pol_profile row{};
    row.flags = (parts[0] == parts[1] ? 0 : MOAT_POL_DRY) | (SpeaksOfNames(parts[MOAT_POL_WOULD]) ? MOAT_POL_NAMES : 0);
    for (uint32_t part = 0; part < MOAT_POL_PARTS; ++part) {
      row.egress[part] = OfEgress(parts[part], profile, part);
      row.gpu[part] = OfGpu(parts[part]);
      row.flags |= row.egress[part].budgeted != 0 ? MOAT_POL_SPENDS : 0;
    }
    AddAssets(parts, profile, row);
    if (by_exe) {
      AddByExe(selection, profile, row);
    }
    moat_pol_profile_key key{};
    key.profile = profile;
    rows_.profiles.emplace_back(key, row);
    return profile;
  }

  bool SpeaksOfNames(const Asked& asked) const {
    const auto named = [](const std::vector<PeerRule>& peers) {
      return std::ranges::any_of(peers, [](const PeerRule& rule) { return !rule.peer->cidr; });
    };
    return std::ranges::any_of(asked.selecting, [&](size_t i) {
      return named(numbers_[i].peers) ||
             std::ranges::any_of(numbers_[i].holding, [&](const HoldingNumbers& holding) { return named(holding.peers); });
    });
  }

  // The first undecided policy that denies the unknown and has a rule of this kind.
  template <typename HasRule>
  uint32_t Unknown(const Asked& asked, HasRule has_rule) const {
    for (const size_t i : asked.undecided) {
      if (numbers_[i].unknown != 0 && has_rule(i)) {
        return numbers_[i].unknown;
      }
    }
    return 0;
  }

  // What is said of holders of one asset.
  struct Held {
    std::vector<PeerRule> peers{};
    uint32_t others = 0;  // the last that narrows
    moat_pol_holding row{};
  };

  // Of budgets over the same time the smallest counts. The set has no more times than there is room for (check.h).
  static void Narrow(moat_pol_budget (&budgets)[MOAT_POL_BUDGETS], const Budget& budget, uint32_t rule, uint64_t asset_bytes) {
    const uint64_t bytes = LimitOf(budget, asset_bytes);
    const auto seconds = static_cast<uint32_t>(budget.per_seconds);
    for (moat_pol_budget& row : budgets) {
      const bool unused = row.rule == 0;
      if (!unused && row.per_seconds != seconds) {
        continue;
      }
      if (unused || bytes < row.bytes) {
        row = {.bytes = bytes, .per_seconds = seconds, .rule = rule};
      }
      return;
    }
  }

  moat_pol_egress OfEgress(const Asked& asked, uint32_t profile, uint32_t part) {
    moat_pol_egress egress{};
    egress.unknown = Unknown(asked, [this](size_t i) { return set_.policies[i].egress.has_value(); });
    std::vector<PeerRule> peers;
    std::map<size_t, Held> holders;  // by label
    for (const size_t i : asked.selecting) {
      const PolicyNumbers& policy = numbers_[i];
      peers.insert(peers.end(), policy.peers.begin(), policy.peers.end());
      egress.fallback = egress.fallback == 0 ? policy.fallback : egress.fallback;
      for (const HoldingNumbers& holding : policy.holding) {
        Held& held = holders[holding.label];
        held.peers.insert(held.peers.end(), holding.peers.begin(), holding.peers.end());
        held.others = holding.others != 0 ? holding.others : held.others;
        const bool counts_here = (set_.policies[i].mode == Mode::kDryRun) == (part == MOAT_POL_WOULD);
        if (holding.budget != 0 && counts_here) {
          Narrow(held.row.budgets, *holding.limit, holding.budget, asset_bytes_[holding.label]);
        }
      }
    }
    egress.list = lists_.Add(peers, /*replies=*/false, rows_);
    std::vector<PeerLists::Holders> masks;
    for (auto& [label, held] : holders) {
      const uint64_t bit = uint64_t{1} << label;
      egress.budgeted |= held.row.budgets[0].rule != 0 ? bit : 0;
      if (!held.peers.empty() || held.others != 0) {
        masks.push_back({.label = label, .peers = held.peers});
        egress.others |= held.others != 0 ? bit : 0;
        egress.holding |= bit;
        held.row.list = lists_.Add(held.peers, /*replies=*/true, rows_);
        held.row.fallback = held.others;
      }
      moat_pol_holding_key key{};
      key.profile = profile;
      key.part = part;
      key.label = static_cast<uint32_t>(label);
      rows_.holdings.emplace_back(key, held.row);
      for (const moat_pol_budget& budget : held.row.budgets) {
        if (budget.rule != 0) {
          budgets_[profile].push_back({.label = key.label, .dry_run = part == MOAT_POL_WOULD, .budget = budget});
        }
      }
    }
    egress.holders = lists_.AddHolders(masks, rows_);
    return egress;
  }

  moat_pol_gpu OfGpu(const Asked& asked) const {
    const auto first = [&](auto rule) {
      uint32_t number = Unknown(asked, [&](size_t i) { return (rule(numbers_[i]) & MOAT_RULE_DENY) != 0; });
      for (size_t k = 0; k < asked.selecting.size() && number == 0; ++k) {
        const uint32_t said = rule(numbers_[asked.selecting[k]]);
        number = (said & MOAT_RULE_DENY) != 0 ? said : 0;
      }
      return number;
    };
    moat_pol_gpu gpu{};
    gpu.use = first([](const PolicyNumbers& policy) { return policy.gpu_use; });
    for (size_t bit = 0; bit < MOAT_POL_GPU_CATEGORIES; ++bit) {
      gpu.calls[bit] = first([bit](const PolicyNumbers& policy) { return policy.gpu_calls[bit]; });
    }
    return gpu;
  }

  static const PolicyNumbers::Asset* Named(const PolicyNumbers& policy, size_t label) {
    const auto found = std::ranges::find(policy.assets, label, &PolicyNumbers::Asset::label);
    return found == policy.assets.end() ? nullptr : &*found;
  }

  // 0: no policy that is asked names the asset.
  uint32_t OfAsset(const Asked& asked, size_t label, size_t operation) const {
    if (const uint32_t unknown = Unknown(asked, [&](size_t i) { return Named(numbers_[i], label) != nullptr; })) {
      return unknown;
    }
    uint32_t allowing = 0;
    for (const size_t i : asked.selecting) {
      const PolicyNumbers::Asset* named = Named(numbers_[i], label);
      const uint32_t rule = named != nullptr ? named->rules[operation] : 0;
      if ((rule & MOAT_RULE_DENY) != 0) {
        return rule;
      }
      allowing = allowing == 0 ? rule : allowing;
    }
    if (allowing != 0) {
      return allowing;
    }
    for (const size_t i : asked.all) {
      if (const PolicyNumbers::Asset* named = Named(numbers_[i], label)) {
        return named->others;
      }
    }
    return 0;
  }

  void AddAssets(const Asked (&parts)[MOAT_POL_PARTS], uint32_t profile, moat_pol_profile& to) {
    for (size_t label = 0; label < set_.assets.size(); ++label) {
      moat_pol_asset row{};
      bool any = false;
      for (size_t part = 0; part < MOAT_POL_PARTS; ++part) {
        for (size_t operation = 0; operation < MOAT_POL_OPERATIONS; ++operation) {
          row.rule[part][operation] = OfAsset(parts[part], label, operation);
          any = any || row.rule[part][operation] != 0;
        }
        to.unread[part] |= (row.rule[part][MOAT_POL_READ] & MOAT_RULE_DENY) != 0 ? uint64_t{1} << label : 0;
      }
      if (any) {
        moat_pol_asset_key key{};
        key.profile = profile;
        key.asset = static_cast<uint32_t>(label);
        rows_.assets.emplace_back(key, row);
      }
    }
  }

  // The same processes, when they run an executable that is a subject.
  void AddByExe(const Selection& selection, uint32_t profile, moat_pol_profile& row) {
    for (size_t exe = 0; exe < by_exe_.size(); ++exe) {
      Selection both = selection;
      for (size_t i = 0; i < both.size(); ++i) {
        both[i] = Either(both[i], by_exe_[exe][i]);
      }
      if (both != selection) {
        row.flags |= MOAT_POL_BY_EXE;
        moat_pol_by_exe_key key{};
        key.profile = profile;
        key.exe = static_cast<uint32_t>(exe + 1);
        rows_.by_exe.emplace_back(key, Profile(both, /*by_exe=*/false));
      }
    }
  }

  const Set& set_;
  Rules rules_;
  std::vector<PolicyNumbers> numbers_;
  std::map<size_t, uint64_t> asset_bytes_;  // by label
  std::map<uint32_t, std::vector<Spender>> budgets_;  // by profile; of nobody yet
  std::map<std::string, uint32_t> spenders_;  // by name: the profile of the cgroup that was added last
  const Patterns patterns_;
  PeerLists lists_;
  std::map<std::pair<Selection, bool>, uint32_t> profiles_;
  std::map<std::string, uint32_t> exes_;  // path -> number
  std::vector<Selection> by_exe_;         // by number - 1
  Rows rows_;
};

}  // namespace

std::unique_ptr<Compiler> Compiler::Create(const Set& set, uint32_t first_rule) {
  return std::make_unique<CompilerImpl>(set, first_rule);
}

}  // namespace moat::policy
