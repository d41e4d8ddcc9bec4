// SPDX-License-Identifier: Apache-2.0
// Code put into processes that hold weights or accelerators.
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

class InjectionTest : public testing::Test, public DetectKit {
 protected:
  InjectionTest() { detector = MakeInjection(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

using event::AccessOp;
using event::kExecAudit;
using event::kExecPreload;

class Injection : public InjectionTest {
 protected:
  void Access(const Who& who, const Who& target, AccessOp op, uint64_t labels = 1, int64_t result = 0) {
    Happens(event::Kind::kProcessAccess, who,
            event::ProcessAccess{
                .target = target->key, .result = result, .count = 1, .target_labels = labels, .op = op, .target_comm = {}});
  }
  void OpenGpu(const Who& who) { Happens(event::Kind::kGpuOpen, who, event::GpuOpen{.rdev = 195U << 20}); }
};

TEST_F(Injection, AttackDebuggerOfAHolder) {
  const auto server = Process("/usr/bin/vllm", "/prod"), thief = Process("/usr/bin/gdb", "/session");
  Access(thief, server, AccessOp::kAttach);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kCodeInjection);
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
  EXPECT_THAT(raised[0].title, HasSubstr("attached to /usr/bin/vllm["));
}

TEST_F(Injection, AttackOfEachSortOnAnAccelerator) {
  const auto server = Process("/usr/bin/vllm"), thief = Process("/usr/bin/python3");
  OpenGpu(server);
  for (uint8_t op = 1; op < static_cast<uint8_t>(AccessOp::kCount); ++op) {
    raised.clear();
    Access(thief, server, static_cast<AccessOp>(op), /*labels=*/0);
    ASSERT_THAT(raised, SizeIs(1)) << event::AccessOpName(static_cast<AccessOp>(op));
    EXPECT_EQ(raised[0].severity, Severity::kHigh);  // of the same workload
    EXPECT_THAT(raised[0].devices, ElementsAre("/dev/nvidia0"));
  }
}

TEST_F(Injection, RefusedIsLess) {
  Access(Process("/usr/bin/gdb"), Process("/usr/bin/vllm"), AccessOp::kAttach, 1, -1);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(Injection, AttackPreloadsADeclaredReader) {
  const auto shell = Process("/bin/bash", "/session");
  const auto server = Exec(Fork(shell), "/usr/bin/vllm", {}, kExecPreload);
  Open(server);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].title, HasSubstr("opened llama-70b with foreign code in it (LD_PRELOAD)"));
  OpenGpu(Fork(server));  // a worker
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(Injection, AttackAudits) {
  const auto server = Exec(Fork(Process("/usr/bin/python3")), "/usr/bin/vllm", {}, kExecAudit);
  OpenGpu(server);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
}

TEST_F(Injection, BenignTargetsThatHoldNothing) {
  Access(Process("/usr/bin/gdb"), Process("/usr/bin/ls"), AccessOp::kAttach, 0);
  const auto tool = Exec(Fork(Process("/bin/bash")), "/usr/bin/fakeroot-tool", {}, kExecPreload);
  Open(tool, event::kNoAsset);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Injection, BenignDebuggerOfItsOwnProgram) {
  const auto gdb = Process("/usr/bin/gdb"), program = Exec(Fork(gdb), "/usr/bin/python3");
  Access(gdb, program, AccessOp::kAttach);
  Access(gdb, program, AccessOp::kPoke);
  const auto crashed = Process("/usr/bin/vllm"), handler = Fork(crashed);
  Access(handler, crashed, AccessOp::kAttach);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Injection, BenignRanksAndServices) {
  const auto rank = Process("/usr/bin/python3", "/job"), other = Process("/usr/bin/python3", "/job");
  Access(rank, other, AccessOp::kVmRead);
  Access(rank, other, AccessOp::kVmWrite);
  Work("/monitor", {.unit = "monitor.service"});
  const auto monitor = Process("/usr/bin/monitor", "/monitor", nullptr, 0);
  Access(monitor, other, AccessOp::kMemRead);
  EXPECT_THAT(raised, IsEmpty());
  Access(monitor, other, AccessOp::kMemWrite);
  Access(Process("/usr/bin/python3", "/elsewhere"), other, AccessOp::kVmRead);
  Access(rank, other, AccessOp::kAttach);
  EXPECT_THAT(raised, SizeIs(3));
}

TEST_F(Injection, BenignPreloadFromOutsideAndInherited) {
  const auto shim = Process("/usr/bin/containerd-shim-runc-v2", "/pod", nullptr, 0);
  const auto entry = Exec(Fork(shim), "/bin/sh", {}, kExecPreload);
  Open(Exec(Fork(entry), "/usr/bin/vllm", {}, kExecPreload));
  const auto wrapper = Exec(Fork(shim), "/bin/sh");
  OpenGpu(Exec(wrapper, "/usr/bin/vllm", {}, kExecPreload));  // export LD_PRELOAD=libjemalloc.so; exec vllm
  const auto cleaned = Exec(Exec(Fork(Process("/bin/sh")), "/usr/bin/env", {}, kExecPreload), "/usr/bin/vllm");
  Open(cleaned);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Injection, AttackByAnotherScriptOfTheSameProgram) {
  const auto with = [&](std::vector<std::string> args) {
    return Changed(Process("/usr/bin/python3", "/job"), [&](event::Process& p) { p.args = std::move(args); });
  };
  const auto rank = with({"python3", "train.py"}), thief = with({"python3", "thief.py"});
  Access(thief, rank, AccessOp::kVmRead);
  Access(thief, rank, AccessOp::kVmWrite);
  Access(with({"python3", "-c", "thief"}), with({"python3", "-c", "train"}), AccessOp::kVmWrite);
  EXPECT_THAT(raised, SizeIs(3));
  raised.clear();
  Access(with({"python3", "train.py", "--rank=1"}), rank, AccessOp::kVmWrite);
  Access(with({"python3", "-m", "train", "1"}), with({"python3", "-m", "train", "2"}), AccessOp::kVmRead);
  const std::string worker = "from multiprocessing.spawn import spawn_main; spawn_main(pipe_handle=";
  Access(with({"python3", "-c", worker + "7)"}), with({"python3", "-c", worker + "9)"}), AccessOp::kVmRead);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Injection, AttackOnTheAgentItself) {
  const auto moatd = Process("/usr/sbin/moatd", "/moatd.service", nullptr, 0), root = Process("/usr/bin/gdb", "/", nullptr, 0);
  Access(root, moatd, AccessOp::kAttach, 0);
  EXPECT_THAT(raised, IsEmpty()) << "who that is is not known";
  agent = moatd->key.pid;
  for (const AccessOp op : {AccessOp::kAttach, AccessOp::kPoke, AccessOp::kMemWrite}) {
    raised.clear();
    Access(root, moatd, op, 0);
    ASSERT_THAT(raised, SizeIs(1));
    EXPECT_EQ(raised[0].kind, event::FindingKind::kAgentTampering);
    EXPECT_EQ(raised[0].severity, Severity::kCritical);
  }
  Access(root, moatd, AccessOp::kAttach, 0, -1);
  EXPECT_EQ(raised.back().severity, Severity::kHigh);
  Access(root, moatd, AccessOp::kMemRead, 0);
  Access(root, Process("/usr/bin/ls"), AccessOp::kAttach, 0);
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(Injection, WhoseEnvironmentGrewTooLongMayBePreloaded) {
  const auto shell = Process("/bin/bash", "/session");
  const auto server = Exec(Fork(shell), "/usr/bin/vllm", {}, event::kExecEnvTruncated);
  EXPECT_THAT(raised, IsEmpty());
  Open(server);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kLow);
  EXPECT_EQ(raised[0].confidence, 20);
  const auto long_ago = Changed(shell, [](event::Process& p) { p.exec_flags = event::kExecEnvTruncated; });
  Open(Exec(Fork(long_ago), "/usr/bin/vllm", {}, event::kExecEnvTruncated));  // as long as before
  Open(Exec(Process("/usr/bin/runc", "/pod", Process("/usr/bin/containerd-shim-runc-v2", "/"), 0), "/usr/bin/vllm", {},
            event::kExecEnvTruncated));
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Injection, AMillionProcessesAndStillAwake) {
  const auto one = Process("/usr/bin/vllm");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    OpenGpu(std::make_shared<const event::Process>(other));
  }
  OpenGpu(one);
  Access(Process("/usr/bin/gdb"), one, AccessOp::kAttach, 0);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
