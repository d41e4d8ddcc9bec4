// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/spool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <random>
#include <set>

#include "agent/sink/record.h"
#include "tests/unit/sink_spool_kit.h"

namespace moat::sink {
namespace {

using test::MakeMessage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(SinkSpoolTest, InAsOutAcrossSegmentsAndRestarts) {
  {
    auto spool = Open({.segment_bytes = 300});
    Append(*spool, 0, 50);
    EXPECT_EQ(spool->stats().depth, 50u);
    EXPECT_EQ(spool->stats().oldest_unix_ns, MakeMessage(0).time_unix_ns);
    const auto some = Take(*spool, 3);
    ASSERT_EQ(some.size(), 3u);
    spool->Settle(2);
    EXPECT_EQ(spool->stats().depth, 48u);
    EXPECT_EQ(spool->stats().oldest_unix_ns, MakeMessage(2).time_unix_ns);
  }
  EXPECT_GT(SegmentFiles().size(), 5u);
  auto spool = Open({.segment_bytes = 300});
  EXPECT_EQ(spool->stats().depth, 48u);
  Append(*spool, 50, 60);
  EXPECT_EQ(Drain(*spool), Range(2, 60));
  EXPECT_EQ(spool->stats().depth, 0u);
  EXPECT_EQ(spool->stats().depth_bytes, 0u);
  EXPECT_EQ(spool->stats().oldest_unix_ns, 0u);
  EXPECT_LE(SegmentFiles().size(), 1u);
  spool.reset();
  spool = Open();
  EXPECT_TRUE(Drain(*spool).empty());
  Append(*spool, 60, 61);
  EXPECT_THAT(Drain(*spool), ElementsAre(60));
}

TEST_F(SinkSpoolTest, BatchesAreOneWriteAndBounded) {
  auto spool = Open({.segment_bytes = 10'000});
  std::vector<Message> messages;
  for (uint64_t i = 0; i < 100; ++i) {
    messages.push_back(MakeMessage(i, 1000));
  }
  size_t done = 0;
  while (done < messages.size()) {
    const auto kept = spool->Append(std::span(messages).subspan(done));
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_LE(*kept, 10u);
    done += *kept;
  }
  EXPECT_EQ(Take(*spool, 1000, 2500).size(), 2u);  // as many as are not more bytes
  EXPECT_EQ(Take(*spool, 1000, 1).size(), 1u);     // but at least one
  EXPECT_EQ(Drain(*spool), Range(0, 100));
}

TEST_F(SinkSpoolTest, NobodyElseMayRead) {
  ::umask(0);
  auto spool = Open();
  Append(*spool, 0, 3);
  Take(*spool, 1, 1);
  spool->Settle(1);
  spool->Bury(MakeMessage(1), "no");
  ::umask(022);
  struct stat stat{};
  ASSERT_EQ(::stat((dir_ / "spool").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0700u);
  for (const auto& entry : std::filesystem::directory_iterator(dir_ / "spool")) {
    ASSERT_EQ(::stat(entry.path().c_str(), &stat), 0);
    EXPECT_EQ(stat.st_mode & 07777, 0600u) << entry.path();
  }
  spool.reset();
  ::chmod((dir_ / "spool").c_str(), 0777);  // closed again
  spool = Open();
  ASSERT_EQ(::stat((dir_ / "spool").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0700u);
}

TEST_F(SinkSpoolTest, DirectoriesThatCannotBe) {
  const auto refused = [](const std::string& path) {
    const auto spool = Spool::Open(path, {});
    return spool ? std::string("taken") : spool.error().message;
  };
  test::WriteAll(dir_ / "file", "x");
  EXPECT_THAT(refused(dir_ / "file"), HasSubstr("is not a directory that can be opened: Not a directory"));
  EXPECT_THAT(refused(dir_ / "file/below"), HasSubstr("cannot be created: Not a directory"));
  std::filesystem::create_directory(dir_ / "real");
  std::filesystem::create_directory_symlink(dir_ / "real", dir_ / "link");
  EXPECT_THAT(refused(dir_ / "link"), HasSubstr("is not a directory"));
  EXPECT_EQ(refused(dir_ / "deep/deeper/deepest"), "taken");
  auto spool = Open();
  EXPECT_THAT(refused(dir_ / "spool"), HasSubstr("is used by another moatd or another sink"));
  spool.reset();
  EXPECT_EQ(refused(dir_ / "spool"), "taken");
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can give a directory to another user";
  }
  ASSERT_EQ(::chown((dir_ / "real").c_str(), 1, 1), 0);
  EXPECT_THAT(refused(dir_ / "real"), HasSubstr("belongs to user 1 and not to moatd's"));
}

TEST_F(SinkSpoolTest, FullDropsTheOldestAndCountsThem) {
  auto spool = Open({.max_bytes = 4000, .segment_bytes = 500});
  Append(*spool, 0, 1000);
  const SpoolStats stats = spool->stats();
  EXPECT_EQ(stats.spooled, 1000u);
  EXPECT_EQ(stats.depth + stats.dropped_by_cap, 1000u);
  EXPECT_GT(stats.depth, 20u);
  EXPECT_LE(stats.depth_bytes, 4000u);
  uint64_t on_disk = 0;
  for (const std::string& file : SegmentFiles()) {
    on_disk += std::filesystem::file_size(file);
  }
  EXPECT_LE(on_disk, 4000u);
  EXPECT_EQ(Drain(*spool), Range(1000 - stats.depth, 1000));
  Append(*spool, 1000, 1001, 5000);  // larger than all
  EXPECT_EQ(spool->stats().dropped_by_cap, stats.dropped_by_cap + 1);
  Append(*spool, 1001, 1002);
  EXPECT_THAT(Drain(*spool), ElementsAre(1001));
}

TEST_F(SinkSpoolTest, WhatIsLentWhileItsSegmentGoesIsCountedOnce) {
  for (const size_t arrived : {0, 2, 4}) {
    auto spool = Open({.max_bytes = 2000, .segment_bytes = 400});
    const uint64_t before = spool->stats().depth;
    ASSERT_EQ(before, 0u);
    Append(*spool, 0, 8);
    ASSERT_EQ(Take(*spool, 4).size(), 4u);
    Append(*spool, 8, 100);
    spool->Settle(arrived);
    const SpoolStats stats = spool->stats();
    EXPECT_EQ(stats.depth + stats.dropped_by_cap + arrived, 100u) << arrived;
    EXPECT_EQ(Drain(*spool), Range(100 - stats.depth, 100)) << arrived;
    EXPECT_EQ(spool->stats().depth, 0u);
  }
}

TEST_F(SinkSpoolTest, DeadLettersAreKeptUpToTheirRoom) {
  auto spool = Open({.max_bytes = 1 << 20, .dead_bytes = 400});
  for (uint64_t i = 0; i < 10; ++i) {
    spool->Bury(MakeMessage(i), "refused\n\xff");
  }
  const SpoolStats stats = spool->stats();
  EXPECT_EQ(stats.dead + stats.dead_dropped, 10u);
  const auto lines = test::LinesOf(test::ReadAll(dir_ / "spool/dead.json"));
  EXPECT_EQ(lines.size(), stats.dead);
  EXPECT_GE(stats.dead, 2u);
  EXPECT_LE(std::filesystem::file_size(dir_ / "spool/dead.json"), 400u);
  EXPECT_THAT(lines[1], HasSubstr(R"("id":"id-1","revision":1,"kind":"canary-touched","why":"refused\n)"));
  std::filesystem::remove(dir_ / "spool/dead.json");  // who has read it takes it away
  spool->Bury(MakeMessage(11), "why");
  EXPECT_EQ(spool->stats().dead, stats.dead + 1);
}

// Three messages in one segment, then whatever is done to its bytes.
class SinkSpoolDamageTest : public SinkSpoolTest {
 protected:
  void SetUp() override {
    {
      auto spool = Open();
      Append(*spool, 0, kMessages);
    }
    const auto files = SegmentFiles();
    ASSERT_EQ(files.size(), 1u);
    file_ = files[0];
    bytes_ = test::ReadAll(file_);
    for (uint64_t i = 0; i < kMessages; ++i) {
      ends_.push_back((i == 0 ? kSegmentMagic.size() : ends_.back()) + RecordBytes(MakeMessage(i)));
    }
    ASSERT_EQ(ends_.back(), bytes_.size());
  }
  void Lay(const std::string& bytes) {
    std::filesystem::remove_all(dir_ / "spool");
    std::filesystem::create_directory(dir_ / "spool");
    test::WriteAll(file_, bytes);
  }
  // What is left after recovery; then the spool must work on as ever.
  std::vector<uint64_t> Recovered(SpoolStats* stats) {
    auto spool = Open();
    std::vector<uint64_t> numbers;
    if (spool) {
      *stats = spool->stats();
      Append(*spool, 100, 102);
      numbers = Drain(*spool);
      EXPECT_GE(numbers.size(), 2u);
      EXPECT_EQ(std::vector(numbers.end() - 2, numbers.end()), Range(100, 102));
      numbers.resize(numbers.size() - 2);
      EXPECT_EQ(spool->stats().depth, 0u);
      stats->corrupt = spool->stats().corrupt;
      EXPECT_EQ(stats->depth, numbers.size());
    }
    spool.reset();
    auto again = Open();  // a second time nothing is damaged any more
    EXPECT_EQ(again->stats().torn, 0u);
    EXPECT_EQ(again->stats().corrupt, 0u);
    EXPECT_TRUE(Drain(*again).empty());
    return numbers;
  }

  static constexpr uint64_t kMessages = 3;
  std::string file_, bytes_;
  std::vector<size_t> ends_;
};

TEST_F(SinkSpoolDamageTest, CutAtEveryByte) {
  for (size_t size = 0; size <= bytes_.size(); ++size) {
    SCOPED_TRACE(size);
    Lay(bytes_.substr(0, size));
    const auto whole = static_cast<uint64_t>(std::ranges::count_if(ends_, [&](size_t end) { return end <= size; }));
    const bool clean = size == 0 || size == kSegmentMagic.size() || std::ranges::find(ends_, size) != ends_.end();
    SpoolStats stats;
    EXPECT_EQ(Recovered(&stats), Range(0, whole));
    EXPECT_EQ(stats.torn, clean ? 0u : 1u);
    EXPECT_EQ(stats.corrupt, 0u);
  }
}

TEST_F(SinkSpoolDamageTest, EachByteTurned) {
  for (size_t at = 0; at < bytes_.size(); ++at) {
    for (const unsigned char mask : {0x01, 0x80, 0xff}) {
      SCOPED_TRACE(std::to_string(at) + "^" + std::to_string(mask));
      std::string damaged = bytes_;
      damaged[at] = static_cast<char>(damaged[at] ^ mask);
      Lay(damaged);
      std::vector<uint64_t> want = Range(0, kMessages);
      const auto hit = static_cast<size_t>(std::ranges::upper_bound(ends_, at) - ends_.begin());
      const bool in_record = at >= kSegmentMagic.size();
      if (in_record) {
        want.erase(want.begin() + static_cast<ptrdiff_t>(hit));
      }
      SpoolStats stats;
      EXPECT_EQ(Recovered(&stats), want);
      EXPECT_EQ(stats.corrupt + stats.torn, in_record ? 1u : 0u);  // the head of the last one: nobody knows that it was one
    }
  }
}

TEST_F(SinkSpoolDamageTest, AnyBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::string bytes = bytes_;
    for (int i = static_cast<int>(random() % 20); i >= 0; --i) {
      switch (random() % 4) {
        case 0: bytes[random() % bytes.size()] = static_cast<char>(random()); break;
        case 1: bytes.insert(random() % bytes.size(), bytes_.substr(random() % bytes_.size(), random() % 100)); break;
        case 2: bytes.erase(random() % bytes.size(), random() % 10); break;
        default: bytes.insert(random() % bytes.size(), random() % 50, static_cast<char>(random()));
      }
      if (bytes.empty()) {
        bytes = "x";
      }
    }
    Lay(bytes);
    if (round % 3 == 0) {  // one in the middle, too
      auto spool = Open();
      Append(*spool, 50, 52);
      spool.reset();
      std::string garbled = bytes;
      std::ranges::shuffle(garbled, random);
      test::WriteAll(SegmentFiles()[0], round % 2 == 0 ? garbled : bytes);
    }
    auto spool = Open();
    ASSERT_NE(spool, nullptr);
    Append(*spool, 100, 101);
    const uint64_t depth = spool->stats().depth;
    const auto numbers = Drain(*spool);
    EXPECT_EQ(numbers.back(), 100u);
    EXPECT_EQ(depth, numbers.size());
    EXPECT_EQ(spool->stats().depth, 0u);
  }
}

TEST_F(SinkSpoolTest, DamageInTheMiddleIsCountedByNumber) {
  {
    auto spool = Open({.segment_bytes = 400});
    Append(*spool, 0, 40);
  }
  const auto files = SegmentFiles();
  ASSERT_GT(files.size(), 4u);
  const uint64_t second = std::stoull(std::filesystem::path(files[1]).stem().string(), nullptr, 16);
  const uint64_t third = std::stoull(std::filesystem::path(files[2]).stem().string(), nullptr, 16);
  std::filesystem::remove(files[1]);  // what is not there is not told; the one before has its numbers
  std::string bytes = test::ReadAll(files[3]);
  bytes.replace(8, 4, "????");
  test::WriteAll(files[3], bytes);
  auto spool = Open();
  EXPECT_EQ(spool->stats().corrupt, third - second + 1);
  EXPECT_EQ(Drain(*spool).size(), 40 - (third - second) - 1);
}

TEST_F(SinkSpoolTest, WithoutACursorAllComesAgain) {
  for (const char* cursor : {"", "moat-cursor 1 ffffffffffffffff 0000000000000000\n", "\xff\xff"}) {
    {
      auto spool = Open();
      Append(*spool, 0, 5);
      Take(*spool, 2);
      spool->Settle(2);
    }
    test::WriteAll(dir_ / "spool/cursor", cursor);
    EXPECT_EQ(Drain(*Open()), Range(0, 5));
  }
}

// Whatever is done in whatever order: nothing is lost uncounted, nothing comes twice but what was not settled, all in order.
TEST_F(SinkSpoolTest, AsAModelHasIt) {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    std::filesystem::remove_all(dir_ / "spool");
    const SpoolOptions options{.max_bytes = 3000 + random() % 3000, .segment_bytes = 200 + random() % 800};
    auto spool = Open(options);
    uint64_t next = 0, settled = 0, dropped = 0, last = 0;
    for (int step = 0; step < 300; ++step) {
      switch (random() % 8) {
        case 0: {
          dropped += spool->stats().dropped_by_cap;
          spool.reset();
          spool = Open(options);
          break;
        }
        case 1:
        case 2:
        case 3: {
          const auto some = Take(*spool, 1 + random() % 9, 1 + random() % 2000);
          const uint64_t more = random() % 3 == 0 ? random() % 30 : 0;
          Append(*spool, next, next + more, 10 + random() % 80);
          next += more;
          const size_t done = some.empty() ? 0 : random() % (some.size() + 1);
          for (size_t i = 0; i < done; ++i) {
            EXPECT_TRUE(settled == 0 || some[i].revision > last);
            last = some[i].revision;
            ++settled;
          }
          spool->Settle(done);
          break;
        }
        default: {
          const uint64_t more = random() % 10;
          Append(*spool, next, next + more, 10 + random() % 200);
          next += more;
        }
      }
      const SpoolStats stats = spool->stats();
      ASSERT_EQ(settled + dropped + stats.dropped_by_cap + stats.depth, next) << step;
      ASSERT_EQ(stats.corrupt + stats.torn, 0u) << step;
    }
    const uint64_t depth = spool->stats().depth;
    EXPECT_EQ(Drain(*spool), Range(next - depth, next));
  }
}

// A child that is killed while it appends: what it said to be on disk is there, in order, once.
TEST_F(SinkSpoolTest, KilledAtAnyTime) {
  uint64_t next = 0;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto spool = Spool::Open(dir_ / "spool", {.segment_bytes = 2000});
      for (uint64_t i = next; spool; ++i) {
        const Message message = MakeMessage(i, 100);
        if (!(*spool)->Append({&message, 1}) || ::write(pipe[1], &i, sizeof(i)) != sizeof(i)) {
          ::_exit(1);
        }
      }
      ::_exit(2);
    }
    ::close(pipe[1]);
    uint64_t said = 0;
    const int until = 1 + round * 3;
    for (int i = 0; i < until; ++i) {
      ASSERT_EQ(::read(pipe[0], &said, sizeof(said)), static_cast<ssize_t>(sizeof(said)));
    }
    ::usleep(static_cast<useconds_t>(round * 37));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (uint64_t more = 0; ::read(pipe[0], &more, sizeof(more)) == sizeof(more);) {
      said = more;
    }
    ::close(pipe[0]);
    auto spool = Open({.segment_bytes = 2000});
    const auto numbers = Drain(*spool);
    ASSERT_FALSE(numbers.empty());
    EXPECT_EQ(numbers, Range(next, numbers.back() + 1));
    EXPECT_GE(numbers.back(), said);
    EXPECT_LE(numbers.back(), said + 1);  // the one that it had no time to tell of
    EXPECT_EQ(spool->stats().corrupt, 0u);
    next = numbers.back() + 1;
  }
}

}  // namespace
}  // namespace moat::sink
