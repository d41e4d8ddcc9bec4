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
      "enforce.gpu_open",    "enforce.gpu_receive",  "enforce.gpu_ioctl"};
  return {Domain("file", {"file.open"}), Domain("gpu", {"gpu.open"}), Domain("enforce", egress),
          Domain("enforce", denies, lsm ? "" : "no lsm programs")};
}

constexpr const char* kUnit = "  subjects: [{unit: a.service}]\n";

Supported Ask(const std::string& spec, bool lsm, const std::string& mode = "enforce") {
  policy::Parsed parsed = policy::ParseText(
      "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: w}\nspec: {paths: [/w]}\n---\napiVersion: moat/v1\nkind: Policy\n"
      "metadata: {name: p}\nspec:\n  mode: " +
          mode + "\n" + spec,
      "p.yaml");
  for (const config::Problem& problem : parsed.problems) {
    ADD_FAILURE() << config::ToString(problem);
  }
  return Support(std::move(parsed.set), Kernel(lsm));
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

TEST(PolicySupport, WhatNoKernelIsToldIsNotTakenForEnforced) {
  EXPECT_THAT(Ask("  subjects: [{pod: {namespace: a}}]\n  egress: {default: deny}\n", true).problems,
              ElementsAre(HasSubstr("subjects by pod or container")));
  EXPECT_THAT(Ask("  subjects: [{slurm: {account: a}}]\n  egress: {default: deny}\n", true).problems,
              ElementsAre(HasSubstr("Slurm accounts")));
}

}  // namespace
}  // namespace moat::app
