// SPDX-License-Identifier: Apache-2.0
// Parameters that a second thread changes once the driver has taken them over: what is told is what the driver acted on. It takes drivers
// with such functions, which the stand-in of tests/vm/gpu has where it is a kernel module.
#include <gmock/gmock.h>
#include <sched.h>

#include <atomic>
#include <thread>

#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;

// Flags of a control, to the stand-in (tests/vm/gpu/moat_gpu.c): answer with the command, or the third word of the parameters, that you act
// on; kFlip: put the status as it was before there in the caller's memory, as soon as it is copied; kLinger: let other threads come first.
constexpr uint32_t kEcho = 0x6d6f6100, kFlip = kEcho + 1, kLinger = kEcho + 2;
constexpr uint32_t kOne = 0x20800101,
                   kOther = 0x20800110;  // two commands that mean nothing, and so make no event after their first

class GpuCopyBpfTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (access("/sys/module/moat_gpu", R_OK) != 0) {
      GTEST_SKIP() << "no driver of the stand-in here that has functions to look at";
    }
  }
  // Attached, at once or when it is tried again; else why not, and the test is to skip: of a function that is there the kernel may refuse it.
  std::string Refused(const char* event) {
    for (int i = 0; i < 12 && Backend(event).empty(); ++i) {
      usleep(1'000'000);
      Sums();
    }
    const std::string why = Exposed(event);
    EXPECT_TRUE(why.empty() || why.find("(Invalid argument)") != std::string::npos) << why;
    return why;
  }
  // In a workload: `work` while another thread changes a word between two values, on the same processor: each time that one waits.
  template <typename Work>
  static void WhileChanging(uint32_t& word, uint32_t one, uint32_t other, Work work) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    MOAT_CHILD_CHECK(sched_setaffinity(0, sizeof(first), &first) == 0);
    std::atomic<bool> done = false;
    std::atomic_ref<uint32_t> shared(word);
    std::thread changer([&] {
      for (uint32_t i = 0; !done; ++i) {
        shared = i % 2 != 0 ? one : other;
        sched_yield();
      }
    });
    work();
    done = true;
    changer.join();
  }
  // Calls of a control with one of two commands, each of which finds the other in its place once the driver has read it.
  pid_t ChangedCommands(uint32_t calls) {
    return RunInside([calls] {
      const int fd = MustOpen(Nvidia());
      Words words = Control(0);
      words[3] = kFlip;
      for (uint32_t i = 0; i < calls; ++i) {
        words[2] = i % 2 != 0 ? kOne : kOther;
        words[7] = i % 2 != 0 ? kOther : kOne;
        Call(fd, GpuCommand(42, 32), words.data());
      }
    });
  }
  uint64_t Counted(pid_t pid, uint32_t command) {
    uint64_t counted = 0;
    for (const auto& [key, val] : MapRows<moat_gpu_key, moat_gpu_val>("moat_gpu_calls")) {
      counted += key.pid == static_cast<uint32_t>(pid) && key.detail == command ? val.count : 0;
    }
    return counted;
  }
};

