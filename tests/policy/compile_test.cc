// SPDX-License-Identifier: Apache-2.0
// What the kernel is given decides as the policies mean: thousands of policies made up at random, each asked about many acts, once by
// evaluate.h and once by look-ups in the compiled image. The action, whether it is enforced, and the rule must be the same.
#include <gtest/gtest.h>

#include <random>

#include "agent/policy/compile.h"
#include "agent/policy/evaluate.h"
#include "agent/policy/parse.h"
#include "agent/policy/values.h"
#include "tests/policy/lookup.h"

namespace moat::test {
namespace {

using policy::Action;
using policy::Decision;
using policy::Identity;
using policy::Mode;
using policy::Protocol;

constexpr uint64_t kCgroup = 77, kExeInode = 5;
constexpr size_t kAssets = 3;

// Few values, so that rules meet.
class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  policy::Where At() { return {.file = "made-up.yaml", .line = ++line_, .column = 1}; }
  Action Any() { return OneIn(2) ? Action::kAllow : Action::kDeny; }

  policy::Cidr Address() {
    policy::Cidr cidr{.address = {}, .length = 32, .v6 = OneIn(3)};
    cidr.length = cidr.v6 ? 128 : 32;
    for (size_t i = 0; i < (cidr.v6 ? 16 : 4); ++i) {
      cidr.address[i] = static_cast<uint8_t>(Below(2) * 128 + Below(2));
    }
    return cidr;
  }

  policy::Cidr Network() {
    policy::Cidr cidr = Address();
    cidr.length = static_cast<uint8_t>(Below(cidr.length + 1u));
    if (OneIn(2)) {
      cidr.length = static_cast<uint8_t>(cidr.length / 8 * 8);
    }
    for (size_t bit = cidr.length; bit < 128; ++bit) {
      cidr.address[bit / 8] = static_cast<uint8_t>(cidr.address[bit / 8] & ~(0x80 >> bit % 8));
    }
    return cidr;
  }

  uint16_t Port() { return static_cast<uint16_t>(OneIn(4) ? 1 + Below(65535) : 440 + Below(8)); }

  policy::Ports Ports() {
    if (OneIn(6)) {
      return {.protocol = Protocol::kIcmp};
    }
    uint16_t low = Port(), high = OneIn(2) ? low : Port();
    if (low > high) {
      std::swap(low, high);
    }
    return {.protocol = OneIn(3) ? Protocol::kUdp : Protocol::kTcp, .low = low, .high = high};
  }

  std::string Name() {
    std::string name = OneIn(2) ? "com" : "org";
    for (uint32_t labels = Below(4); labels > 0; --labels) {
      name.insert(0, OneIn(2) ? "a." : OneIn(2) ? "aa." : "b.");
    }
    return name;
  }

  std::vector<policy::Peer> Peers() {
    std::vector<policy::Peer> peers(Below(4));
    for (policy::Peer& peer : peers) {
      peer.at = At();
      if (OneIn(3)) {
        peer.fqdn = (OneIn(2) ? "*." : "") + Name();
      } else {
        peer.cidr = Network();
      }
      peer.ports.resize(OneIn(3) ? 0 : 1 + Below(3));
      for (policy::Ports& ports : peer.ports) {
        ports = Ports();
      }
    }
    return peers;
  }

  policy::Policy Policy(size_t number) {
    policy::Policy policy{.at = At(), .name = "p" + std::to_string(number)};
    policy.mode = OneIn(5) ? Mode::kObserve : OneIn(3) ? Mode::kDryRun : Mode::kEnforce;
    policy.unknown = OneIn(4) ? Action::kDeny : Action::kAllow;
    policy.subjects.push_back(Subject());
    if (!OneIn(4)) {
      policy.egress = policy::Egress{.fallback = Any(), .allow = Peers(), .deny = Peers()};
      for (size_t asset = 0; asset < kAssets; ++asset) {
        if (OneIn(2)) {
          policy.egress->holding.push_back({.at = At(), .asset = Asset(asset), .allow = Peers(), .deny = Peers(), .budget = {}});
        }
      }
    }
    for (size_t asset = 0; asset < kAssets; ++asset) {
      if (OneIn(3)) {
        policy::AssetRule rule{.at = At(), .asset = Asset(asset)};
        for (auto* operation : {&rule.read, &rule.write, &rule.map, &rule.exec}) {
          if (OneIn(2)) {
            *operation = Any();
          }
        }
        policy.assets.push_back(rule);
      }
    }
    if (OneIn(2)) {
      policy.gpu = policy::Gpu{.deny = static_cast<uint8_t>(Below(128))};
      if (OneIn(2)) {
        policy.gpu->use = Any();
      }
    }
    return policy;
  }

