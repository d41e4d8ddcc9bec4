// SPDX-License-Identifier: Apache-2.0
// What cannot be enforced is refused where the policy wants it enforced, and told where it may be watched only.
#include <gmock/gmock.h>

#include "agent/app/support.h"
#include "agent/policy/parse.h"

namespace moat::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DomainStatus Domain(const std::string& name, const std::vector<std::string>& events, const std::string& why = "") {
  DomainStatus domain{.name = name, .loaded = true, .error = "", .hooks = {}};
  for (const std::string& event : events) {
    HookStatus hook;
    hook.event = event;
    hook.attached = why.empty();
    hook.why = why;
    domain.hooks.push_back(hook);
  }
  return domain;
}

std::vector<DomainStatus> Kernel(bool lsm) {
  const std::vector<std::string> egress = {"enforce.connect4", "enforce.connect6", "enforce.sendmsg4", "enforce.sendmsg6",
                                           "enforce.packet",   "enforce.hello",    "enforce.answer",   "enforce.opened"};
  const std::vector<std::string> denies = {
      "enforce.file_open",   "enforce.file_receive", "enforce.file_use",  "enforce.file_map",     "enforce.file_rename",
      "enforce.file_unlink", "enforce.file_rmdir",   "enforce.file_link", "enforce.file_setattr", "enforce.memory",
      "enforce.gpu_open",    "enforce.gpu_receive",  "enforce.gpu_map",   "enforce.gpu_ioctl"};
  return {Domain("file", {"file.open"}), Domain("gpu", {"gpu.open"}), Domain("enforce", egress),
          Domain("enforce", denies, lsm ? "" : "no lsm programs")};
}

constexpr const char* kUnit = "  subjects: [{unit: a.service}]\n";

constexpr Tellers kAll = {.pods = true, .containers = true, .jobs = true};

Supported Ask(const std::string& spec, bool lsm, const std::string& mode = "enforce", const Tellers& tellers = kAll) {
  policy::Parsed parsed = policy::ParseText(
      "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: w}\nspec: {paths: [/w]}\n---\napiVersion: moat/v1\nkind: Policy\n"
      "metadata: {name: p}\nspec:\n  mode: " +
          mode + "\n" + spec,
      "p.yaml");
  for (const config::Problem& problem : parsed.problems) {
    ADD_FAILURE() << config::ToString(problem);
  }
  return Support(std::move(parsed.set), Kernel(lsm), tellers);
}

TEST(PolicySupport, WhatThisKernelCanDoIsTaken) {
  for (const char* spec : {"  egress: {default: deny}\n", "  egress: {default: deny, allow: [{fqdn: a.example}]}\n",
                           "  assets: [{asset: w, read: allow}]\n", "  gpu: {use: deny}\n"}) {
    const Supported supported = Ask(kUnit + std::string(spec), /*lsm=*/true);
    EXPECT_THAT(supported.problems, IsEmpty()) << spec;
    EXPECT_THAT(supported.exposures, IsEmpty()) << spec;
  }
}

TEST(PolicySupport, WhatItCannotIsRefusedWithItsPlace) {
  EXPECT_THAT(Ask(kUnit + std::string("  assets: [{asset: w, read: allow}]\n"), /*lsm=*/false).problems,
              ElementsAre("p.yaml:6:1: policy p: rules on assets cannot be enforced by this kernel (enforce.file_open: no lsm "
                          "programs); to watch only, say onUnsupported: observe"));
  EXPECT_THAT(Ask(kUnit + std::string("  gpu: {use: deny}\n"), false).problems, ElementsAre(HasSubstr("rules on GPUs")));
  EXPECT_THAT(Ask(kUnit + std::string("  egress: {default: deny}\n"), false).problems, IsEmpty()) << "cgroup programs do that";
}

TEST(PolicySupport, OrIsWatchedOnlyAndTold) {
  const Supported supported = Ask(kUnit + std::string("  onUnsupported: observe\n  assets: [{asset: w, read: allow}]\n"), false);
  EXPECT_THAT(supported.problems, IsEmpty());
  EXPECT_THAT(supported.exposures, ElementsAre(HasSubstr("rules on assets")));
  EXPECT_THAT(supported.set.policies.front().assets, IsEmpty());
}

TEST(PolicySupport, OfAPolicyThatObservesNothingIsAsked) {
  EXPECT_THAT(Ask(kUnit + std::string("  assets: [{asset: w, read: allow}]\n"), false, "observe").problems, IsEmpty());
}

TEST(PolicySupport, WhoNobodyCanTellIsNotTakenForSelected) {
  const struct {
    const char* subject;
    bool Tellers::* teller;
    const char* says;
  } kCases[] = {
      {"pod: {namespace: a}", &Tellers::pods, "policy p: subjects by pod cannot be enforced on this host (no Kubernetes"},
      {"container: {image: a}", &Tellers::containers,
       "policy p: subjects by container cannot be enforced on this host (no container"},
      {"slurm: {account: a}", &Tellers::jobs, "policy p: Slurm accounts, users and partitions cannot be enforced on this host"},
      {"slurm: {user: a}", &Tellers::jobs, "policy p: Slurm accounts, users and partitions cannot be enforced on this host"},
  };
  for (const auto& c : kCases) {
    const std::string spec = std::string("  subjects: [{unit: a.service}, {") + c.subject + "}]\n  egress: {default: deny}\n";
    Tellers nobody = kAll;
    nobody.*c.teller = false;
    EXPECT_THAT(Ask(spec, true).problems, IsEmpty()) << c.subject;
    EXPECT_TRUE(AsksWhose(Ask(spec, true).set)) << c.subject;
    EXPECT_FALSE(AsksWhose(Ask(spec, true, "observe").set)) << c.subject;
    EXPECT_THAT(Ask(spec, true, "enforce", nobody).problems, ElementsAre(HasSubstr(c.says))) << c.subject;
    EXPECT_THAT(Ask(spec, true, "observe", nobody).problems, IsEmpty()) << c.subject;
    const Supported watched = Ask("  onUnsupported: observe\n" + spec, true, "enforce", nobody);
    EXPECT_THAT(watched.problems, IsEmpty()) << c.subject;
    EXPECT_THAT(watched.exposures, ElementsAre(HasSubstr(c.says))) << c.subject;
    EXPECT_EQ(watched.set.policies.front().subjects.size(), 2u) << "they stay undecided";
  }
  EXPECT_THAT(Ask("  subjects: [{slurm: {job: \"1\"}}]\n  egress: {default: deny}\n", true, "enforce", {}).problems, IsEmpty())
      << "a job's number stands in its cgroup's path";
  EXPECT_FALSE(AsksWhose(Ask("  subjects: [{slurm: {job: \"1\"}}]\n  egress: {default: deny}\n", true).set));
}

}  // namespace
}  // namespace moat::app
