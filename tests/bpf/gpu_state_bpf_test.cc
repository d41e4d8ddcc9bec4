// SPDX-License-Identifier: Apache-2.0
// Whose a client, an address space, a debugger or an exported file is: what calls mean by those before them, by whichever process.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

class GpuStateBpfTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    Start();
    if (Unseen("gpu.ioctl", "result")) {
      GTEST_SKIP() << "this kernel has no hook that sees what comes of an ioctl";
    }
  }
  // In a workload: a process of its own, whose number it leaves in *pid.
  static void Beside(pid_t* pid, const std::function<void()>& work) {
    const pid_t child = fork();
    if (child == 0) {
      *pid = getpid();
      work();
      _exit(0);
    }
    int status = 1;
    MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  // Rows of processes that ended: a file of theirs may have lain where one lies now.
  void Forget() {
    for (int i = 0; i < 5; ++i) {
      Sums();
    }
  }
  Shared<pid_t> other_;
  // Clients, of each test others: whose they are stays known for as long as the probe runs.
  static inline uint32_t clients_ = 0xc1d00010;
  const uint32_t first_ = ++clients_, second_ = ++clients_, third_ = ++clients_;
};

constexpr uint32_t kMine = 0x5c000031, kTheirs = 0x5c000032;

TEST_F(GpuStateBpfTest, ADebuggerOnAnotherProcessAndOnItself) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    NewClient(fd, first_);
    Beside(&*other_, [&] {
      const int own = MustOpen(Nvidia());
      NewClient(own, second_);
      NewClient(own, third_);
      Words on{0, third_};
      AllocObject(own, Alloc(0x83de, on.data(), second_, kMine));  // its own, by another client
      on[1] = first_;
      AllocObject(own, Alloc(0x83de, on.data(), second_, kTheirs));
      ControlObject(own, Control(0x83de0315, nullptr, 0, second_, kMine));
      ControlObject(own, Control(0x83de0315, nullptr, 0, second_, kTheirs));
      ControlObject(own, Control(0x83de0315, nullptr, 0, second_, kTheirs));
      Words free{second_, 0x5c000001, kTheirs};
      Call(own, GpuCommand(41, 16), free.data());
      ControlObject(own, Control(0x83de0315, nullptr, 0, second_, kTheirs));  // whatever has that number now
    });
  });
  const auto target = static_cast<uint32_t>(pid);
  EXPECT_THAT(Of(*other_, 43, 0x83de), ElementsAre(Seen{0, 0}, Seen{kDebug, target}));
  EXPECT_THAT(Of(*other_, 42, 0x83de0315), ElementsAre(Seen{0, 0}, Seen{kDebug, target}, Seen{kDebug, target}));
}

TEST_F(GpuStateBpfTest, MemoryOfWhoeverSetUpTheAddressSpace) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int uvm = MustOpen(Uvm());
    Words params{};
    Call(uvm, 0x30000001, params.data());
    Call(uvm, 62, params.data());
    Beside(&*other_, [&] {
      Call(uvm, 62, params.data());
      Call(uvm, 63, params.data());
      const int own = MustOpen(Uvm());
      Call(own, 0x30000001, params.data());
      Call(own, 62, params.data());
      Words tracker{};
      tracker[11] = static_cast<uint32_t>(own);
      Call(own, 56, tracker.data());
      tracker[11] = static_cast<uint32_t>(uvm);
      Call(own, 56, tracker.data());
    });
  });
  const auto target = static_cast<uint32_t>(pid);
  EXPECT_THAT(Of(pid, 62), ElementsAre(Seen{0, 0}));
  EXPECT_THAT(Of(*other_, 62), ElementsAre(Seen{kForeign, target}));  // and its own, which is counted
  EXPECT_THAT(Of(*other_, 63), ElementsAre(Seen{kForeign, target}));
  EXPECT_THAT(Of(*other_, 56), ElementsAre(Seen{0, 0}, Seen{kProfile, target}));
}

TEST_F(GpuStateBpfTest, ObjectsOfAnothersClient) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    NewClient(fd, first_);
    Beside(&*other_, [&] {
      const int own = MustOpen(Nvidia());
      NewClient(own, second_);
      NewClient(own, third_);
      Words dup{second_, 0x5c000001, 0x5c000041, third_, 0x5c000042};
      Call(own, GpuCommand(52, 28), dup.data());
      dup[3] = first_;
      Call(own, GpuCommand(52, 28), dup.data());
    });
  });
  EXPECT_THAT(Of(*other_, 52), ElementsAre(Seen{0, 0}, Seen{kForeign, static_cast<uint32_t>(pid)}));
}

