// SPDX-License-Identifier: Apache-2.0
// What calls of accelerators mean, with devices that know no ioctl as the accelerators: what matters here is what is read on the way.
#include <gmock/gmock.h>

#include <array>
#include <cerrno>
#include <map>

#include "tests/bpf/gpu_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;

class GpuMeaningBpfTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    config().devices = {{.path = "/dev/null", .device_class = "nvidia"},
                        {.path = "/dev/zero", .device_class = "nvidia-uvm"},
                        {.path = "/dev/full", .device_class = "kfd"}};
  }
  // In a process of the cgroup: f is called with the descriptors of the three.
  template <typename F>
  std::vector<moat_gpu_ioctl> Calls(F f) {
    Clear();
    const pid_t pid = RunInside([&] { f(MustOpen("/dev/null"), MustOpen("/dev/zero"), MustOpen("/dev/full")); });
    return Ioctls(pid);
  }
  // The devices know no ioctl.
  static void Call(int fd, uint32_t command, const void* params) {
    MOAT_CHILD_CHECK(ioctl(fd, command, params) == -1 && errno == ENOTTY);
  }
  static std::vector<uint32_t> Categories(const std::vector<moat_gpu_ioctl>& calls) {
    std::vector<uint32_t> out;
    for (const moat_gpu_ioctl& call : calls) {
      out.push_back(call.categories);
    }
    return out;
  }
};

TEST_F(GpuMeaningBpfTest, ControlsAreCountedEachAndThoseThatMeanSomethingAreAllTold) {
  Start();
  const auto calls = Calls([](int nvidia, int, int) {
    const Words pids = Control(0x2080018d), registers = Control(0x20800122);
    for (int i = 0; i < 23; ++i) {
      Call(nvidia, GpuCommand(42, 32), pids.data());
      Call(nvidia, GpuCommand(42, 32), registers.data());
    }
  });
  std::map<uint32_t, std::vector<uint64_t>> counts;
  for (const moat_gpu_ioctl& call : calls) {
    counts[call.detail].push_back(call.count);
    EXPECT_EQ(call.number, 42u);
    EXPECT_EQ(call.size, 32u);
    EXPECT_EQ(call.client, 0xc1d00001u);
    EXPECT_EQ(call.object, 0x5c000001u);
    EXPECT_EQ(call.driver_version, 580'159'004u);
    EXPECT_EQ(call.categories, call.detail == 0x20800122 ? kRaw : 0u);
  }
  EXPECT_THAT(counts[0x2080018d], ElementsAre(1u));
  ASSERT_EQ(counts[0x20800122].size(), 23u);
  EXPECT_EQ(counts[0x20800122].back(), 23u);
}

TEST_F(GpuMeaningBpfTest, WhateverTheDriverIgnoresIsIgnored) {
  Start();
  const auto calls = Calls([](int nvidia, int, int) {
    const Words registers = Control(0x20800122);
    Call(nvidia, GpuCommand(42, 32, _IOC_READ | _IOC_WRITE, 'X'), registers.data());
    Call(nvidia, GpuCommand(42, 32, _IOC_NONE), registers.data());
    Call(nvidia, GpuCommand(42, 32, _IOC_WRITE), registers.data());
    Words wrapped{42, 32, Low(registers.data()), High(registers.data())};
    Call(nvidia, GpuCommand(211, 16), wrapped.data());
    wrapped[0] = 211;  // a wrapper within a wrapper fails in the driver
    Call(nvidia, GpuCommand(211, 16), wrapped.data());
  });
  EXPECT_THAT(Categories(calls), ElementsAre(kRaw, kRaw, kRaw, kRaw, 0u));
  EXPECT_EQ(calls[3].why & MOAT_IOCTL_WRAPPED, MOAT_IOCTL_WRAPPED);
  EXPECT_EQ(calls[3].number, 42u);
  EXPECT_EQ(calls[3].size, 32u);
  EXPECT_EQ(calls[3].cmd, GpuCommand(211, 16));
  EXPECT_EQ(calls[3].detail, 0x20800122u);
}

