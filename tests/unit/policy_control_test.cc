// SPDX-License-Identifier: Apache-2.0
// Who asks "why" is told of the workload that the runtime told of: with policies and runtimes that are made up.
#include "agent/app/policy_control.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <memory>

#include "agent/base/cgroup.h"
#include "agent/policy/numbering.h"

namespace moat::app {
namespace {

const std::string kGone = "/kubepods/pod0f3b1c9e-0000-4000-8000-000000000001/" + std::string(64, 'a');  // no such cgroup

class FakePolicies final : public Policies {
 public:
  explicit FakePolicies(const std::string& subject) {
    policy::Parsed parsed = policy::ParseText(
        "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: closed}\nspec:\n  mode: enforce\n  unknown: deny\n  subjects: [" +
            subject + "]\n  egress: {default: deny}\n",
        "p.yaml");
    EXPECT_TRUE(parsed.problems.empty());
    policy::Rules rules;
    policy::Number(parsed.set, rules);
    force_.set = std::make_shared<const policy::Set>(std::move(parsed.set));
    force_.rules = std::make_shared<const policy::Rules>(std::move(rules));
  }
  Status SetAssets(const std::vector<config::Asset>&) override { return {}; }
  InForce Get() const override { return force_; }
  Result<PoliciesChange> Change(uint32_t, bool, const Edit&) override { return PoliciesChange{}; }
  Result<PoliciesChange> Rollback() override { return PoliciesChange{}; }
  Status Clear() override { return {}; }
  std::vector<BudgetUse> Budgets() override { return {}; }
  std::vector<std::string> TakeTampering() override { return {}; }
  std::unordered_map<uint32_t, event::Names::Rule> RuleNames() const override { return {}; }

 private:
  InForce force_;
};

class FakeWatch final : public WorkloadWatch {
 public:
  event::Workload OfPath(std::string_view cgroup_path) override {
    ++asked;
    event::Workload told = workload;
    told.cgroup = cgroup_path;
    return told;
  }
  Result<event::Workload> OfCgroup(uint64_t) override { return workload; }
  std::vector<event::Workload> List() const override { return {}; }
  void Forget(std::string_view) override {}
  Tellers tellers() const override { return {}; }
  std::vector<enrich::WorkloadSource> Sources() const override { return {}; }
  void Settle(uint64_t) override {}
  void OnChange(std::function<void()>) override {}

  event::Workload workload{.pod_namespace = "prod", .pod_uid = "1", .pod_labels = {{"app", "vllm"}}};
  int asked = 0;
};

class PolicyControlTest : public testing::Test {
 protected:
  api::PolicyAnswer Explain(const api::PolicyQuestion& question) {
    const auto answer = control_->Explain(question);
    EXPECT_TRUE(answer) << answer.error().message;
    return answer.value_or(api::PolicyAnswer{});
  }
  static api::PolicyQuestion Of(policy::Identity who) { return {.who = std::move(who), .act = policy::Destination{}}; }
  static api::PolicyQuestion OfThisProcess() { return {.pid = static_cast<uint32_t>(getpid()), .act = policy::Destination{}}; }

  FakePolicies policies_{"{pod: {namespace: prod, labels: {app: vllm}}}"};
  FakeWatch watch_;
  std::unique_ptr<api::PolicyControl> control_ = MakePolicyControl({}, policies_, watch_);
};

TEST_F(PolicyControlTest, AProcessIsOfTheWorkloadThatItsRuntimeTells) {
  if (!FindCgroup2Mount()) {
    GTEST_SKIP() << "no cgroup2 file system is mounted here";
  }
  api::PolicyAnswer answer = Explain(OfThisProcess());
  EXPECT_EQ(watch_.asked, 1);
  EXPECT_EQ(answer.action, policy::Action::kDeny);
  EXPECT_EQ(answer.who.pod_namespace, "prod");
  EXPECT_THAT(answer.who.executable, testing::HasSubstr("moat_unit_tests"));
  ASSERT_EQ(answer.selecting.size(), 1u);
  EXPECT_FALSE(answer.selecting[0].unknown);

  watch_.workload.pod_labels["app"] = "web";
  answer = Explain(OfThisProcess());
  EXPECT_EQ(answer.action, policy::Action::kAllow);
  EXPECT_TRUE(answer.selecting.empty());

  watch_.workload = {.known = false, .pod_uid = "1"};
  answer = Explain(OfThisProcess());
  EXPECT_EQ(answer.action, policy::Action::kDeny);
  EXPECT_THAT(answer.decider.rule, testing::StartsWith("unknown"));
  ASSERT_EQ(answer.selecting.size(), 1u);
  EXPECT_TRUE(answer.selecting[0].unknown);
}

TEST_F(PolicyControlTest, OfACgroupThatIsNotThereNobodyIsAsked) {
  const api::PolicyAnswer answer = Explain(Of({.cgroup = kGone}));
  EXPECT_FALSE(answer.who.known);
  EXPECT_EQ(answer.action, policy::Action::kDeny) << "unknown: deny";
  Explain(Of({.cgroup = "/x/../" + kGone.substr(1)}));
  EXPECT_EQ(watch_.asked, 0);
}

TEST_F(PolicyControlTest, WhatIsSaidGoesBeforeWhatIsTold) {
  api::PolicyAnswer answer = Explain(Of({.cgroup = kGone, .pod_namespace = "prod", .pod_labels = {{"app", "vllm"}}}));
  EXPECT_TRUE(answer.who.known);
  EXPECT_EQ(answer.action, policy::Action::kDeny);
  answer = Explain(Of({.cgroup = kGone, .pod_namespace = "research"}));
  EXPECT_EQ(answer.action, policy::Action::kAllow);
  answer = Explain(Of({.pod_namespace = "prod", .pod_labels = {{"app", "vllm"}}}));
  EXPECT_EQ(answer.action, policy::Action::kDeny);
}

}  // namespace
}  // namespace moat::app
