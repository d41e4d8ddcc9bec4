// SPDX-License-Identifier: Apache-2.0
// The parameters of an ioctl as a record carries them: the first 128 bytes, what could not be read flagged, nothing made up.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "bpf/abi/stats.h"
#include "tests/bpf/inspect.h"

namespace moat::test {
namespace {

constexpr size_t kPage = 4096;

constexpr uint32_t Command(uint32_t size) { return _IOC(_IOC_READ | _IOC_WRITE, 'F', 0x2a, size); }

class GpuParamsBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().net = false;
    config().devices = {{.path = "/dev/null", .device_class = "other"}};
    Start();
  }

  // The record of one call; arg is made in the workload.
  moat_gpu_ioctl Call(uint32_t command, const std::function<const void*()>& arg) {
    Clear();
    RunInside([&] {
      const int fd = open("/dev/null", O_RDWR);
      MOAT_CHILD_CHECK(fd >= 0 && ioctl(fd, command, arg()) == -1);
    });
    const auto events = Of<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL);
    EXPECT_EQ(events.size(), 1u) << Summary();
    return events.empty() ? moat_gpu_ioctl{} : events[0];
  }

  // 1, 2, 3, ... as far as it was read, 0 behind.
  static void ExpectCounting(const moat_gpu_ioctl& event, uint32_t length) {
    ASSERT_EQ(event.params_len, length);
    std::array<uint8_t, MOAT_GPU_PARAMS_LEN> want{};
    std::iota(want.begin(), want.begin() + length, uint8_t{1});
    EXPECT_TRUE(std::equal(want.begin(), want.end(), event.params)) << "of " << length;
  }
  static const void* Counting() {
    static std::array<uint8_t, 1024> block;
    std::iota(block.begin(), block.end(), uint8_t{1});
    return block.data();
  }
  // Without the one that every call bears when it is seen on its way to the driver.
  uint32_t FlagsOf(const moat_gpu_ioctl& event) {
    const uint32_t always = Unseen("gpu.ioctl", "result") ? MOAT_F_NO_RESULT : 0;
    EXPECT_EQ(event.hdr.flags & MOAT_F_NO_RESULT, always);
    return event.hdr.flags & ~always;
  }
  uint64_t Unreadable() {
    uint64_t sum = 0;
    std::vector<moat_stat> cpus(static_cast<size_t>(sysconf(_SC_NPROCESSORS_CONF)));
    const uint32_t kind = MOAT_KIND_GPU_IOCTL;
    EXPECT_EQ(bpf_map_lookup_elem(OwnMap("moat_stats"), &kind, cpus.data()), 0);
    for (const moat_stat& stat : cpus) {
      sum += stat.unreadable;
    }
    return sum;
  }
};

TEST_F(GpuParamsBpfTest, TheBytesOfItsSize) {
  for (const uint32_t size : {1u, 16u, 100u, 127u, 128u, MOAT_GPU_PARAMS_LEN + 0u}) {
    const moat_gpu_ioctl event = Call(Command(size), Counting);
    EXPECT_EQ(FlagsOf(event), 0u);
    EXPECT_EQ(event.size, size);
    ExpectCounting(event, size);
  }
  EXPECT_EQ(Unreadable(), 0u);
}

TEST_F(GpuParamsBpfTest, LongerOnesAreCutAndSaySo) {
  for (const uint32_t size : {MOAT_GPU_PARAMS_LEN + 1u, 1024u, 16383u}) {
    const moat_gpu_ioctl event = Call(Command(size), Counting);
    EXPECT_EQ(FlagsOf(event), MOAT_F_TRUNCATED);
    EXPECT_EQ(event.size, size);
    ExpectCounting(event, MOAT_GPU_PARAMS_LEN);
  }
}

TEST_F(GpuParamsBpfTest, WithoutASizeWhateverThePointerShows) {
  const moat_gpu_ioctl pointer = Call(Command(0), Counting);
  EXPECT_EQ(FlagsOf(pointer), 0u);
  ExpectCounting(pointer, MOAT_GPU_PARAMS_LEN);

  const moat_gpu_ioctl nothing = Call(Command(0), [] { return nullptr; });
  EXPECT_EQ(FlagsOf(nothing), 0u) << "no parameter is nothing unread";
  ExpectCounting(nothing, 0);

  const moat_gpu_ioctl number = Call(Command(0), [] { return reinterpret_cast<const void*>(5); });
  EXPECT_EQ(FlagsOf(number), MOAT_F_UNREADABLE);
  EXPECT_EQ(number.arg, 5u);
  ExpectCounting(number, 0);
}

TEST_F(GpuParamsBpfTest, WhatCannotBeReadIsFlaggedAndCounted) {
  const uint64_t before = Unreadable();
  const moat_gpu_ioctl null = Call(Command(16), [] { return nullptr; });
  EXPECT_EQ(FlagsOf(null), MOAT_F_UNREADABLE);
  ExpectCounting(null, 0);

  // Mapped but never touched: a program cannot wait for the page.
  const moat_gpu_ioctl absent =
      Call(Command(16), [] { return mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); });
  EXPECT_EQ(FlagsOf(absent), MOAT_F_UNREADABLE);
  ExpectCounting(absent, 0);

  // A kernel address: the driver would refuse it, so do we.
  const moat_gpu_ioctl kernel = Call(Command(16), [] { return reinterpret_cast<const void*>(0xffff888000000000); });
  EXPECT_EQ(FlagsOf(kernel), MOAT_F_UNREADABLE);
  ExpectCounting(kernel, 0);
  EXPECT_EQ(Unreadable() - before, 3u);
}

TEST_F(GpuParamsBpfTest, UpToTheEndOfThePageWhenTheNextIsAbsent) {
  for (const uint32_t room : {1u, 40u, 127u}) {
    const moat_gpu_ioctl event = Call(Command(128), [room] {
      auto* pages = static_cast<uint8_t*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      MOAT_CHILD_CHECK(mprotect(pages + kPage, kPage, PROT_NONE) == 0);
      std::memcpy(pages + kPage - room, Counting(), room);
      return pages + kPage - room;
    });
    EXPECT_EQ(FlagsOf(event), MOAT_F_UNREADABLE);
    ExpectCounting(event, room);
  }
  const moat_gpu_ioctl fits = Call(Command(40), [] {
    auto* page = static_cast<uint8_t*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memcpy(page + kPage - 40, Counting(), 40);
    return page + kPage - 40;
  });
  EXPECT_EQ(FlagsOf(fits), 0u);
  ExpectCounting(fits, 40);
}

}  // namespace
}  // namespace moat::test
