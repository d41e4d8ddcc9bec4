// SPDX-License-Identifier: Apache-2.0
// Policies of egress, decided in the kernel: who is let through, who gets EPERM, and which rule said so.
#include <gmock/gmock.h>

#include <cerrno>
#include <string>

#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Ports {
  uint16_t open = 0, other = 0;
};

TEST_F(EnforceBpfTest, WithoutAPolicyEverythingPasses) {
  Start();
  RunInside([] {
    const int listener = Listening("127.0.0.1");
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(listener)) == 0);
  });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

TEST_F(EnforceBpfTest, AllowedConnectsWorkAndDeniedGetEperm) {
  Start();
  Enforce(
      PolicyOf("  egress:\n    default: deny\n    allow:\n      - {cidr: 127.0.0.0/8, ports: [20000-65535/tcp]}\n"
               "    deny:\n      - {cidr: 127.0.0.9/32}\n"));
  Shared<Ports> ports;
  const pid_t pid = RunInside([&] {
    const int listener = Listening("127.0.0.1");
    ports->open = PortOf(listener);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", ports->open) == 0);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", 19999) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.9", ports->open) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("::1", ports->open) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("::ffff:127.0.0.1", ports->open) == 0);
    MOAT_CHILD_CHECK(TrySend("127.0.0.1", ports->open) == EPERM);
  });
  const std::string open = std::to_string(ports->open);
  EXPECT_THAT(AllTold(pid), ElementsAre("allow connect 127.0.0.1:" + open + " by p: egress.allow 127.0.0.0/8 20000-65535/tcp",
                                        "deny connect 127.0.0.1:19999 by p: egress.default: deny",
                                        "deny connect 127.0.0.9:" + open + " by p: egress.deny 127.0.0.9/32",
                                        "deny connect ::1:" + open + " by p: egress.default: deny",
                                        "allow connect 127.0.0.1:" + open + " by p: egress.allow 127.0.0.0/8 20000-65535/tcp",
                                        "deny send 127.0.0.1:" + open + " by p: egress.default: deny"));
}

TEST_F(EnforceBpfTest, DryRunOnlyCounts) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n", "dry-run"));
  const pid_t pid = RunInside([] {
    const int listener = Listening("127.0.0.1");
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(listener)) == 0);
  });
  ASSERT_EQ(Verdicts(pid).size(), 1u);
  const moat_verdict verdict = Verdicts(pid).front();
  EXPECT_EQ(verdict.action, MOAT_VERDICT_WOULD_DENY);
  const moat_pol_count count = probe().Policies()->Counts(verdict.rule, 1).front();
  EXPECT_EQ(count.would_deny, 1u);
  EXPECT_EQ(count.denied, 0u);
}

TEST_F(EnforceBpfTest, ObserveDecidesNothing) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n", "observe"));
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

// A process beside the cgroup is not the policy's business.
TEST_F(EnforceBpfTest, OthersAreLetBe) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  RunOutside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

TEST_F(EnforceBpfTest, AClearedPolicyLetsEverythingPass) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == EPERM); });
  ASSERT_TRUE(probe().Policies()->Clear());
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
}

// cgroups that the workload makes for itself, however deep, are still its own.
TEST_F(EnforceBpfTest, NobodyEscapesByNesting) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  constexpr int kDeep = 45;
  std::string deepest = cgroup_directory();
  for (int i = 0; i < kDeep; ++i) {
    deepest += "/n";
    ASSERT_EQ(mkdir(deepest.c_str(), 0755), 0) << deepest;
  }
  RunInside([&] {
    for (std::string at = deepest; at.size() >= cgroup_directory().size(); at.resize(at.rfind('/'))) {
      WriteFile(at + "/cgroup.procs", "0");
      MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == EPERM);
    }
  });
  for (std::string at = deepest; at.size() > cgroup_directory().size(); at.resize(at.rfind('/'))) {
    EXPECT_EQ(rmdir(at.c_str()), 0);
  }
  EXPECT_EQ(Verdicts().size(), size_t{kDeep} + 1);
}

// A socket that was open before the policy came.
TEST_F(EnforceBpfTest, AnOpenSocketIsDecidedToo) {
  Start();
  Signal connected, go;
  const pid_t pid = Spawn([&] {
    const Pair pair;
    SendAll(pair.client, 10);
    TakeAll(pair.server, 10);
    const int datagrams = Bound("127.0.0.1", SOCK_DGRAM), sender = Connected("127.0.0.1", PortOf(datagrams), SOCK_DGRAM);
    SendAll(sender, 3);
    connected.Give();
    go.Take();
    char byte = 0;
    SendAll(pair.client, 10);  // into the socket's buffer
    pollfd wait{pair.server, POLLIN, 0};
    MOAT_CHILD_CHECK(poll(&wait, 1, 300) == 0 && recv(pair.server, &byte, 1, MSG_DONTWAIT) == -1);
    MOAT_CHILD_CHECK(send(sender, "x", 1, 0) == -1 && errno == EPERM);
    // Answers on an accepted connection are not calls.
    SendAll(pair.server, 5);
    TakeAll(pair.client, 5);
  });
  connected.Take();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  go.Give();
  Finish(pid);
  EXPECT_THAT(AllTold(pid), testing::AllOf(testing::Not(IsEmpty()),
                                           testing::Each(testing::AllOf(testing::StartsWith("deny packet 127.0.0.1:"),
                                                                        testing::EndsWith(" by p: egress.default: deny")))));
  EXPECT_EQ(AllTold(pid).size(), 2u);
}

}  // namespace
}  // namespace moat::test