  policy::Subject Subject() {
    switch (Below(6)) {
      case 0: return {.kind = policy::Subject::Kind::kUnit, .name = "other.service"};
      case 1: return {.kind = policy::Subject::Kind::kPod, .pod_namespace = OneIn(2) ? "prod" : "dev"};
      case 2: return {.kind = policy::Subject::Kind::kExecutable, .name = "/usr/bin/python3"};
      case 3: return {.kind = policy::Subject::Kind::kCgroup, .name = OneIn(2) ? "/a" : "/a/b/c"};
      default: return {.kind = policy::Subject::Kind::kUnit, .name = "our.service"};
    }
  }

  static std::string Asset(size_t i) { return "asset" + std::to_string(i); }

  policy::Set Set() {
    policy::Set set;
    for (size_t i = 0; i < kAssets; ++i) {
      set.assets.push_back({.name = Asset(i), .paths = {}});
    }
    const size_t policies = 1 + Below(4);
    for (size_t i = 0; i < policies; ++i) {
      set.policies.push_back(Policy(i));
    }
    return set;
  }

 private:
  std::mt19937 random_;
  int line_ = 0;
};

std::string Told(const Decision& decision) {
  const std::string rule =
      decision.policy != nullptr ? " by " + decision.policy->name + ":" + std::to_string(decision.rule.line) : "";
  return (decision.action == Action::kAllow ? "allow" : decision.enforced ? "deny" : "would deny") + rule;
}

std::string Told(const Lookup::Answer& answer, const policy::Rules& rules) {
  const uint32_t rule = answer.would != 0 ? answer.would : answer.rule;
  std::string text;
  if (rule != 0) {
    const policy::RuleText& said = rules.texts.at((rule & ~MOAT_RULE_DENY) - rules.first);
    text = " by " + said.policy + ":" + std::to_string(said.line);
    EXPECT_EQ(said.deny, (rule & MOAT_RULE_DENY) != 0);
  }
  return ((answer.rule & MOAT_RULE_DENY) != 0 ? "deny" : answer.would != 0 ? "would deny" : "allow") + text;
}

uint8_t KernelProtocol(Protocol protocol) {
  return protocol == Protocol::kTcp ? MOAT_POL_TCP : protocol == Protocol::kUdp ? MOAT_POL_UDP : MOAT_POL_ICMP;
}

class CompileTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Parts, CompileTest, testing::Range(0, 8));

TEST_P(CompileTest, DecidesAsThePoliciesMean) {
  constexpr unsigned kSets = 250, kActs = 60;
  size_t denied = 0, would = 0, allowed = 0;
  for (unsigned n = 0; n < kSets; ++n) {
    const unsigned seed = static_cast<unsigned>(GetParam()) * kSets + n;
    Maker maker(seed);
    const policy::Set set = maker.Set();
    Identity who{.known = !maker.OneIn(4), .cgroup = "/a/b", .unit = "our.service"};
    if (who.known) {
      who.pod_namespace = maker.OneIn(2) ? "prod" : "";
    }
    const auto compiler = policy::Compiler::Create(set, 1 + maker.Below(1000));
    compiler->AddExecutable("/usr/bin/python3", 1, kExeInode);
    compiler->AddCgroup(kCgroup, who, /*settled=*/true);
    const policy::Rows rows = compiler->Take();
    const Lookup kernel(rows);
    const bool python = maker.OneIn(2);
    who.executable = python ? "/usr/bin/python3" : "/bin/sh";
    const uint32_t profile = kernel.ProfileOf(kCgroup, false, python ? std::optional(kExeInode) : std::nullopt);
    for (unsigned act = 0; act < kActs; ++act) {
      const uint64_t held = maker.OneIn(2) ? maker.Below(1 << kAssets) : 0;
      policy::Destination where{.address = maker.Address(), .protocol = Protocol::kTcp, .port = maker.Port(), .names = {}};
      where.protocol = maker.OneIn(2) ? Protocol::kTcp : maker.OneIn(2) ? Protocol::kUdp : Protocol::kIcmp;
      where.port = where.protocol == Protocol::kIcmp ? 0 : where.port;
      where.reply = where.protocol == Protocol::kTcp && maker.OneIn(4);
      if (!where.reply && maker.OneIn(2)) {
        where.names.resize(1 + maker.Below(3));
        std::ranges::generate(where.names, [&maker] { return maker.Name(); });
      }
      Lookup::To to{.v6 = where.address.v6, .protocol = KernelProtocol(where.protocol), .port = where.port, .names = where.names};
      std::memcpy(to.address, where.address.address.data(), sizeof(to.address));
      if (where.reply) {
        to.protocol = MOAT_POL_REPLY;
        to.port = 0;
      }
      const Decision decision = EvaluateEgress(set, who, held, where);
      const std::string meant = Told(decision);
      ASSERT_EQ(Told(kernel.Egress(profile, held, to), compiler->rules()), meant)
          << "seed " << seed << ": " << decision.why << "; to " << policy::ToString(where.address) << " port " << where.port
          << " holding " << held;
      denied += meant.starts_with("deny");
      would += meant.starts_with("would");
      allowed += meant.starts_with("allow");
    }
    for (size_t asset = 0; asset < kAssets; ++asset) {
      for (size_t operation = 0; operation < MOAT_POL_OPERATIONS; ++operation) {
        const Decision decision = EvaluateAsset(set, who, Maker::Asset(asset), static_cast<policy::Operation>(operation));
        ASSERT_EQ(Told(kernel.Asset(profile, static_cast<uint32_t>(asset), operation), compiler->rules()), Told(decision))
            << "seed " << seed << " asset " << asset << " operation " << operation << ": " << decision.why;
      }
    }
    // Of permissions to use a GPU the kernel is told nothing: only what is denied.
    const auto only_denials = [](const std::string& text) { return text.starts_with("allow") ? "allow" : text; };
    ASSERT_EQ(Told(kernel.Gpu(profile, {}), compiler->rules()), only_denials(Told(EvaluateGpuUse(set, who)))) << "seed " << seed;
    for (size_t bit = 0; bit < 7; ++bit) {
      ASSERT_EQ(Told(kernel.Gpu(profile, bit), compiler->rules()),
                only_denials(Told(EvaluateGpuCall(set, who, static_cast<policy::GpuCategory>(1 << bit)))))
          << "seed " << seed;
    }
  }
  // Each answer was seen often: the policies made up are not all alike.
  EXPECT_GT(denied, kSets);
  EXPECT_GT(would, kSets);
  EXPECT_GT(allowed, kSets);
}