TEST_F(GpuMeaningBpfTest, WhatStandsInTheParametersDecides) {
  Start();
  const auto calls = Calls([](int nvidia, int, int kfd) {
    Words share{0xc1d00001, 0x5c000001, 0, 0, 1};
    Call(nvidia, GpuCommand(53, 24), share.data());  // with all
    share[4] = 4;
    Call(nvidia, GpuCommand(53, 24), share.data());  // with the same process
    Words policy{0, 0, 1};
    Words set = Control(0xd04, policy.data(), 12);
    Call(nvidia, GpuCommand(42, 32), set.data());
    policy[2] = 3;
    Call(nvidia, GpuCommand(42, 32), set.data());
    Words debugger{0, 0xc1d00001};
    Words own = Alloc(0x83de, debugger.data());
    Call(nvidia, GpuCommand(43, 48), own.data());  // on itself, as CUDA does
    debugger[1] = 0;
    Call(nvidia, GpuCommand(43, 48), own.data());
    debugger[1] = 0xc1d00099;
    Call(nvidia, GpuCommand(43, 48), own.data());  // of a client that nobody was seen to make
    Words clocks = Control(0x2080d012), power = Control(0x2080a612);
    Call(nvidia, GpuCommand(42, 32), clocks.data());
    Call(nvidia, GpuCommand(42, 32), power.data());  // reads, for all that can be told
    Words trap{static_cast<uint32_t>(getpid()), 0};
    Call(kfd, _IOC(_IOC_READ | _IOC_WRITE, 'K', 0x26, 32), trap.data());
    trap[0] = 1;
    Call(kfd, _IOC(_IOC_READ | _IOC_WRITE, 'K', 0x26, 32), trap.data());
  });
  std::map<uint32_t, std::vector<uint32_t>> by;
  for (const moat_gpu_ioctl& call : calls) {
    by[call.number == 42 || call.number == 43 ? call.detail : call.number].push_back(call.categories);
  }
  EXPECT_THAT(by[53], ElementsAre(kExport));  // the second is counted
  EXPECT_THAT(by[0xd04], ElementsAre(kExport));
  EXPECT_THAT(by[0x83de], ElementsAre(0u, kDebug));  // the first sight, and the one on another
  EXPECT_THAT(by[0x2080d012], ElementsAre(kReconfigure));
  EXPECT_THAT(by[0x2080a612], ElementsAre(0u));
  EXPECT_THAT(by[0x26], ElementsAre(0u, kDebug));
}

TEST_F(GpuMeaningBpfTest, WhatTheParametersPointToIsRead) {
  Start();
  const auto calls = Calls([](int nvidia, int, int) {
    std::array<uint8_t, 256> nested{};
    for (size_t i = 0; i < nested.size(); ++i) {
      nested[i] = static_cast<uint8_t>(i);
    }
    Words control = Control(0x2080018d, nested.data(), 100);
    Call(nvidia, GpuCommand(42, 32), control.data());
    control = Control(0x2080018e, nested.data(), 14408);
    Call(nvidia, GpuCommand(42, 32), control.data());
    control = Control(0x20800102, nullptr, 16);
    Call(nvidia, GpuCommand(42, 32), control.data());
    control = Control(0x20800103, reinterpret_cast<void*>(8), 16);
    Call(nvidia, GpuCommand(42, 32), control.data());
    Words memory = Alloc(0x40, nested.data());
    Call(nvidia, GpuCommand(43, 48), memory.data());
  });
  ASSERT_EQ(calls.size(), 5u) << Summary();
  EXPECT_EQ(calls[0].nested_len, 100u);
  EXPECT_EQ(calls[0].nested[99], 99u);
  EXPECT_EQ(calls[1].nested_len, uint32_t{MOAT_GPU_NESTED_LEN});
  EXPECT_EQ(calls[1].nested_size, 14408u);
  EXPECT_EQ(calls[1].hdr.flags & MOAT_F_TRUNCATED, MOAT_F_TRUNCATED);
  EXPECT_EQ(calls[2].nested_len, 0u);
  EXPECT_EQ(calls[2].hdr.flags & MOAT_F_UNREADABLE, 0u) << "it points nowhere";
  EXPECT_EQ(calls[3].nested_len, 0u);
  EXPECT_EQ(calls[3].hdr.flags & MOAT_F_UNREADABLE, MOAT_F_UNREADABLE);
  EXPECT_EQ(calls[4].nested_size, 128u) << "of the class, at this version";
  EXPECT_EQ(calls[4].nested_len, 128u);
}

// As many of one kind, so fast: sums. What they come to is told when it changes.
TEST_F(GpuMeaningBpfTest, FailuresAreToldWhenTheyChange) {
  Start();
  const bool results = !Unseen("gpu.ioctl", "result");
  const auto calls = Calls([](int nvidia, int, int) {
    const Words pids = Control(0x2080018d);
    for (int i = 0; i < 1000; ++i) {
      Call(nvidia, GpuCommand(42, 32), pids.data());
    }
  });
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].why & MOAT_IOCTL_FAILED, results ? MOAT_IOCTL_FAILED : 0u);
  EXPECT_EQ(calls[0].errors, results ? 1u : 0u);
}

}  // namespace
}  // namespace moat::test
