// SPDX-License-Identifier: Apache-2.0
// What a good policy says arrives, field by field; and the policies that are delivered are good.
#include <gmock/gmock.h>

#include <filesystem>

#include "agent/policy/parse.h"
#include "agent/policy/values.h"

namespace moat::test {
namespace {

using policy::Action;
using policy::Parsed;
using policy::Policy;
using policy::Protocol;
using policy::Subject;

std::vector<std::string> Texts(const std::vector<config::Problem>& problems) {
  std::vector<std::string> texts;
  for (const config::Problem& problem : problems) {
    texts.push_back(config::ToString(problem));
  }
  return texts;
}

Parsed Good(const std::string& path) {
  Parsed parsed = policy::ParseAndCheck({MOAT_SOURCE_DIR "/" + path});
  EXPECT_THAT(Texts(parsed.problems), testing::ElementsAre());
  return parsed;
}

class Serving : public testing::Test {
 protected:
  void SetUp() override {
    parsed_ = Good("tests/policy/good/serving.yaml");
    ASSERT_EQ(parsed_.set.policies.size(), 1u);
  }
  const Policy& policy() const { return parsed_.set.policies[0]; }
  Parsed parsed_;
};

TEST_F(Serving, HasItsModes) {
  ASSERT_EQ(parsed_.set.assets.size(), 1u);
  EXPECT_EQ(parsed_.set.assets[0].name, "llama-70b");
  EXPECT_EQ(policy().name, "serving");
  EXPECT_EQ(policy().at.line, 10);
  EXPECT_EQ(policy().mode, policy::Mode::kEnforce);
  EXPECT_EQ(policy().on_unsupported, policy::OnUnsupported::kObserve);
  EXPECT_EQ(policy().unknown, Action::kDeny);
}

TEST_F(Serving, HasItsSubjects) {
  const std::vector<Subject>& subjects = policy().subjects;
  ASSERT_EQ(subjects.size(), 6u);
  EXPECT_EQ(subjects[0].kind, Subject::Kind::kPod);
  EXPECT_EQ(subjects[0].pod_namespace, "prod");
  EXPECT_EQ(subjects[0].pod_container, "server");
  EXPECT_THAT(subjects[0].labels, testing::ElementsAre(testing::Pair("app", "vllm"), testing::Pair("tier", "gpu")));
  EXPECT_EQ(subjects[1].kind, Subject::Kind::kContainer);
  EXPECT_EQ(subjects[1].name, "llama");
  EXPECT_EQ(subjects[1].image, "ghcr/llama");
  EXPECT_THAT(subjects[1].labels, testing::ElementsAre(testing::Pair("a", "b")));
  EXPECT_EQ(subjects[2].kind, Subject::Kind::kUnit);
  EXPECT_EQ(subjects[2].name, "vllm.service");
  EXPECT_EQ(subjects[3].kind, Subject::Kind::kSlurm);
  EXPECT_EQ(subjects[3].slurm_account + subjects[3].slurm_user + subjects[3].slurm_partition + subjects[3].slurm_job,
            "researchadah1001234");
  EXPECT_EQ(subjects[4].kind, Subject::Kind::kExecutable);
  EXPECT_EQ(subjects[4].name, "/usr/bin/python3");
  EXPECT_EQ(subjects[5].kind, Subject::Kind::kCgroup);
  EXPECT_EQ(subjects[5].name, "/system.slice");
}

TEST_F(Serving, HasItsAssetAndGpuRules) {
  ASSERT_EQ(policy().assets.size(), 1u);
  const policy::AssetRule& rule = policy().assets[0];
  EXPECT_EQ(rule.asset, "llama-70b");
  EXPECT_EQ(rule.read, Action::kAllow);
  EXPECT_EQ(rule.write, Action::kDeny);
  EXPECT_EQ(rule.map, Action::kAllow);
  EXPECT_EQ(rule.exec, Action::kDeny);
  ASSERT_TRUE(policy().gpu);
  EXPECT_EQ(policy().gpu->use, Action::kAllow);
  EXPECT_EQ(policy().gpu->deny, 0x7f);
}

TEST_F(Serving, HasItsEgress) {
  ASSERT_TRUE(policy().egress);
  const policy::Egress& egress = *policy().egress;
  EXPECT_EQ(egress.fallback, Action::kDeny);
  ASSERT_EQ(egress.allow.size(), 2u);
  ASSERT_TRUE(egress.allow[0].cidr);
  EXPECT_EQ(ToString(*egress.allow[0].cidr), "10.0.0.0/8");
  EXPECT_THAT(egress.allow[0].ports,
              testing::ElementsAre(policy::Ports{Protocol::kTcp, 443, 443}, policy::Ports{Protocol::kUdp, 8000, 8100},
                                   policy::Ports{Protocol::kIcmp, 0, 0}));
  EXPECT_EQ(egress.allow[1].fqdn, "*.internal.example");
  EXPECT_FALSE(egress.allow[1].cidr);
  ASSERT_EQ(egress.deny.size(), 1u);
  EXPECT_EQ(ToString(*egress.deny[0].cidr), "fd00:ec2::254/128");
  EXPECT_TRUE(egress.deny[0].ports.empty());
  ASSERT_EQ(egress.holding.size(), 1u);
  const policy::Holding& holding = egress.holding[0];
  EXPECT_EQ(holding.asset, "llama-70b");
  EXPECT_EQ(ToString(*holding.allow.at(0).cidr), "10.1.0.0/16");
  EXPECT_EQ(ToString(*holding.deny.at(0).cidr), "10.1.2.0/24");
  ASSERT_TRUE(holding.budget);
  EXPECT_EQ(holding.budget->millionths, 2500u);
  EXPECT_EQ(holding.budget->bytes, 0u);
  EXPECT_EQ(holding.budget->per_seconds, 86'400u);
}

TEST(Values, AtTheirEdges) {
  EXPECT_EQ(ToString(*policy::ParseCidr("0.0.0.0/0")), "0.0.0.0/0");
  EXPECT_EQ(ToString(*policy::ParseCidr("::/0")), "::/0");
  EXPECT_EQ(ToString(*policy::ParseCidr("255.255.255.255/32")), "255.255.255.255/32");
  EXPECT_EQ(policy::ParsePorts("1-65535/tcp")->high, 65535);
  EXPECT_TRUE(policy::CheckFqdn(std::string(63, 'a') + ".example"));
  EXPECT_FALSE(policy::CheckFqdn(std::string(64, 'a') + ".example"));
  EXPECT_TRUE(policy::CheckFqdn("_dns.a-b.example"));
  EXPECT_EQ(policy::ParseDuration("60s"), 60u);
  EXPECT_FALSE(policy::ParseDuration("59s"));
  EXPECT_EQ(policy::ParseDuration("30d"), 30u * 86'400);
  EXPECT_FALSE(policy::ParseDuration("31d"));
  EXPECT_FALSE(policy::ParseDuration("99999999999999999999d"));
  EXPECT_EQ(policy::ParseBytes("1"), 1u);
  EXPECT_EQ(policy::ParseBytes("1024TiB"), 1ull << 50);
  EXPECT_FALSE(policy::ParseBytes("1025TiB"));
  EXPECT_FALSE(policy::ParseBytes("0"));
  EXPECT_EQ(policy::ParsePercent("100"), 1'000'000u);
  EXPECT_EQ(policy::ParsePercent("0.0001"), 1u);
  EXPECT_FALSE(policy::ParsePercent("100.0001"));
  EXPECT_FALSE(policy::ParsePercent("1."));
  EXPECT_FALSE(policy::ParsePercent("-1"));
}

// Each of deploy/policies by itself, as somebody would copy it.
const Policy& Named(const Parsed& parsed, std::string_view name) {
  const auto found = std::ranges::find(parsed.set.policies, name, &Policy::name);
  EXPECT_NE(found, parsed.set.policies.end()) << name;
  return found == parsed.set.policies.end() ? parsed.set.policies.at(0) : *found;
}

const Policy& Ready(const std::string& name, Parsed& parsed) {
  parsed = Good("deploy/policies/" + name + ".yaml");
  const Policy& policy = Named(parsed, name);
  EXPECT_NE(policy.mode, policy::Mode::kEnforce) << "what is copied must not break what runs";
  return policy;
}

TEST(ReadyPolicies, AreEightAndGoodTogether) {
  const Parsed all = Good("deploy/policies");
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MOAT_SOURCE_DIR "/deploy/policies")) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files, 8u);
}

TEST(ReadyPolicies, LlmServing) {
  Parsed parsed;
  const Policy& policy = Ready("llm-serving", parsed);
  EXPECT_EQ(policy.assets.at(0).read, Action::kAllow);
  EXPECT_EQ(policy.assets.at(0).write, Action::kDeny);
  EXPECT_EQ(policy.egress->fallback, Action::kDeny);
  EXPECT_EQ(policy.egress->holding.at(0).budget->millionths, 10'000u);
}

TEST(ReadyPolicies, TrainingJob) {
  Parsed parsed;
  const Policy& policy = Ready("training-job", parsed);
  EXPECT_EQ(policy.subjects.at(0).slurm_account, "research");
  EXPECT_EQ(policy.egress->holding.size(), 2u);
  EXPECT_EQ(policy.egress->holding.at(1).budget->bytes, 4ull << 40);
}

TEST(ReadyPolicies, Notebook) {
  Parsed parsed;
  const Policy& policy = Ready("notebook", parsed);
  EXPECT_EQ(policy.unknown, Action::kDeny);
  EXPECT_EQ(policy.assets.at(0).read, Action::kDeny);
  EXPECT_EQ(policy.egress->allow.at(0).fqdn, "packages.internal.example");
}

TEST(ReadyPolicies, CiRunner) {
  Parsed parsed;
  const Policy& policy = Ready("ci-runner", parsed);
  EXPECT_EQ(policy.gpu->use, Action::kDeny);
  EXPECT_EQ(policy.assets.at(0).map, Action::kDeny);
}

TEST(ReadyPolicies, CanaryWeights) {
  Parsed parsed;
  const Policy& policy = Ready("canary-weights", parsed);
  EXPECT_EQ(parsed.set.assets.at(0).asset_class, "canary");
  EXPECT_EQ(policy.egress->fallback, Action::kAllow);
  EXPECT_EQ(policy.egress->holding.at(0).deny.size(), 2u) << "IPv4 and IPv6";
}

TEST(ReadyPolicies, NoMetadataService) {
  Parsed parsed;
  const Policy& policy = Ready("no-metadata-service", parsed);
  ASSERT_EQ(policy.egress->deny.size(), 2u);
  EXPECT_EQ(ToString(*policy.egress->deny[0].cidr), "169.254.169.254/32");
  EXPECT_EQ(ToString(*policy.egress->deny[1].cidr), "fd00:ec2::254/128");
}

TEST(ReadyPolicies, GpuHygiene) {
  Parsed parsed;
  const Policy& policy = Ready("gpu-hygiene", parsed);
  EXPECT_EQ(policy.gpu->deny, 0x7f & ~policy::kGpuExport) << "what serves models may share its own memory";
}

TEST(ReadyPolicies, WeightsReadOnly) {
  Parsed parsed;
  const Policy& policy = Ready("weights-read-only", parsed);
  EXPECT_EQ(policy.assets.at(0).read, Action::kAllow);
  EXPECT_FALSE(policy.assets.at(0).write) << "an explicit denial would beat the publisher's permission";
  EXPECT_EQ(Named(parsed, "weights-publisher").assets.at(0).write, Action::kAllow);
}

}  // namespace
}  // namespace moat::test
