// SPDX-License-Identifier: Apache-2.0
// Programs whose input is the network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::Severity;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ReverseShell : public testing::Test, public DetectKit {
 protected:
  ReverseShell() { detector = MakeReverseShell(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

constexpr uint32_t kNet = event::kExecStdioSocket | event::kExecStdioInet;

TEST_F(ReverseShell, AttackBash) {
  const auto shell = Process("/bin/bash"), child = Fork(shell);
  Connect(child, To("203.0.113.9", 4444));
  Exec(child, "/bin/bash", {"bash", "-i"}, kNet);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kReverseShell);
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
  EXPECT_THAT(raised[0].peers, ElementsAre("203.0.113.9:4444"));
  EXPECT_THAT(raised[0].title, HasSubstr("was called from here"));
}

TEST_F(ReverseShell, AttackByAParentOrAnotherName) {
  const auto loader = Process("/usr/bin/python3");
  Connect(loader, To("10.7.0.1", 4444));
  Exec(Fork(loader), "/bin/sh", {"/bin/sh", "-i"}, kNet);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].peers, ElementsAre("10.7.0.1:4444"));
  Exec(Fork(loader), "/tmp/x", {}, kNet);  // a copy of a shell
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kMedium);
}

TEST_F(ReverseShell, AttackBindShellAndInterpreter) {
  const auto nc = Process("/usr/bin/nc");
  Connect(nc, To("203.0.113.9", 50000), 0, event::Kind::kNetAccept);
  Exec(Fork(nc), "/usr/bin/python3.11", {"python3"}, event::kExecStdinSocket | event::kExecStdioInet);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].title, HasSubstr("which had called this host"));
}

TEST_F(ReverseShell, AttackShellOfASuperServer) {
  const auto inetd = Process("/usr/sbin/inetd", "/a", nullptr, 0);
  Exec(Fork(inetd), "/bin/sh", {"sh", "-i"}, kNet);  // a back door in its configuration
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(ReverseShell, AttackByASuperServerOfTheContainersOwn) {
  Work("/pod", {.pod_uid = "u", .container_id = "c1"});
  const auto inetd = Process("/usr/sbin/sshd", "/pod", nullptr, 0);
  Exec(Fork(inetd), "/bin/sh", {"sh", "/tmp/x"}, kNet);
  Exec(Fork(inetd), "/tmp/x", {}, kNet);
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(ReverseShell, BenignSuperServers) {
  const auto inetd = Process("/usr/sbin/inetd", "/a", nullptr, 0), systemd = Process("/usr/lib/systemd/systemd", "/", nullptr, 0);
  Exec(Fork(inetd), "/usr/sbin/in.ftpd", {}, kNet);
  Exec(Fork(systemd), "/bin/sh", {"sh", "/usr/lib/check.sh"}, kNet);
  Exec(Fork(systemd), "/usr/sbin/sshd", {"sshd", "-i"}, kNet);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(ReverseShell, BenignSocketsOfThisHostAndPipes) {
  const auto editor = Process("/usr/bin/node");
  Exec(Fork(editor), "/bin/bash", {"bash"}, event::kExecStdioSocket);  // AF_UNIX
  Exec(Fork(editor), "/bin/bash", {"bash"}, event::kExecTty);
  Exec(Fork(editor), "/bin/bash", {"bash", "-c", "ls"});
  Exec(Fork(editor), "/usr/bin/tar", {}, event::kExecStdoutSocket | event::kExecStdioInet);  // output alone
  Exec(Fork(editor), "/usr/bin/wc", {}, event::kExecStdinSocket | event::kExecStdioInet);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(ReverseShell, AMillionCallersAndStillAwake) {
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    Connect(std::make_shared<const event::Process>(other), To("10.7.0.1"));
  }
  Exec(Fork(one), "/bin/sh", {"sh"}, kNet);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
