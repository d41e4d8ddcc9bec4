// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/gpu_holders.h"

#include <gmock/gmock.h>

#include <chrono>

namespace moat::enrich {
namespace {

using event::GpuLocation;
using ::testing::ElementsAre;

event::Header Of(uint32_t pid, uint64_t time_ns = 1) {
  event::Header header;
  header.kind = event::Kind::kGpuIoctl;
  header.process = {.pid = pid, .start_ns = 7};
  header.time_ns = time_ns;
  return header;
}

event::GpuCall Made(const char* verb, uint32_t handle, uint32_t parent = 0, uint64_t bytes = 0,
                    GpuLocation location = GpuLocation::kDevice) {
  event::GpuCall call;
  call.verb = verb;
  call.client = 0xc1d00001;
  call.handle = handle;
  call.parent = parent;
  call.bytes = bytes;
  call.location = location;
  call.status_known = true;
  return call;
}

class GpuHoldersTest : public ::testing::Test {
 protected:
  event::GpuActivity Row(uint32_t pid = 1) const {
    event::Rows<event::GpuActivity> all;
    holders_.Copy(all);
    for (const event::GpuActivity& row : all.rows) {
      if (row.process.pid == pid) {
        return row;
      }
    }
    return {};
  }
  GpuHolders holders_;
};

TEST_F(GpuHoldersTest, MemoryByWhereItLies) {
  holders_.Take(Of(1), Made("ALLOC", 2, 1, 40));
  holders_.Take(Of(1), Made("ALLOC", 3, 1, 5, GpuLocation::kSystem));
  holders_.Take(Of(1), Made("ALLOC", 4, 1, 6, GpuLocation::kUser));
  holders_.Take(Of(1), Made("ALLOC", 5, 1, 1000, GpuLocation::kVirtual));
  holders_.Take(Of(2), Made("ALLOC", 2, 1, 8));
  EXPECT_EQ(Row().device_bytes, 40u);
  EXPECT_EQ(Row().system_bytes, 5u);
  EXPECT_EQ(Row().user_bytes, 6u);
  EXPECT_EQ(Row(2).device_bytes, 8u);
  holders_.Take(Of(1), Made("FREE", 2));
  EXPECT_EQ(Row().device_bytes, 0u);
  EXPECT_EQ(Row(2).device_bytes, 8u) << "of the same numbers, in another process";
  EXPECT_EQ(Row().allocated_bytes, 1051u);
  holders_.Take(Of(1), Made("FREE", 2));
  EXPECT_EQ(Row().device_bytes, 0u) << "freed once";
  EXPECT_THAT(Row().verbs, ElementsAre(testing::StrEq("ALLOC"), testing::StrEq("FREE")));
}

TEST_F(GpuHoldersTest, WhatIsMadeInAnotherGoesWithIt) {
  holders_.Take(Of(1), Made("ALLOC", 0xc1d00001));  // the client
  holders_.Take(Of(1), Made("ALLOC", 1, 0xc1d00001));  // a device
  holders_.Take(Of(1), Made("ALLOC", 2, 1, 40));
  holders_.Take(Of(1), Made("ALLOC", 3, 2, 2));
  holders_.Take(Of(1), Made("FREE", 1));
  EXPECT_EQ(Row().device_bytes, 0u);
  holders_.Take(Of(1), Made("ALLOC", 4, 9, 40));
  holders_.Take(Of(1), Made("FREE", 0xc1d00001));
  EXPECT_EQ(Row().device_bytes, 0u) << "the client with all of its objects";
  holders_.Take(Of(1), Made("ALLOC", 5, 5, 40));  // in itself, which no driver makes
  holders_.Take(Of(1), Made("FREE", 5));
  EXPECT_EQ(Row().device_bytes, 0u);
}

TEST_F(GpuHoldersTest, MemoryByDevice) {
  using event::GpuMemory;
  const auto held = [](int64_t device, uint64_t bytes, uint64_t allocated, uint64_t freed) {
    return testing::AllOf(testing::Field(&GpuMemory::device, device), testing::Field(&GpuMemory::device_bytes, bytes),
                          testing::Field(&GpuMemory::allocated_bytes, allocated), testing::Field(&GpuMemory::freed_bytes, freed));
  };
  const auto make = [&](const char* verb, uint32_t handle, uint32_t parent, uint64_t bytes, int64_t device = -1) {
    event::GpuCall call = Made(verb, handle, parent, bytes);
    call.device_class = event::GpuClass::kNvidia;
    call.device = device;
    holders_.Take(Of(1), call);
  };
  make("ALLOC", 1, 0xc1d00001, 0, 0);  // a device, and one in it
  make("ALLOC", 2, 1, 0);
  make("ALLOC", 3, 0xc1d00001, 0, 1);
  make("ALLOC", 10, 2, 40);
  make("ALLOC", 11, 3, 8);
  make("ALLOC", 12, 99, 5);  // in something that nobody saw
  make("FREE", 11, 0, 0);
  EXPECT_THAT(Row().memory, ElementsAre(held(0, 40, 40, 0), held(1, 0, 8, 8), held(-1, 5, 5, 0)));
  EXPECT_EQ(Row().device_bytes, 45u);
  EXPECT_EQ(Row().freed_bytes, 8u);
  make("FREE", 1, 0, 0);
  EXPECT_THAT(Row().memory, ElementsAre(held(0, 0, 40, 40), held(1, 0, 8, 8), held(-1, 5, 5, 0)));
  event::GpuCall amd = Made("ALLOC", 1, 0, 7);
  amd.device_class = event::GpuClass::kDrm;
  amd.rdev = 226u << 20 | 128;
  holders_.Take(Of(2), amd);
  ASSERT_EQ(Row(2).memory.size(), 1u);
  EXPECT_EQ(Row(2).memory[0].rdev, amd.rdev);
}

TEST_F(GpuHoldersTest, MoreDevicesThanThereIsRoomFor) {
  for (uint32_t i = 0; i < event::kMaxGpuDevices + 3; ++i) {
    event::GpuCall call = Made("ALLOC", i + 1, 0xc1d00001, 2);
    call.device_class = event::GpuClass::kNvidia;
    call.device = i;
    holders_.Take(Of(1), call);
  }
  EXPECT_EQ(Row().memory.size(), event::kMaxGpuDevices);
  EXPECT_EQ(Row().memory_omitted, 3u);
  EXPECT_EQ(Row().device_bytes, 2 * (event::kMaxGpuDevices + 3)) << "in the sums it is";
}

TEST_F(GpuHoldersTest, SizesThatAProgramMadeUpDoNotHideWhatItHolds) {
  holders_.Take(Of(1), Made("ALLOC", 2, 1, 40));
  holders_.Take(Of(1), Made("ALLOC", 3, 1, UINT64_MAX - 39));
  EXPECT_EQ(Row().device_bytes, UINT64_MAX);
  EXPECT_EQ(Row().allocated_bytes, UINT64_MAX);
  holders_.Take(Of(1), Made("FREE", 3));
  EXPECT_EQ(Row().device_bytes, 40u);
  holders_.Take(Of(1), Made("FREE", 2));
  EXPECT_EQ(Row().device_bytes, 0u);
}

// Whoever can make many objects could have the thread of all events look through them for each that it frees.
TEST_F(GpuHoldersTest, ManyObjectsAreFreedInTheTimeThatTheyWereMadeIn) {
  constexpr uint32_t kMany = 60'000, kDevice = 1;
  const auto time = [](auto what) {
    const auto began = std::chrono::steady_clock::now();
    what();
    return std::chrono::steady_clock::now() - began;
  };
  const auto make = [&] {
    for (uint32_t i = 2; i < kMany; ++i) {
      holders_.Take(Of(1), Made("ALLOC", i, kDevice, 1));
    }
  };
  const auto made = time(make);
  EXPECT_EQ(Row().device_bytes, kMany - 2);
  const auto freed = time([&] {
    for (uint32_t i = 2; i < kMany; ++i) {
      holders_.Take(Of(1), Made("FREE", i));
    }
  });
  EXPECT_EQ(Row().device_bytes, 0u);
  make();
  const auto at_once = time([&] { holders_.Take(Of(1), Made("FREE", 0xc1d00001)); });
  EXPECT_EQ(Row().device_bytes, 0u);
  const auto most = 20 * made + std::chrono::milliseconds(100);  // to look through all for each is hundreds of times as much
  EXPECT_LT(freed, most);
  EXPECT_LT(at_once, most);
}

TEST_F(GpuHoldersTest, RefusedCallsHoldNothing) {
  auto refused = Made("ALLOC", 2, 1, 40);
  refused.status = 0x1a;
  holders_.Take(Of(1), refused);
  auto failed = Made("ALLOC", 2, 1, 40);
  failed.result = -12;
  holders_.Take(Of(1), failed);
  EXPECT_EQ(Row().device_bytes, 0u);
  EXPECT_EQ(Row().calls, 2u);
}

TEST_F(GpuHoldersTest, MemoryWithoutAHandleIsSaidToBeMissing) {
  auto call = Made("ALLOC", 0, 0, 40);
  call.client = 0;
  holders_.Take(Of(1), call);
  EXPECT_EQ(Row().device_bytes, 0u);
  EXPECT_EQ(Row().objects_lost, 1u);
  call.location = GpuLocation::kNone;  // addresses: no memory
  holders_.Take(Of(1), call);
  EXPECT_EQ(Row().objects_lost, 1u);
}

TEST_F(GpuHoldersTest, TheLastThatMeantSomething) {
  auto call = Made("CONTROL", 2);
  call.name = "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY";
  call.categories = 1;
  call.target = {.pid = 4711, .start_ns = 9};
  holders_.Take(Of(1, 5), call);
  holders_.Take(Of(1, 6), Made("CONTROL", 2));
  EXPECT_STREQ(Row().last_name, "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY");
  EXPECT_EQ(Row().last_target.pid, 4711u);
  EXPECT_EQ(Row().last_sensitive_ns, 5u);
  EXPECT_EQ(Row().sensitive, 1u);
}

TEST_F(GpuHoldersTest, OpensAndMappingsThatMeantSomethingCount) {
  event::GpuOpen open;
  open.rdev = 1;
  open.device_class = event::GpuClass::kNvidiaCaps;
  holders_.Take(Of(1, 5), open);
  EXPECT_EQ(Row().sensitive, 0u);
  open.rdev = 2;
  open.categories = 16;
  holders_.Take(Of(1, 6), open);
  EXPECT_STREQ(Row().last_name, "nvidia-caps");
  EXPECT_EQ(Row().last_categories, 16u);
  event::GpuMap map;
  map.categories = 64;
  holders_.Take(Of(1, 7), map);
  EXPECT_STREQ(Row().last_name, "PCI resource");
  EXPECT_EQ(Row().last_sensitive_ns, 7u);
  EXPECT_EQ(Row().sensitive, 2u);
  EXPECT_EQ(Row().categories, 80u);
  EXPECT_EQ(Row().devices.size(), 2u);
}

TEST_F(GpuHoldersTest, AProcessThatEndedHoldsNothing) {
  holders_.Take(Of(1), Made("ALLOC", 2, 1, 40));
  holders_.Take(Of(1), event::Exit{});
  EXPECT_EQ(Row().process.pid, 0u);
}

TEST(GpuHoldersLimits, WhatDoesNotFitIsSaid) {
  GpuHolders holders({.holders = 2, .objects = 3});
  for (uint32_t i = 1; i <= 5; ++i) {
    holders.Take(Of(1), Made("ALLOC", i, 0, 10));
  }
  event::Rows<event::GpuActivity> all;
  holders.Copy(all);
  EXPECT_EQ(all.rows[0].device_bytes, 30u);
  EXPECT_EQ(all.rows[0].objects_lost, 2u);
  holders.Take(Of(1), Made("FREE", 1));
  holders.Take(Of(1), Made("ALLOC", 6, 0, 10));
  holders.Take(Of(2), Made("CONTROL", 1));
  holders.Take(Of(3), Made("CONTROL", 1));
  all = {};
  holders.Copy(all);
  EXPECT_EQ(all.evicted, 1u);
  EXPECT_EQ(all.rows.size(), 2u);
}

}  // namespace
}  // namespace moat::enrich
