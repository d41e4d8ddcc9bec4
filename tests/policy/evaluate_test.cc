// SPDX-License-Identifier: Apache-2.0
// What policies mean: each rule of the language with an act that it allows and one that it denies.
#include <gmock/gmock.h>

#include "agent/policy/evaluate.h"
#include "agent/policy/parse.h"
#include "agent/policy/values.h"

namespace moat::test {
namespace {

using policy::Action;
using policy::Decision;
using policy::Destination;
using policy::Identity;
using policy::Operation;
using policy::Protocol;

constexpr const char* kAsset =
    "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: llama}\nspec: {paths: [/m]}\n---\n"
    "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: data}\nspec: {paths: [/d]}\n";
constexpr uint64_t kLlama = 1, kData = 2;

// A policy whose spec is these lines, of two spaces each.
std::string PolicyOf(const std::string& name, const std::string& spec) {
  return "---\napiVersion: moat/v1\nkind: Policy\nmetadata: {name: " + name + "}\nspec:\n" + spec;
}

policy::Set SetOf(const std::string& policies) {
  policy::Parsed parsed = policy::ParseText(kAsset + policies, "p.yaml");
  for (const config::Problem& problem : parsed.problems) {
    ADD_FAILURE() << config::ToString(problem);
  }
  return std::move(parsed.set);
}

Identity Unit(const std::string& unit) {
  return {.known = true, .cgroup = "/system.slice/" + unit, .executable = "/usr/bin/python3", .unit = unit};
}

Destination To(const std::string& address, uint16_t port, Protocol protocol = Protocol::kTcp,
               std::vector<std::string> names = {}) {
  Destination where{.protocol = protocol, .port = port, .names = std::move(names)};
  where.address = *policy::ParseCidr(address + (address.find(':') == std::string::npos ? "/32" : "/128"));
  return where;
}

std::string Told(const Decision& decision) {
  return std::string(decision.action == Action::kAllow ? "allow"
                     : decision.enforced               ? "deny"
                                                       : "would deny") +
         (decision.policy != nullptr ? " by " + decision.policy->name + ":" + std::to_string(decision.rule.line) : "");
}

class Egress : public testing::Test {
 protected:
  std::string Ask(const std::string& address, uint16_t port, uint64_t held = 0, Protocol protocol = Protocol::kTcp,
                  std::vector<std::string> names = {}) const {
    return Told(EvaluateEgress(set_, who_, held, To(address, port, protocol, std::move(names))));
  }
  policy::Set set_;
  Identity who_ = Unit("vllm.service");
};

const std::string kServing = PolicyOf("serving",
                                      "  mode: enforce\n"                                        // line 15
                                      "  subjects: [{unit: vllm.service}]\n"                     // 16
                                      "  egress:\n"                                              // 17
                                      "    default: deny\n"                                      // 18
                                      "    allow:\n"                                             // 19
                                      "      - {cidr: 10.0.0.0/8, ports: [443/tcp, 53/udp]}\n"   // 20
                                      "      - {fqdn: \"*.example.com\", ports: [443/tcp]}\n"    // 21
                                      "      - {cidr: \"fd00::/8\"}\n"                           // 22
                                      "      - {cidr: 10.0.0.0/8, ports: [icmp]}\n"              // 23
                                      "    deny:\n"                                              // 24
                                      "      - {cidr: 10.6.6.0/24}\n"                            // 25
                                      "    holding:\n"                                           // 26
                                      "      - asset: llama\n"                                   // 27
                                      "        allow: [{cidr: 10.1.0.0/16, ports: [443/tcp]}]\n"  // 28
                                      "      - asset: data\n"                                    // 29
                                      "        deny: [{cidr: 10.2.0.0/16}]\n");                   // 30

TEST_F(Egress, ByAddressAndPort) {
  set_ = SetOf(kServing);
  EXPECT_EQ(Ask("10.1.2.3", 443), "allow by serving:20");
  EXPECT_EQ(Ask("10.1.2.3", 444), "deny by serving:11");
  EXPECT_EQ(Ask("11.1.2.3", 443), "deny by serving:11");
  EXPECT_EQ(Ask("10.1.2.3", 443, 0, Protocol::kUdp), "deny by serving:11") << "443/tcp is not 443/udp";
  EXPECT_EQ(Ask("10.1.2.3", 53, 0, Protocol::kUdp), "allow by serving:20");
  EXPECT_EQ(Ask("10.1.2.3", 0, 0, Protocol::kIcmp), "allow by serving:23");
  EXPECT_EQ(Ask("fd00::1", 22), "allow by serving:22");
  EXPECT_EQ(Ask("fe80::1", 22), "deny by serving:11");
}

TEST_F(Egress, ADenialBeatsAPermission) {
  set_ = SetOf(kServing);
  EXPECT_EQ(Ask("10.6.6.6", 443), "deny by serving:25");
  EXPECT_EQ(Ask("10.6.7.6", 443), "allow by serving:20");
}

TEST_F(Egress, ByName) {
  set_ = SetOf(kServing);
  EXPECT_EQ(Ask("93.1.1.1", 443, 0, Protocol::kTcp, {"api.example.com"}), "allow by serving:21");
  EXPECT_EQ(Ask("93.1.1.1", 443, 0, Protocol::kTcp, {"a.b.example.com"}), "allow by serving:21");
  EXPECT_EQ(Ask("93.1.1.1", 443, 0, Protocol::kTcp, {"example.com"}), "deny by serving:11") << "below it, not itself";
  EXPECT_EQ(Ask("93.1.1.1", 443, 0, Protocol::kTcp, {"notexample.com"}), "deny by serving:11");
  EXPECT_EQ(Ask("93.1.1.1", 443), "deny by serving:11") << "a name that is not known matches nothing";
}

TEST_F(Egress, OfHolders) {
  set_ = SetOf(kServing);
  EXPECT_EQ(Ask("10.1.2.3", 443, kLlama), "allow by serving:20");
  EXPECT_EQ(Ask("10.2.2.3", 443, kLlama), "deny by serving:27");
  EXPECT_EQ(Ask("10.2.2.3", 443), "allow by serving:20") << "who does not hold it is not concerned";
  EXPECT_EQ(Ask("10.2.2.3", 443, kData), "deny by serving:30");
  EXPECT_EQ(Ask("10.3.2.3", 443, kData), "allow by serving:20");
  EXPECT_EQ(Ask("10.1.2.3", 443, kData | kLlama), "allow by serving:20") << "of each of them";
  EXPECT_EQ(Ask("10.1.2.3", 444, kLlama), "deny by serving:27");
}

TEST_F(Egress, WhoIsNotSelectedIsFree) {
  set_ = SetOf(kServing);
  who_ = Unit("sshd.service");
  EXPECT_EQ(Ask("11.1.2.3", 22), "allow");
  EXPECT_EQ(Ask("11.1.2.3", 22, kLlama), "allow");
}

TEST_F(Egress, PoliciesAddUp) {
  set_ = SetOf(kServing + PolicyOf("more",
                                   "  mode: enforce\n  subjects: [{executable: /usr/bin/python3}]\n  egress:\n"
                                   "    default: allow\n    allow: [{cidr: 11.0.0.0/8}]\n"));
  EXPECT_EQ(Ask("11.1.2.3", 22), "allow by more:40") << "what either allows";
  EXPECT_EQ(Ask("12.1.2.3", 22), "deny by serving:11") << "the stricter of the defaults";
  EXPECT_EQ(Ask("10.6.6.6", 443), "deny by serving:25") << "what either denies";
}

TEST_F(Egress, Modes) {
  std::string text = kServing;
  const auto with = [&text](const char* mode) {
    std::string changed = text;
    return changed.replace(changed.find("enforce"), 7, mode);
  };
  set_ = SetOf(with("dry-run"));
  EXPECT_EQ(Ask("11.1.2.3", 22), "would deny by serving:11");
  EXPECT_EQ(Ask("10.1.2.3", 443), "allow by serving:20");
  set_ = SetOf(with("observe"));
  EXPECT_EQ(Ask("11.1.2.3", 22), "allow");
  // What is only tried permits nothing.
  set_ = SetOf(kServing + PolicyOf("tried",
                                   "  mode: dry-run\n  subjects: [{unit: vllm.service}]\n  egress:\n    default: allow\n"
                                   "    allow: [{cidr: 11.0.0.0/8}]\n    deny: [{cidr: 10.0.0.0/9}]\n"));
  EXPECT_EQ(Ask("11.1.2.3", 22), "deny by serving:11");
  EXPECT_EQ(Ask("10.1.2.3", 443), "would deny by tried:41");
  EXPECT_EQ(Ask("10.200.2.3", 443), "allow by serving:20");
}

TEST_F(Egress, WhoIsNotKnownYet) {
  const auto pods = [](const char* unknown) {
    return PolicyOf("pods",
                    std::string("  mode: enforce\n  unknown: ") + unknown +
                        "\n  subjects: [{pod: {namespace: prod}}]\n  egress: {default: deny, allow: [{cidr: 10.0.0.0/8}]}\n");
  };
  who_ = {.known = false, .cgroup = "/kubepods.slice/a", .executable = "/bin/sh", .unit = ""};
  set_ = SetOf(pods("deny"));
  EXPECT_EQ(Ask("10.1.2.3", 443), "deny by pods:11");
  who_.known = true;
  EXPECT_EQ(Ask("10.1.2.3", 443), "allow") << "it is no pod of prod";
  who_.pod_namespace = "prod";
  EXPECT_EQ(Ask("10.1.2.3", 443), "allow by pods:18");
  who_ = {.known = false, .cgroup = "/kubepods.slice/a", .executable = "/bin/sh", .unit = ""};
  set_ = SetOf(pods("allow"));
  EXPECT_EQ(Ask("11.1.2.3", 443), "allow");
}

class Files : public testing::Test {
 protected:
  std::string Ask(const std::string& unit, Operation operation, const std::string& asset = "llama") const {
    return Told(EvaluateAsset(set_, Unit(unit), asset, operation));
  }
  policy::Set set_ = SetOf(PolicyOf("readers",
                                    "  mode: enforce\n  subjects: [{unit: vllm.service}, {unit: eval.service}]\n"
                                    "  assets: [{asset: llama, read: allow, map: allow}]\n") +
                           PolicyOf("writer",
                                    "  mode: enforce\n  subjects: [{unit: publisher.service}]\n"
                                    "  assets: [{asset: llama, read: allow, write: allow}]\n") +
                           PolicyOf("no-eval",
                                    "  mode: enforce\n  subjects: [{unit: eval.service}]\n"
                                    "  assets: [{asset: llama, map: deny}]\n"));
};

TEST_F(Files, WhatIsNamedIsClosedToOthers) {
  EXPECT_EQ(Ask("vllm.service", Operation::kRead), "allow by readers:17");
  EXPECT_EQ(Ask("vllm.service", Operation::kWrite), "deny by readers:17") << "nobody allows it that";
  EXPECT_EQ(Ask("publisher.service", Operation::kWrite), "allow by writer:25");
  EXPECT_EQ(Ask("sshd.service", Operation::kRead), "deny by readers:17");
  EXPECT_EQ(Ask("sshd.service", Operation::kRead, "data"), "allow") << "no policy names this one";
}

TEST_F(Files, ADenialBeatsAPermission) {
  EXPECT_EQ(Ask("eval.service", Operation::kRead), "allow by readers:17");
  EXPECT_EQ(Ask("eval.service", Operation::kMap), "deny by no-eval:33");
}

TEST(GpuRules, UseAndCalls) {
  const policy::Set set =
      SetOf(PolicyOf("gpu", "  mode: enforce\n  subjects: [{cgroup: /system.slice}]\n  gpu: {deny: [debug]}\n") +
            PolicyOf("ci", "  mode: enforce\n  subjects: [{unit: ci.service}]\n  gpu: {use: deny}\n"));
  EXPECT_EQ(Told(EvaluateGpuUse(set, Unit("vllm.service"))), "allow");
  EXPECT_EQ(Told(EvaluateGpuUse(set, Unit("ci.service"))), "deny by ci:19");
  EXPECT_EQ(Told(EvaluateGpuCall(set, Unit("vllm.service"), policy::kGpuDebug)), "deny by gpu:11");
  EXPECT_EQ(Told(EvaluateGpuCall(set, Unit("vllm.service"), policy::kGpuExport)), "allow");
  Identity user = Unit("");
  user.cgroup = "/system.slice2/x";
  EXPECT_EQ(Told(EvaluateGpuCall(set, user, policy::kGpuDebug)), "allow") << "not below /system.slice";
}

TEST(Selecting, EachKindOfSubject) {
  const auto selects = [](const std::string& subject, const Identity& who) {
    const policy::Set set = SetOf(PolicyOf("p", "  subjects: [" + subject + "]\n  gpu: {use: allow}\n"));
    return Selects(set.policies.at(0), who) == policy::Selected::kYes;
  };
  const Identity pod{.cgroup = "/kubepods.slice/x",
                     .pod_namespace = "prod",
                     .pod_container = "server",
                     .pod_labels = {{"app", "vllm"}, {"v", "2"}}};
  EXPECT_TRUE(selects("{pod: {namespace: prod}}", pod));
  EXPECT_FALSE(selects("{pod: {namespace: dev}}", pod));
  EXPECT_TRUE(selects("{pod: {labels: {app: vllm}}}", pod));
  EXPECT_FALSE(selects("{pod: {labels: {app: vllm, v: \"3\"}}}", pod));
  EXPECT_FALSE(selects("{pod: {labels: {nope: vllm}}}", pod));
  EXPECT_TRUE(selects("{pod: {container: server, namespace: prod}}", pod));
  EXPECT_FALSE(selects("{pod: {container: sidecar, namespace: prod}}", pod));
  EXPECT_TRUE(selects("{cgroup: /kubepods.slice}", pod));
  EXPECT_TRUE(selects("{cgroup: /}", pod));
  EXPECT_FALSE(selects("{cgroup: /kubepods}", pod));
  const Identity job{.slurm_account = "research", .slurm_user = "ada", .slurm_partition = "h100", .slurm_job = "12"};
  EXPECT_TRUE(selects("{slurm: {account: research}}", job));
  EXPECT_FALSE(selects("{slurm: {account: research, user: bob}}", job));
  EXPECT_TRUE(selects("{slurm: {job: \"12\", partition: h100}}", job));
  EXPECT_FALSE(selects("{slurm: {user: ada}}", pod)) << "no job at all";
  const Identity docker{.container_name = "llama", .container_image = "img", .container_labels = {{"a", "b"}}};
  EXPECT_TRUE(selects("{container: {name: llama}}", docker));
  EXPECT_TRUE(selects("{container: {image: img, labels: {a: b}}}", docker));
  EXPECT_FALSE(selects("{container: {image: other}}", docker));
  EXPECT_TRUE(selects("{executable: /usr/bin/python3}", Unit("x.service")));
  EXPECT_FALSE(selects("{executable: /usr/bin/python}", Unit("x.service")));
  EXPECT_TRUE(selects("{unit: y.service}, {unit: x.service}", Unit("x.service"))) << "any of them";
}

}  // namespace
}  // namespace moat::test