// A call that is told as what it was not makes an event, because it does not come to what the one before of that command came to.
TEST_F(GpuCopyBpfTest, ACommandIsTheOneThatTheDriverSaw) {
  constexpr uint32_t kCalls = 1'000'000;
  Start();
  if (const std::string why = Refused("gpu.rm"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = ChangedCommands(kCalls);
  ExpectCounted(Counted(pid, kOne), kCalls / 2, MOAT_KIND_GPU_IOCTL);
  ExpectCounted(Counted(pid, kOther), kCalls / 2, MOAT_KIND_GPU_IOCTL);
  const auto told = Ioctls(pid);
  ASSERT_EQ(told.size(), 2u);
  for (const moat_gpu_ioctl& call : told) {
    EXPECT_EQ(call.status, call.detail) << "told as another call than the driver saw";
    EXPECT_NE(call.why & MOAT_IOCTL_COPIED, 0u);
    EXPECT_NE(call.why & MOAT_IOCTL_FIRST, 0u);
  }
}

// By the caller's memory each of them is taken for the other.
TEST_F(GpuCopyBpfTest, WithoutTheDriversCopyItIsNot) {
  config().avoid = {"kprobe"};
  Start(/*expect_all=*/false);
  const auto told = Ioctls(ChangedCommands(1000));
  ASSERT_EQ(told.size(), 2u);
  for (const moat_gpu_ioctl& call : told) {
    EXPECT_EQ(call.status, call.detail == kOne ? kOther : kOne);
    EXPECT_EQ(call.why & MOAT_IOCTL_COPIED, 0u);
  }
}

// What parameters point to: a policy of sharing that is "all" (1) or of processes (4), which a thread changes.
TEST_F(GpuCopyBpfTest, ACategoryGoesByWhatTheDriverSaw) {
  Start();
  if (const std::string why = Refused("gpu.rm_copied"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([] {
    const int fd = MustOpen(Nvidia());
    Words policy{}, words = Control(0xd04, policy.data(), 20);
    words[3] = kLinger;
    WhileChanging(policy[2], 1, 4, [&] {
      for (int i = 0; i < 5000; ++i) {
        Call(fd, GpuCommand(42, 32), words.data());
      }
    });
  });
  size_t all = 0, wrong = 0;
  const std::vector<moat_gpu_ioctl> told = Ioctls(pid);
  for (const moat_gpu_ioctl& call : told) {
    uint32_t seen = 0;
    std::memcpy(&seen, call.nested + 8, sizeof(seen));
    all += call.status == 1;
    wrong += (call.status == 1) != (call.categories == kExport) || seen != call.status;
  }
  EXPECT_EQ(wrong, 0u) << "of " << told.size();
  EXPECT_GT(all, 0u);
  EXPECT_LT(all, told.size());
  RecordProperty("all", static_cast<int>(all));
  RecordProperty("told", static_cast<int>(told.size()));
}

// One thread alone: where the wrapper's number lies, the driver writes its status, as it was told to.
TEST_F(GpuCopyBpfTest, AWrapperThatTheDriversStatusErases) {
  Start();
  if (const std::string why = Refused("gpu.rm"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([] {
    const int fd = MustOpen(Nvidia());
    for (int i = 0; i < 23; ++i) {
      Words words = Control(0x20800122);  // register access
      words[7] = 42;  // its status, and the number in the wrapper
      words[8] = 32;
      words[9] = Low(words.data());
      words[10] = High(words.data());
      Call(fd, GpuCommand(211, 16), &words[7]);
      MOAT_CHILD_CHECK(words[7] == 0);
    }
  });
  EXPECT_EQ(Of(pid, 42, 0x20800122), std::vector(23, Seen{kRaw, 0}));
}

// The resource manager of real drivers is built so that the kernel refuses to probe it; so is the stand-in's.
TEST_F(GpuCopyBpfTest, AFunctionThatCannotBeProbedIsSeenWhereItIsCalled) {
  Start();
  for (const char* event : {"gpu.rm", "gpu.rm_ended"}) {
    ASSERT_EQ(Refused(event), "");
    for (const DomainStatus& domain : probe().Domains()) {
      for (const HookStatus& hook : domain.hooks) {
        EXPECT_TRUE(hook.event != event || hook.why.find("rm_ioctl where it is called, nvidia_ioctl+0x") != std::string::npos)
            << hook.why;
      }
    }
  }
  const pid_t pid = RunInside([] {
    Words words = Control(0x20800122);
    Call(MustOpen(Nvidia()), GpuCommand(42, 32), words.data());
  });
  const auto told = Ioctls(pid);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].why & MOAT_IOCTL_COPIED, 0u);
}

TEST_F(GpuCopyBpfTest, WhatUvmAnswersIsItsOwnWord) {
  Start();
  if (const std::string why = Refused("gpu.uvm"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([] {
    const int uvm = MustOpen(Uvm());
    Words params{};  // no status in there
    Call(uvm, 0x30000001, params.data());
    Call(uvm, 63, params.data());
  });
  EXPECT_THAT(Ioctls(pid), ElementsAre(AllOf(Field(&moat_gpu_ioctl::number, 0x30000001u), Field(&moat_gpu_ioctl::status, 0u)),
                                       AllOf(Field(&moat_gpu_ioctl::number, 63u), Field(&moat_gpu_ioctl::status, 0x1fu),
                                             Field(&moat_gpu_ioctl::errors, 1u))));
  for (const moat_gpu_ioctl& call : Ioctls(pid)) {
    EXPECT_EQ(call.why & (MOAT_IOCTL_COPIED | MOAT_IOCTL_STATUS), uint32_t{MOAT_IOCTL_STATUS})
        << "of a driver whose version is not known, how long its parameters are is not either";
  }
}

// The stand-in lets a process debug itself, and refuses others.
TEST_F(GpuCopyBpfTest, WhomADebuggerOfAmdsIsOn) {
  Start();
  if (const std::string why = Refused("gpu.kfd"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([] {
    const int fd = MustOpen("/dev/kfd");
    Words params{static_cast<uint32_t>(getpid())};
    WhileChanging(params[0], static_cast<uint32_t>(getpid()), 1, [&] {
      for (int i = 0; i < 5000; ++i) {
        (void)ioctl(fd, GpuCommand(0x26, 32, _IOC_READ | _IOC_WRITE, 'K'), params.data());
      }
    });
  });
  size_t refused = 0;
  for (const moat_gpu_ioctl& call : Ioctls(pid)) {
    refused += call.result == -EPERM;
    EXPECT_EQ(call.result == -EPERM, call.categories == kDebug);
    EXPECT_NE(call.why & MOAT_IOCTL_COPIED, 0u);
  }
  EXPECT_GT(refused, 0u);
}

TEST_F(GpuCopyBpfTest, ParametersOfDrmAreTheDriversOwn) {
  Start();
  if (const std::string why = Refused("gpu.drm"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([] {
    Words params{7, 8, 9};
    Call(MustOpen("/dev/dri/renderD128"), GpuCommand(0x2d, 12, _IOC_READ | _IOC_WRITE, 'd'), params.data());
  });
  const auto told = Ioctls(pid);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].categories, uint32_t{kExport});
  EXPECT_EQ(told[0].params_len, 12u);
  EXPECT_EQ(told[0].params[8], 9);
  EXPECT_NE(told[0].why & MOAT_IOCTL_COPIED, 0u);
}

// A driver that is unloaded and loaded again while the probe runs: its devices may have other numbers, its functions lie elsewhere.
TEST_F(GpuCopyBpfTest, ADriverThatComesLater) {
  const auto settle = [&](bool there) {
    for (int i = 0; i < 100; ++i) {
      DrainAll();
      if (Backend("gpu.uvm").empty() != there) {
        return true;
      }
      usleep(50'000);
    }
    return false;
  };
  const auto call = [&] {
    return RunInside([] {
      Words params{};
      Call(MustOpen(Uvm()), 0x30000001, params.data());
    });
  };
  EndShared();
  ASSERT_EQ(system("rmmod moat_gpu"), 0);
  Start(/*expect_all=*/true, Share::kNever);
  EXPECT_EQ(Backend("gpu.uvm"), "");
  ASSERT_EQ(system("insmod /vm/modules/moat_gpu.ko"), 0);
  ASSERT_TRUE(settle(true)) << "it is not noticed that the driver is there";
  EXPECT_EQ(Of<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL, call()).size(), 1u);
  ASSERT_EQ(system("rmmod moat_gpu"), 0);
  ASSERT_TRUE(settle(false)) << "it is not noticed that the driver is gone";
  ASSERT_EQ(system("insmod /vm/modules/moat_gpu.ko"), 0);
  ASSERT_TRUE(settle(true)) << "it is not noticed that the driver is there again";
  const auto told = Ioctls(call());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].why & MOAT_IOCTL_STATUS, 0u) << "the driver's own word";
}

}  // namespace
}  // namespace moat::test
