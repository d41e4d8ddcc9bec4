// SPDX-License-Identifier: Apache-2.0
// The reader of a ring, over pages that this test fills as the kernel would (kernel/bpf/ringbuf.c).
#include "agent/probe/ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

using testing::ElementsAre;

constexpr size_t kBytes = 4096;

class RingTest : public testing::Test {
 protected:
  RingTest() {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    memory_ = Fd(memfd_create("ring", MFD_CLOEXEC));
    const size_t size = 2 * page + 2 * kBytes;
    EXPECT_EQ(ftruncate(memory_.get(), static_cast<off_t>(size)), 0);
    pages_ = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
    EXPECT_NE(pages_, MAP_FAILED);
    size_ = size;
    page_ = page;
    auto ring = Ring::Map(memory_.get(), kBytes);
    EXPECT_TRUE(ring);
    ring_ = std::move(*ring);
  }
  ~RingTest() override { munmap(pages_, size_); }

  // A record of this text, with these bits in the header's length word. The kernel's second mapping of the data is played by hand.
  void Put(const std::string& text, uint32_t bits = 0) {
    const uint64_t at = produced_ & (kBytes - 1);
    const uint32_t header[2] = {static_cast<uint32_t>(text.size()) | bits, 0};
    std::memcpy(data() + at, header, sizeof(header));
    std::memcpy(data() + at + sizeof(header), text.data(), text.size());
    produced_ += (text.size() + sizeof(header) + 7) & ~7ull;
    std::memcpy(pages_ + page_, &produced_, sizeof(produced_));
  }
  void Commit(uint64_t at, size_t length) {
    const auto word = static_cast<uint32_t>(length);
    std::memcpy(data() + (at & (kBytes - 1)), &word, sizeof(word));
  }
  std::vector<std::string> Take(size_t max = 100) {
    std::vector<std::string> out;
    const size_t taken = ring_.Drain(max, [&](std::span<const std::byte> record) {
      out.emplace_back(reinterpret_cast<const char*>(record.data()), record.size());
    });
    EXPECT_EQ(taken, out.size());
    return out;
  }

  char* data() { return pages_ + 2 * page_; }
  Fd memory_;
  char* pages_ = nullptr;
  size_t size_ = 0, page_ = 0;
  uint64_t produced_ = 0;
  Ring ring_;
};

TEST_F(RingTest, GivesWhatWasSubmittedInOrder) {
  EXPECT_TRUE(ring_.Empty());
  Put("one");
  Put("seventeen bytes..");
  EXPECT_FALSE(ring_.Empty());
  EXPECT_EQ(ring_.used(), 16u + 32u);
  EXPECT_THAT(Take(1), ElementsAre("one"));
  EXPECT_THAT(Take(), ElementsAre("seventeen bytes.."));
  EXPECT_TRUE(ring_.Empty());
}

// moat_submit() wakes the reader by a record that it discards: it is no event.
TEST_F(RingTest, ADiscardedRecordIsPassedOver) {
  Put("before");
  Put("\xff\xff\xff\xff\xff\xff\xff\xff", BPF_RINGBUF_DISCARD_BIT);
  Put("after");
  EXPECT_THAT(Take(), ElementsAre("before", "after"));
  EXPECT_TRUE(ring_.Empty());
}

TEST_F(RingTest, ARecordThatIsBeingWrittenHoldsBackWhatFollows) {
  Put("first");
  const uint64_t at = produced_;
  Put("late", BPF_RINGBUF_BUSY_BIT);
  Put("behind");
  EXPECT_THAT(Take(), ElementsAre("first"));
  EXPECT_FALSE(ring_.Empty());
  EXPECT_THAT(Take(), ElementsAre());
  Commit(at, 4);
  EXPECT_THAT(Take(), ElementsAre("late", "behind"));
}

TEST_F(RingTest, GoesRoundManyTimes) {
  for (int i = 0; i < 1000; ++i) {
    Put("some record");
    ASSERT_THAT(Take(), ElementsAre("some record"));
  }
  EXPECT_GT(produced_, 5 * kBytes);
}

}  // namespace
}  // namespace moat::probe
