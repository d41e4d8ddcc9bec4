// SPDX-License-Identifier: Apache-2.0
// What calls of accelerators' drivers say, in the layouts of each driver version; and the kernel's table of them.
#include <gmock/gmock.h>

#include <bit>
#include <cstring>
#include <string_view>

#include "agent/probe/gpu_rows.h"
#include "bpf/abi/gpu.h"
#include "tests/unit/decode_records.h"

namespace moat::decode {
namespace {

using event::GpuCompleteness;
using event::GpuLocation;

constexpr uint32_t k515 = 515'043'004, k535 = 535'104'005, k550 = 550'054'014, k570 = 570'086'015, k580 = 580'159'004,
                   k590 = 590'044'001, k595 = 595'045'004, k999 = 999'001'000;
constexpr uint32_t kVersions[] = {k515, k535, k550, k570, k580, k590, k595};

template <typename T>
void Put(uint8_t* at, size_t offset, T value) {
  std::memcpy(at + offset, &value, sizeof(value));
}

moat_gpu_ioctl Call(uint32_t class_id, uint32_t number, uint32_t version, uint32_t size) {
  auto record = Make<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL);
  record.class_id = class_id;
  record.number = number;
  record.driver_version = version;
  record.size = size;
  record.params_len = size < MOAT_GPU_PARAMS_LEN ? size : MOAT_GPU_PARAMS_LEN;
  return record;
}

moat_gpu_ioctl Memory(uint32_t id, uint32_t version, uint32_t outer = 48) {
  moat_gpu_ioctl record = Call(MOAT_GPU_NVIDIA, 43, version, outer);
  record.detail = id;
  record.client = 0xc1d00001;
  record.object = 0x5c000002;
  record.nested_len = MOAT_GPU_NESTED_LEN;
  Put(record.nested, 64, uint64_t{40} << 30);
  return record;
}

TEST(GpuDecode, AnAllocationSaysHowMuchAndWhere) {
  for (const uint32_t version : kVersions) {
    for (const uint32_t outer : {32u, version < k535 ? 40u : 48u}) {
      const auto call = Good<event::GpuCall>(Memory(0x40, version, outer));
      EXPECT_STREQ(call.verb, "ALLOC");
      EXPECT_STREQ(call.object, "memory.local");
      EXPECT_STREQ(call.name, "NV01_MEMORY_LOCAL_USER");
      EXPECT_EQ(call.bytes, uint64_t{40} << 30) << version;
      EXPECT_EQ(call.location, GpuLocation::kDevice);
      EXPECT_EQ(call.client, 0xc1d00001u);
      EXPECT_EQ(call.handle, 0x5c000002u);
      EXPECT_EQ(call.completeness, GpuCompleteness::kFull) << version;
    }
  }
  EXPECT_EQ(Good<event::GpuCall>(Memory(0x3e, k580)).location, GpuLocation::kSystem);
  auto unread = Memory(0x40, k580);
  unread.nested_len = 40;
  EXPECT_EQ(Good<event::GpuCall>(unread).bytes, 0u);
  EXPECT_EQ(Good<event::GpuCall>(unread).completeness, GpuCompleteness::kPartial);
}

TEST(GpuDecode, PinnedMemoryEndsAtItsLimit) {
  moat_gpu_ioctl record = Call(MOAT_GPU_NVIDIA, 39, k580, 56);
  Put(record.params, 12, uint32_t{0x71});
  Put(record.params, 32, uint64_t{4095});
  EXPECT_EQ(Good<event::GpuCall>(record).bytes, 4096u);
  EXPECT_EQ(Good<event::GpuCall>(record).location, GpuLocation::kUser);
  record.params_len = 36;
  EXPECT_EQ(Good<event::GpuCall>(record).bytes, 0u) << "not one byte";
  EXPECT_EQ(Good<event::GpuCall>(record).completeness, GpuCompleteness::kPartial);
}

TEST(GpuDecode, LayoutsThatChanged) {
  for (const uint32_t version : kVersions) {
    moat_gpu_ioctl record = Memory(0xfd, version);
    record.nested_len = MOAT_GPU_NESTED_LEN;
    std::memset(record.nested, 0xaa, sizeof(record.nested));
    Put(record.nested, version < 545'000'000 ? 8 : 48, uint64_t{7} << 20);
    const auto call = Good<event::GpuCall>(record);
    EXPECT_EQ(call.bytes, version == k515 ? 0 : uint64_t{7} << 20) << version;  // 515 has no such class
    EXPECT_EQ(call.completeness, version == k515 ? GpuCompleteness::kPartial : GpuCompleteness::kFull) << version;
  }
}

// Of a driver that nobody has read: what lies at one place in all of them, and nothing else.
TEST(GpuDecode, AnUnknownVersionIsPartialAndNeverWrong) {
  for (const uint32_t version : {k999, 0u, 600'000'000u, 470'000'000u}) {
    moat_gpu_ioctl record = Memory(0xfd, version);
    std::memset(record.nested, 0xaa, sizeof(record.nested));
    const auto call = Good<event::GpuCall>(record);
    EXPECT_EQ(call.bytes, 0u);
    EXPECT_EQ(call.completeness, GpuCompleteness::kPartial);
    EXPECT_STREQ(call.object, "memory.multicast");
    moat_gpu_ioctl free = Call(MOAT_GPU_NVIDIA_UVM, 73, version, 0);
    free.params_len = MOAT_GPU_PARAMS_LEN;
    Put(free.params, 8, uint64_t{5});
    EXPECT_EQ(Good<event::GpuCall>(free).bytes, 5u) << "unchanged in all versions";
  }
}

TEST(GpuDecode, ControlsByTheirCommand) {
  moat_gpu_ioctl record = Call(MOAT_GPU_NVIDIA, 42, k580, 32);
  record.detail = 0x83de0315;
  auto call = Good<event::GpuCall>(record);
  EXPECT_STREQ(call.verb, "CONTROL");
  EXPECT_STREQ(call.object, "debugger");
  EXPECT_STREQ(call.name, "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY");
  EXPECT_FALSE(call.unusual);
  record.detail = 0x20800122;
  EXPECT_FALSE(Good<event::GpuCall>(record).unusual) << "profilers do";
  record.detail = 0x20803403;
  EXPECT_TRUE(Good<event::GpuCall>(record).unusual);
  record.detail = 0x2080d077;
  call = Good<event::GpuCall>(record);
  EXPECT_STREQ(call.object, "clock-power");
  EXPECT_EQ(call.completeness, GpuCompleteness::kPartial);
  record.detail = 0xdeadbeef;
  call = Good<event::GpuCall>(record);
  EXPECT_STREQ(call.verb, "CONTROL");
  EXPECT_TRUE(call.unusual);
  EXPECT_EQ(call.completeness, GpuCompleteness::kPartial);
}

TEST(GpuDecode, AnAllocationOfADeviceSaysWhich) {
  moat_gpu_ioctl record = Memory(0x80, k580);
  Put(record.nested, 0, uint32_t{3});
  EXPECT_EQ(Good<event::GpuCall>(record).device, 3);
  record.nested_len = 0;
  EXPECT_EQ(Good<event::GpuCall>(record).device, -1) << "without parameters it names none";
  EXPECT_EQ(Good<event::GpuCall>(Memory(0x40, k580)).device, -1);
}

TEST(GpuDecode, CallsOfOtherDrivers) {
  moat_gpu_ioctl record = Call(MOAT_GPU_NVIDIA_UVM, 62, k580, 0);
  record.params_len = 40;
  Put(record.params, 8, uint64_t{4096});
  record.why = MOAT_IOCTL_TARGET | MOAT_IOCTL_STATUS | MOAT_IOCTL_MEANS;
  record.target = {.start_ns = 9, .cgroup_id = 1, .pid = 4711, .pad = 0};
  record.status = 0x56;
  auto call = Good<event::GpuCall>(record);
  EXPECT_STREQ(call.verb, "READ");
  EXPECT_EQ(call.bytes, 4096u);
  EXPECT_EQ(call.target.pid, 4711u);
  EXPECT_TRUE(call.status_known);
  EXPECT_EQ(call.status, 0x56u);
  EXPECT_FALSE(call.copied);
  record.why |= MOAT_IOCTL_COPIED;
  EXPECT_TRUE(Good<event::GpuCall>(record).copied);

  record = Call(MOAT_GPU_KFD, 0x16, 0, 40);
  Put(record.params, 8, uint64_t{1} << 30);
  Put(record.params, 32, uint32_t{4711});
  Put(record.params, 36, uint32_t{4});
  call = Good<event::GpuCall>(record);
  EXPECT_EQ(call.device, 4711);
  EXPECT_STREQ(call.verb, "ALLOC");
  EXPECT_EQ(call.bytes, uint64_t{1} << 30);
  EXPECT_EQ(call.location, GpuLocation::kUser);
  EXPECT_EQ(call.completeness, GpuCompleteness::kFull);

  record = Call(MOAT_GPU_DRM | MOAT_GPU_DRIVER_AMDGPU << 8, 0x40, 0, 32);
  Put(record.params, 0, uint64_t{2} << 20);
  Put(record.params, 16, uint64_t{4});
  call = Good<event::GpuCall>(record);
  EXPECT_STREQ(call.name, "DRM_AMDGPU_GEM_CREATE");
  EXPECT_EQ(call.bytes, uint64_t{2} << 20);
  EXPECT_EQ(call.location, GpuLocation::kDevice);
  record.class_id = MOAT_GPU_DRM;  // of a driver that sysfs does not tell
  EXPECT_STREQ(Good<event::GpuCall>(record).verb, "");
  EXPECT_EQ(Good<event::GpuCall>(record).completeness, GpuCompleteness::kHeader);

  record = Call(MOAT_GPU_NEURON, 102, 0, 56);
  Put(record.params, 0, uint64_t{3} << 20);
  EXPECT_EQ(Good<event::GpuCall>(record).bytes, uint64_t{3} << 20);
  EXPECT_STREQ(Good<event::GpuCall>(record).name, "NEURON_IOCTL_MEM_ALLOC_V2MT64");
}

// Where the kernel finds the status of an allocation.
uint16_t StatusAt(uint32_t version, uint32_t class_id, uint32_t number, uint32_t size) {
  const auto rows = probe::MakeGpuRows({.nvidia = version, .uvm = version});
  const auto row = rows.find({class_id, number, 0, size});
  return row == rows.end() ? 0xfffe : row->second.status_at;
}

TEST(GpuRows, StatusOfEachVersion) {
  EXPECT_EQ(StatusAt(k515, MOAT_GPU_NVIDIA, 43, 40), 32);
  EXPECT_EQ(StatusAt(525'060'013, MOAT_GPU_NVIDIA, 43, 40), 36);
  for (const uint32_t version : {k535, k550, k570, k580, k590, k595}) {
    EXPECT_EQ(StatusAt(version, MOAT_GPU_NVIDIA, 43, 48), 40) << version;
    EXPECT_EQ(StatusAt(version, MOAT_GPU_NVIDIA, 43, 32), 28) << version;
  }
  EXPECT_EQ(StatusAt(k999, MOAT_GPU_NVIDIA, 43, 48), MOAT_GPU_NO_STATUS);
  EXPECT_EQ(StatusAt(k999, MOAT_GPU_NVIDIA, 42, 32), 28) << "unchanged in all versions";
  EXPECT_EQ(StatusAt(k580, MOAT_GPU_NVIDIA, 217, 2608), 2600);
  EXPECT_EQ(StatusAt(k580, MOAT_GPU_NVIDIA_UVM, 34, 0), 16);
  EXPECT_EQ(StatusAt(k590, MOAT_GPU_NVIDIA_UVM, 34, 0), 8);
  EXPECT_EQ(StatusAt(k999, MOAT_GPU_NVIDIA_UVM, 34, 0), MOAT_GPU_NO_STATUS);
}

TEST(GpuRows, FitInTheKernelsTable) {
  for (const uint32_t version : {0u, k515, k595, k999}) {
    EXPECT_LE(probe::MakeGpuRows({.nvidia = version, .uvm = version}).size(), 4096u);
  }
}

TEST(GpuRows, TheKernelSideNamesACategoryByItsBit) {
  EXPECT_STREQ(event::GpuCategoryName(static_cast<size_t>(std::countr_zero(MOAT_GPU_FOREIGN))), "foreign-memory");
}

// What is kept of the driver's copy is as long as the shorter of the two parts (moat_gpu_word of bpf/lib/gpu.bpf.h).
TEST(GpuRows, ConditionsLieInWhatIsKeptOfTheDriversCopy) {
  for (const auto& [key, row] : probe::MakeGpuRows({.nvidia = k580, .uvm = k580})) {
    EXPECT_LE(row.at + sizeof(uint32_t), size_t{MOAT_GPU_NESTED_LEN}) << key.class_id << " " << key.number << " " << key.detail;
  }
}

TEST(GpuRows, HowLongParametersOfUvmAreIsKnownByVersion) {
  const auto length = [](uint32_t version, uint32_t number) {
    return probe::MakeGpuRows({.nvidia = version, .uvm = version}).at({MOAT_GPU_NVIDIA_UVM, number, 0, 0}).params_len;
  };
  EXPECT_EQ(length(k580, 34), 24);
  EXPECT_EQ(length(k590, 34), 16);
  EXPECT_EQ(length(k999, 34), 0) << "it has had several";
}

}  // namespace
}  // namespace moat::decode
