// SPDX-License-Identifier: Apache-2.0
// Shells beside weights and accelerators.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::kExecTty;
using event::Severity;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kPod = "/kubepods.slice/pod1/c1";

class InteractiveShell : public testing::Test, public DetectKit {
 protected:
  InteractiveShell() {
    detector = MakeInteractiveShell();
    Work(kPod, {.pod_namespace = "prod", .pod_name = "vllm-0", .pod_uid = "u", .pod_container = "vllm", .container_id = "c1"});
  }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
  // What the runtime has put into the pod's cgroup, and then runs a program.
  Who ByRuntime(const std::string& exe, std::vector<std::string> args = {}, uint32_t flags = 0) {
    return Exec(Process("/usr/bin/runc", kPod, shim_, 0), exe, std::move(args), flags);
  }
  Who Serve() {
    const Who server = ByRuntime("/usr/bin/python3", {"python3", "serve.py"});
    Open(server);
    return server;
  }
  Who shim_ = Process("/usr/bin/containerd-shim-runc-v2", "/system.slice/containerd.service", nullptr, 0);
};

TEST_F(InteractiveShell, AttackExecWithATerminal) {
  Serve();
  ByRuntime("/bin/bash", {"bash"}, kExecTty);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kInteractiveShell);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
  EXPECT_THAT(raised[0].title, HasSubstr("/bin/bash[" + std::to_string(raised[0].process.pid) +
                                         "] in pod prod/vllm-0 (vllm) does what somebody types at a terminal"));
  EXPECT_EQ(raised[0].techniques.back().id, "T1609");
}

TEST_F(InteractiveShell, AttackTerminalMadeByTheServer) {
  const Who server = Serve();
  Exec(Fork(server), "/bin/sh", {"/bin/sh"}, kExecTty);  // pty.spawn("/bin/sh")
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  Exec(Fork(server), "/usr/bin/python3.11", {"python3.11"}, kExecTty);
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(InteractiveShell, AttackExecWithoutATerminal) {
  Serve();
  ByRuntime("/bin/busybox", {"sh"});  // kubectl exec -i
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  ByRuntime("/bin/bash", {"bash", "-s", "x"});
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(InteractiveShell, AttackByAnInterpreterWithOptionsAlone) {
  const Who server = Serve();
  const std::vector<std::vector<std::string>> all = {
      {"python3", "-i"}, {"python3", "-q"}, {"python3", "-W", "ignore", "-Xdev"}, {"python3", "-"}};
  for (const auto& args : all) {
    raised.clear();
    Exec(Fork(server), "/usr/bin/python3.11", args, kExecTty);
    ASSERT_THAT(raised, SizeIs(1)) << args.back();
    ByRuntime("/usr/bin/python3.11", args);  // kubectl exec -i, without a terminal
    ASSERT_THAT(raised, SizeIs(2)) << args.back();
    EXPECT_EQ(raised[1].severity, Severity::kMedium);
  }
  Exec(Fork(server), "/usr/bin/node", {"node", "--no-warnings", "-i"}, kExecTty);
  EXPECT_THAT(raised, SizeIs(3));
}

TEST_F(InteractiveShell, BenignInterpretersWithSomethingToDo) {
  const Who server = Serve();
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{{"python3", "-c", "x"},
                                                                                    {"python3", "-um", "train"},
                                                                                    {"python3", "-u", "train.py"},
                                                                                    {"python3", "-W", "ignore", "train.py"},
                                                                                    {"python3", "-Wignore", "train.py"},
                                                                                    {"python3", "-V"},
                                                                                    {"python3", "--version"}}) {
    Exec(Fork(server), "/usr/bin/python3.11", args, kExecTty);
    ByRuntime("/usr/bin/python3.11", args);
  }
  Exec(Fork(server), "/usr/bin/perl", {"perl", "-ne", "x"}, kExecTty);
  Exec(Fork(server), "/usr/bin/node", {"node", "--eval=x"}, kExecTty);
  Exec(Fork(server), "/usr/bin/node", {"node", "-r", "x", "serve.js"}, kExecTty);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(InteractiveShell, AttackCopyOfTheWeights) {
  Serve();
  const Who tar = ByRuntime("/bin/sh", {"sh", "-c", "tar cf - /models"});
  EXPECT_THAT(raised, IsEmpty());
  const Who child = Exec(Fork(tar), "/usr/bin/tar");
  Open(child, kSecond);
  Open(child, kSecond);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].assets, ElementsAre("qwen"));
}