// A file that was passed on, or taken: the driver serves whoever has it.
TEST_F(GpuStateBpfTest, CallsForAnothersClient) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    NewClient(fd, first_);
    const auto ask = [](int by, uint32_t client) { ControlObject(by, Control(0x20800101, nullptr, 0, client)); };
    ask(fd, first_);
    Beside(&*other_, [&] {
      const int own = MustOpen(Nvidia());
      ask(own, third_);  // nobody saw who made that
      NewClient(own, second_);
      ask(own, second_);
      ask(fd, first_);
      ask(own, second_);
      ask(fd, first_);
    });
    ask(fd, first_);
  });
  EXPECT_THAT(Of(pid, 42, 0x20800101), ElementsAre(Seen{0, 0}));
  const Seen foreign{kForeign, static_cast<uint32_t>(pid)};
  EXPECT_THAT(Of(*other_, 42, 0x20800101), ElementsAre(Seen{0, 0}, foreign, foreign))
      << "the first sight, and each for another's";
}

// What the driver refused has not happened.
TEST_F(GpuStateBpfTest, ARefusedCallMakesNothingKnown) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    Words client = Alloc(0x41, nullptr, first_, first_);
    client[10] = 0x1b;  // the status of NVOS64: what the driver would have written
    Call(fd, GpuCommand(43, 48), client.data());
    Beside(&*other_, [&] {
      const int own = MustOpen(Nvidia());
      NewClient(own, second_);
      Words on{0, first_};
      AllocObject(own, Alloc(0x83de, on.data(), second_, kTheirs));
    });
  });
  const auto calls = Ioctls(pid);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].status, 0x1bu);
  EXPECT_EQ(calls[0].errors, 1u);
  EXPECT_NE(calls[0].why & MOAT_IOCTL_FAILED, 0u);
  EXPECT_THAT(Of(*other_, 43, 0x83de), ElementsAre(Seen{kDebug, 0})) << "of others, and nobody knows whose";
}

// The status lies in the caller's memory: a refusal that one of its threads turns into a success must not make it the owner.
TEST_F(GpuStateBpfTest, AClientStaysWithWhoMadeIt) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    NewClient(fd, first_);
    Beside(&*other_, [&] {
      const int own = MustOpen(Nvidia());
      NewClient(own, first_);  // no driver would say yes
      Words free{first_, 0, first_};
      Call(own, GpuCommand(41, 16), free.data());
      NewClient(own, second_);
      Words on{0, first_};
      AllocObject(own, Alloc(0x83de, on.data(), second_, kTheirs));
    });
  });
  EXPECT_THAT(Of(*other_, 43, 0x83de), ElementsAre(Seen{kDebug, static_cast<uint32_t>(pid)}));
}

TEST_F(GpuStateBpfTest, WhatWasExportedInAnotherWorkloadOrNobodySawIsOfOthers) {
  Forget();
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia()), exported = MustOpen(Nvidia()), strange = MustOpen(Nvidia());
    Words out{};
    out[4] = static_cast<uint32_t>(exported);  // fd of EXPORT_OBJECT_TO_FD
    ControlObject(fd, Control(0x3d05, out.data(), 24));
    Words in{static_cast<uint32_t>(exported)};
    ControlObject(fd, Control(0x3d06, in.data(), 20));
    in[0] = static_cast<uint32_t>(strange);
    ControlObject(fd, Control(0x3d06, in.data(), 20));
  });
  EXPECT_THAT(Of(pid, 42, 0x3d05), ElementsAre(Seen{kExport, 0}));
  EXPECT_THAT(Of(pid, 42, 0x3d06), ElementsAre(Seen{0, 0}, Seen{kForeign, 0}));
}

TEST_F(GpuStateBpfTest, AFailureIsToldWhenItChanges) {
  const pid_t pid = RunInside([&] {
    SayYes();
    const int fd = MustOpen(Nvidia());
    Words share{0xc1d00001, 0x5c000001, 0, 0, 4};
    for (const uint32_t status : {0u, 0x1bu, 0x1bu, 0x1bu, 0u, 0x1bu, 0x56u}) {
      share[5] = HasStandIn() ? 0 : status;  // the stand-in answers with 0
      Call(fd, GpuCommand(53, 24), share.data());
    }
  });
  if (HasStandIn()) {
    return;
  }
  std::vector<uint32_t> told;
  for (const moat_gpu_ioctl& call : Ioctls(pid)) {
    told.push_back(call.status);
  }
  EXPECT_THAT(told, ElementsAre(0u, 0x1bu, 0x1bu, 0x56u)) << "the first sight, and each that is not as the one before";
}

TEST_F(GpuStateBpfTest, RowsOfEndedProcessesAreRemoved) {
  Forget();  // those of tests before
  RunInside([this] {
    SayYes();
    const int fd = MustOpen(Nvidia()), uvm = MustOpen(Uvm());
    NewClient(fd, first_);
    Words params{};
    Call(uvm, 0x30000001, params.data());
  });
  const auto rows = [] {
    return MapRows<uint32_t, moat_gpu_owner>("moat_gpu_clients").size() +
           MapRows<uint64_t, moat_gpu_owner>("moat_gpu_files").size();
  };
  EXPECT_EQ(rows(), 2u);
  Forget();
  EXPECT_EQ(rows(), 0u);
}

}  // namespace
}  // namespace moat::test
