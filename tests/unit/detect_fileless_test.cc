// SPDX-License-Identifier: Apache-2.0
// Programs that are in no file.
#include <fcntl.h>
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

class Fileless : public testing::Test, public DetectKit {
 protected:
  Fileless() { detector = MakeFileless(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

using event::kExecDeleted;
using event::kExecMemfd;

TEST_F(Fileless, AttackFromMemory) {
  const auto thief = Process("/usr/bin/python3");
  Exec(Fork(thief), "/memfd:x (deleted)", {"[kworker/0:1]"}, kExecMemfd);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kFilelessExec);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
}

TEST_F(Fileless, AttackByAHolderOfWeights) {
  const auto thief = Process("/usr/bin/python3");
  Exec(Fork(thief), "/memfd:x (deleted)", {}, kExecMemfd, /*labels=*/1);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
}

TEST_F(Fileless, AttackRemovesItsFile) {
  const auto shell = Process("/bin/sh");
  const auto dropped = Changed(Fork(shell), [](auto& p) { p.filename = "/proc/self/fd/3"; });
  Exec(dropped, "/tmp/.x (deleted)", {}, kExecDeleted);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(Fileless, AttackThatNamesItselfAsARuntimeDoes) {
  const auto thief = Process("/usr/bin/python3"), fake = Process("/tmp/runc");
  Exec(Fork(thief), "/memfd:runc_cloned:/proc/self/exe (deleted)", {}, kExecMemfd);
  Exec(Fork(fake), "/memfd:runc_cloned:/proc/self/exe (deleted)", {}, kExecMemfd);
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(Fileless, BenignRuntimes) {
  const auto runc = Process("/usr/sbin/runc", "/a", nullptr, 0),
             shim = Process("/usr/bin/containerd-shim-runc-v2", "/a", nullptr, 0);
  const auto clone = Exec(Fork(runc), "/memfd:runc_cloned:/proc/self/exe (deleted)", {"runc", "init"}, kExecMemfd);
  Exec(Fork(clone), "/memfd:runc_cloned:/proc/self/exe (deleted)", {"runc", "init"}, kExecMemfd);
  Exec(Fork(shim), "/memfd:crun_cloned:/proc/self/exe (deleted)", {"crun"}, kExecMemfd);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Fileless, BenignUpgrade) {
  const auto daemon = Process("/usr/bin/dockerd");
  const auto again = Changed(Fork(daemon), [](auto& p) {
    p.exe = "/usr/bin/dockerd (deleted)";
    p.filename = "/proc/self/exe";
    p.exec_flags = kExecDeleted;
  });
  Happens(event::Kind::kExec, again, event::Exec{.image = again});
  const auto before = Changed(Process("/usr/sbin/sshd (deleted)"), [](auto& p) { p.exec_flags = kExecDeleted; });
  Happens(event::Kind::kScan, before, event::Exec{.image = before});  // upgraded, and running since
  EXPECT_THAT(raised, IsEmpty());
  const auto dropped = Changed(Fork(Process("/tmp/x")), [](auto& p) {
    p.exe = "/tmp/x (deleted)";
    p.filename = "/proc/self/exe";
    p.exec_flags = kExecDeleted;
  });
  Happens(event::Kind::kExec, dropped, event::Exec{.image = dropped});  // packages do not live there
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Fileless, BenignOrdinaryPrograms) {
  Exec(Process("/bin/sh"), "/usr/bin/ls");
  Exec(Process("/bin/sh"), "/usr/bin/sudo", {}, event::kExecSetuid);
  EXPECT_THAT(raised, IsEmpty());
}

}  // namespace
}  // namespace moat::detect