TEST_F(InteractiveShell, AttackBesideAnAcceleratorAndAfterAScan) {
  const Who server = Process("/usr/bin/python3", kPod);
  Happens(event::Kind::kScan, server, event::Exec{.image = server});
  Happens(event::Kind::kGpuOpen, server, event::GpuOpen{.rdev = 195U << 20});
  ByRuntime("/usr/bin/vim", {"vim"}, kExecTty);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].devices, ElementsAre("/dev/nvidia0"));
}

TEST_F(InteractiveShell, AttackWhereALabelIsAllThatIsKnown) {
  const Who server = Process("/usr/bin/python3", "/vllm.service");
  Exec(Fork(server), "/bin/bash", {"bash", "-i"}, kExecTty, /*labels=*/2);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].assets, ElementsAre("lora"));
}

TEST_F(InteractiveShell, BenignProbesHooksAndGpuTools) {
  Serve();
  for (int i = 0; i < 100; ++i) {
    ByRuntime("/bin/grpc_health_probe", {"grpc_health_probe", "-addr=:50051"});
    ByRuntime("/bin/sh", {"sh", "-c", "curl -fs localhost:8000/health"});
    Happens(event::Kind::kGpuOpen, ByRuntime("/usr/bin/nvidia-smi"), event::GpuOpen{.rdev = 195U << 20});
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(InteractiveShell, BenignEntryPointsAndScripts) {
  const Who entry = ByRuntime("/bin/bash", {"bash"}, kExecTty);  // docker run -it
  Open(entry);
  const Who server = Exec(entry, "/usr/bin/python3", {"python3", "serve.py"}, kExecTty);
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{{"sh", "-c", "uname -p"},
                                                                                    {"bash", "/run.sh"},
                                                                                    {"bash", "-euo", "pipefail", "-c", "x"},
                                                                                    {"bash", "--norc", "-o", "errexit", "x.sh"},
                                                                                    {"bash", "--", "x.sh"},
                                                                                    {"bash", "-ic", "x"}}) {
    Exec(Fork(server), "/bin/bash", args, kExecTty);
  }
  Exec(Fork(server), "/bin/busybox", {"ls"}, kExecTty);
  Exec(Fork(server), "/bin/busybox", {"busybox", "ls"}, kExecTty);
  Exec(Fork(server), "/bin/bash", {"bash"});  // reads a pipe
  Exec(Fork(server), "/usr/bin/python3", {"python3", "train.py"}, kExecTty);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(InteractiveShell, BenignPeopleWhoWereThereBefore) {
  const Who shell = Exec(Process("/usr/bin/slurmstepd", "/slurm/job_1"), "/bin/bash", {"-bash"}, kExecTty);
  const Who trainer = Exec(Fork(shell), "/usr/bin/python3", {"python3", "train.py"}, kExecTty);
  Open(trainer);
  Exec(Fork(Fork(shell)), "/bin/bash", {"bash"}, kExecTty);
  const Who sshd = Process("/usr/sbin/sshd", "/user.slice/user-0.slice/session-3.scope", nullptr, 0);
  Work("/user.slice/user-0.slice/session-3.scope", {.unit = "session-3.scope"});
  Open(sshd);
  Exec(Fork(sshd), "/bin/bash", {"-bash"}, kExecTty);
  const Who nothing = Process("/usr/bin/python3", "/other");
  Exec(Fork(nothing), "/bin/bash", {"bash"}, kExecTty);  // holds no weights
  const Who host = Process("/usr/bin/python3", "/");
  Open(host);
  Exec(Fork(host), "/bin/bash", {"bash"}, kExecTty);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(InteractiveShell, AMillionWorkloadsAndStillAwake) {
  const Who one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    other.cgroup_id = i + 1000;
    Open(std::make_shared<const event::Process>(other));
  }
  EXPECT_GT(detector->forgotten(), 0u);
  Exec(Fork(Serve()), "/bin/sh", {"sh"}, kExecTty);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
