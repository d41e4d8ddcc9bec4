// SPDX-License-Identifier: Apache-2.0
// Policies in force on the test's own cgroup: from YAML to the kernel's maps, and the verdicts that came of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/policy/compile.h"
#include "agent/policy/parse.h"
#include "agent/probe/policy_maps.h"
#include "bpf/abi/verdict.h"
#include "tests/bpf/net_kit.h"

namespace moat::test {

// A policy in mode enforce for the test's cgroup; spec: its lines, of two spaces each.
inline std::string PolicyOf(const std::string& spec, const std::string& mode = "enforce") {
  return "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  mode: " + mode + "\n  subjects: [{cgroup: CGROUP}]\n" +
         spec;
}

// errno of a connect, 0: it worked.
inline int TryConnect(const char* address, uint16_t port, int type = SOCK_STREAM) {
  const Name name(address, port);
  const int fd = socket(name.family(), type, 0);
  MOAT_CHILD_CHECK(fd >= 0);
  const int error = connect(fd, name.get(), name.length) == 0 ? 0 : errno;
  close(fd);
  return error;
}

// errno of one datagram by a new socket.
inline int TrySend(const char* address, uint16_t port) {
  const Name name(address, port);
  const int fd = socket(name.family(), SOCK_DGRAM, 0);
  MOAT_CHILD_CHECK(fd >= 0);
  const int error = sendto(fd, "x", 1, 0, name.get(), name.length) == 1 ? 0 : errno;
  close(fd);
  return error;
}

class EnforceBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().gpu = config().net = false;
    config().policy_pins = "";
    config().policy_files = {"/of/the/test"};  // switches the domain on
  }

  void TearDown() override {
    // A probe that is left to the next test must not be left with this one's policy.
    if (started() && probe().Policies() != nullptr) {
      EXPECT_TRUE(probe().Policies()->Clear());
    }
    BpfTest::TearDown();
  }

  // "CGROUP" in text is the test's cgroup. Every policy of it comes into force, changed to what no file may say where a test cannot wait.
  void Enforce(std::string text, const std::function<void(policy::Set&)>& change = [](policy::Set&) {}) {
    for (size_t at = 0; (at = text.find("CGROUP", at)) != std::string::npos; at += scope().size()) {
      text.replace(at, 6, scope());
    }
    policy::Parsed parsed = policy::ParseText(text, "test.yaml");
    for (const config::Problem& problem : parsed.problems) {
      FAIL() << config::ToString(problem);
    }
    change(parsed.set);
    set_ = std::make_unique<policy::Set>(std::move(parsed.set));
    compiler_ = policy::Compiler::Create(*set_, probe().Policies()->NextFirstRule());
    policy::Identity who;
    who.cgroup = scope();
    compiler_->AddCgroup(cgroup_id(), who, /*settled=*/true);
    const Status status = probe().Policies()->Swap(compiler_->Take(), compiler_->rules());
    ASSERT_TRUE(status) << status.error().message;
  }

  uint32_t first_rule() const { return compiler_->rules().first; }
  const policy::Set& set() const { return *set_; }

  std::vector<moat_verdict> Verdicts(pid_t pid = 0) { return Of<moat_verdict>(MOAT_KIND_VERDICT, pid); }

  // "deny connect 127.0.0.1:1234: egress.default: deny (test.yaml:7)"
  std::string Told(const moat_verdict& verdict) const {
    static constexpr const char* kActions[] = {"?", "allow", "deny", "would-deny"};
    static constexpr const char* kOperations[] = {"?", "connect", "send", "packet", "socket"};
    const policy::Rules& rules = compiler_->rules();
    const size_t index = verdict.rule - rules.first;
    const std::string rule = index < rules.texts.size() ? rules.texts[index].policy + ": " + rules.texts[index].text
                                                        : "rule " + std::to_string(verdict.rule);
    return std::string(kActions[verdict.action & 3]) + " " +
           (verdict.operation < std::size(kOperations) ? kOperations[verdict.operation] : std::to_string(verdict.operation)) +
           " " + AddressOf(verdict.ep.remote, verdict.ep.family) + ":" + std::to_string(verdict.ep.remote_port) + " by " + rule;
  }
  std::vector<std::string> AllTold(pid_t pid = 0) {
    std::vector<std::string> out;
    for (const moat_verdict& verdict : Verdicts(pid)) {
      out.push_back(Told(verdict));
    }
    return out;
  }

 private:
  std::unique_ptr<policy::Set> set_;
  std::unique_ptr<policy::Compiler> compiler_;
};

}  // namespace moat::test
