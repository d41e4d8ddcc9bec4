// SPDX-License-Identifier: Apache-2.0
// Accelerators: who uses them, and for what.
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

class GpuDetector : public testing::Test, public DetectKit {
 protected:
  GpuDetector() { detector = MakeGpu(); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

constexpr uint32_t kDevice = 195U << 20;
constexpr uint32_t kDebug = 1, kProfile = 2, kForeign = 4, kExport = 8, kReconfigure = 16, kInternal = 32, kRaw = 64;

class GpuMisuse : public GpuDetector {
 protected:
  void Use(const Who& who) {
    Happens(event::Kind::kGpuOpen, who, event::GpuOpen{.rdev = kDevice, .device_class = event::GpuClass::kNvidia});
  }
  void Call(const Who& who, uint32_t categories, const Who& target = nullptr, uint64_t labels = 0, uint32_t status = 0) {
    event::GpuCall call;
    call.name = "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY";
    call.rdev = kDevice;
    call.categories = categories;
    call.target = target != nullptr ? target->key : event::ProcessKey{};
    call.status = status;
    call.status_known = true;
    Happens(event::Kind::kGpuIoctl, who, call, labels);
  }
};

TEST_F(GpuMisuse, AttackProgramThatPoliciesDeny) {
  gpu = [](auto&) { return Declared::kDenied; };
  Use(Process("/usr/bin/xmrig"));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kGpuUndeclared);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].devices, ElementsAre("/dev/nvidia0"));
}

TEST_F(GpuMisuse, AttackProgramThatNobodyDeclared) {
  gpu = [](auto& who) { return who.exe == "/usr/bin/vllm" ? Declared::kAllowed : Declared::kNothing; };
  Use(Process("/usr/bin/vllm"));
  Use(Process("/tmp/miner"));
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(GpuMisuse, AttackWithADescriptorOfAnother) {
  gpu = [](auto&) { return Declared::kDenied; };
  const auto miner = Process("/usr/bin/xmrig");
  Call(miner, 0);
  Call(miner, 0);  // asked once
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(GpuMisuse, BenignWherePoliciesSaySo) {
  const auto vllm = Process("/usr/bin/vllm");
  Use(vllm);  // no policy speaks of accelerators at all
  gpu = [](auto& who) { return who.exe == "/usr/bin/vllm" ? Declared::kAllowed : Declared::kNothing; };
  Use(vllm);
  Work("/dcgm", {.unit = "nvidia-dcgm.service"});
  Use(Process("/usr/bin/nvidia-smi"));
  Use(Process("/opt/agent/bin/telemetry", "/dcgm", nullptr, 0));
  EXPECT_THAT(raised, IsEmpty());
  gpu = [](auto&) { return Declared::kNothing; };
  now += 61 * kMinute;  // the policies are gone
  Use(Process("/usr/bin/other"));
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(GpuMisuse, AttackDebuggerOfAnotherWorkload) {
  const auto victim = Process("/usr/bin/vllm", "/prod"), thief = Process("/usr/bin/python3", "/notebook");
  Call(thief, kDebug, victim);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kGpuMisuse);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].title, HasSubstr("attached a debugger to /dev/nvidia0, about /usr/bin/vllm["));
}

TEST_F(GpuMisuse, AttackOfEachCategory) {
  const auto thief = Process("/usr/bin/python3");
  const std::pair<uint32_t, Severity> each[] = {
      {kDebug, Severity::kHigh},       {kProfile, Severity::kMedium},  {kForeign, Severity::kHigh}, {kExport, Severity::kLow},
      {kReconfigure, Severity::kHigh}, {kInternal, Severity::kMedium}, {kRaw, Severity::kHigh}};
  for (const auto& [category, severity] : each) {
    raised.clear();
    Call(thief, category, nullptr, /*labels=*/1);
    ASSERT_THAT(raised, SizeIs(1)) << category;
    EXPECT_EQ(raised[0].severity, severity) << raised[0].title;
  }
  raised.clear();
  Call(thief, kForeign | kRaw);
  EXPECT_THAT(raised, SizeIs(2));  // two categories
  for (size_t bit = 0; *event::GpuCategoryName(bit) != '\0'; ++bit) {  // one more, and this test is to know it
    EXPECT_LT(bit, std::size(each));
  }
}

TEST_F(GpuMisuse, AttackByAMappingAndAnOpening) {
  const auto thief = Process("/usr/bin/python3");
  event::GpuMap map{.length = 16 * kMiB, .resource = 1, .categories = kRaw, .device = {}};
  map.device.bytes = {'0', '0', '0', '0', ':', '8', '1'};
  map.device.length = 7;
  Happens(event::Kind::kGpuMap, thief, map);
  Happens(event::Kind::kGpuOpen, thief, event::GpuOpen{.rdev = kDevice, .categories = kReconfigure});
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(GpuMisuse, RefusedByTheDriverIsLess) {
  Call(Process("/usr/bin/python3"), kDebug, nullptr, 0, /*status=*/0x1b);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_THAT(raised[0].title, HasSubstr("was refused by the driver"));
}

TEST_F(GpuMisuse, BenignOwnWorkload) {
  const auto rank = Process("/usr/bin/python3", "/job"), other = Process("/usr/bin/python3", "/job");
  Call(rank, kForeign, other);
  Call(rank, kDebug, rank);
  Call(Process("/usr/bin/cuda-gdb", "/job"), kDebug, other);
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(GpuMisuse, BenignExports) {
  Call(Process("/usr/bin/python3"), kExport);  // holds nothing that is protected
  gpu = [](auto&) { return Declared::kAllowed; };
  Call(Process("/usr/bin/python3"), kExport, nullptr, /*labels=*/1);  // NCCL of a declared server
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(GpuMisuse, BenignServicesHypervisorsAndTools) {
  Work("/persist", {.unit = "nvidia-persistenced.service"});
  Work("/vm", {.unit = "machine-qemu.scope"});
  Call(Process("/usr/bin/nvidia-persistenced", "/persist", nullptr, 0), kReconfigure);
  Call(Process("/usr/bin/nv-hostengine", "/persist", nullptr, 0), kProfile | kInternal);
  Call(Process("/usr/bin/qemu-system-x86_64", "/vm"), kRaw);
  EXPECT_THAT(raised, IsEmpty());
  Call(Process("/usr/bin/nsys"), kProfile);
  ASSERT_THAT(raised, SizeIs(1));  // told, but low
  EXPECT_EQ(raised[0].severity, Severity::kLow);
  Call(Process("/tmp/nsys"), kProfile);
  EXPECT_EQ(raised[1].severity, Severity::kMedium);
}

TEST_F(GpuMisuse, AMillionProcessesAndStillAwake) {
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    Call(std::make_shared<const event::Process>(other), 0);
  }
  EXPECT_THAT(raised, IsEmpty());
  Call(one, kDebug);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