// One policy for each text, all about unit u.service: its budgets in force, and those of policies in dry-run.
using Limits = std::vector<std::pair<uint64_t, uint32_t>>;  // bytes, seconds
std::pair<Limits, Limits> Budgets(std::initializer_list<const char*> policies) {
  std::string text = "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: w}\nspec: {paths: [/w]}\n";
  for (const char* policy : policies) {
    text += "---\napiVersion: moat/v1\nkind: Policy\nmetadata: {name: p" + std::to_string(text.size()) +
            "}\nspec:\n  subjects: [{unit: u.service}]\n" + policy + "\n";
  }
  const policy::Parsed parsed = policy::ParseText(text, "test.yaml");
  EXPECT_TRUE(parsed.problems.empty()) << config::ToString(parsed.problems[0]);
  const auto compiler = policy::Compiler::Create(parsed.set, 1);
  compiler->SetAssetBytes(0, 3'000'000'001);
  Identity who;
  who.unit = "u.service";
  compiler->AddCgroup(1, who, true);
  const policy::Rows rows = compiler->Take();
  std::pair<Limits, Limits> out;
  for (const auto& [key, row] : rows.holdings) {
    for (const moat_pol_budget& budget : row.budgets) {
      if (budget.rule != 0) {
        (key.part == MOAT_POL_WOULD ? out.second : out.first).emplace_back(budget.bytes, budget.per_seconds);
        EXPECT_NE(rows.profiles[0].second.egress[key.part].budgeted, 0u);
        EXPECT_NE(rows.profiles[0].second.flags & MOAT_POL_SPENDS, 0u);
      }
    }
  }
  return out;
}

TEST(Compile, OfBudgetsOverOneTimeTheSmallestCounts) {
  const auto [enforced, dry] = Budgets({
      "  mode: enforce\n  egress: {default: allow, holding: [{asset: w, budget: {bytes: 2MiB, per: 1h}}]}",
      "  mode: enforce\n  egress: {default: allow, holding: [{asset: w, budget: {bytes: 1MiB, per: 1h}}]}",
      "  mode: enforce\n  egress: {default: allow, holding: [{asset: w, budget: {percentOfAsset: 0.5, per: 24h}}]}",
      "  mode: dry-run\n  egress: {default: allow, holding: [{asset: w, budget: {bytes: 1KiB, per: 1h}}]}",
      "  mode: observe\n  egress: {default: allow, holding: [{asset: w, budget: {bytes: 1, per: 1h}}]}",
  });
  EXPECT_EQ(enforced, (Limits{{1'048'576, 3600}, {15'000'000, 86400}}));
  EXPECT_EQ(dry, (Limits{{1'024, 3600}}));
  EXPECT_EQ(Budgets({"  mode: enforce\n  egress: {default: deny}"}), (std::pair<Limits, Limits>{}));
}

}  // namespace
}  // namespace moat::test
