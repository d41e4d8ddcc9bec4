// SPDX-License-Identifier: Apache-2.0
// Steps, the batch pool and the gap finder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "agent/app/batch_pool.h"
#include "agent/app/ledger.h"
#include "agent/app/self.h"
#include "agent/app/steps.h"

namespace moat::app {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Steps, StopWalksBackOverWhatStarted) {
  std::vector<std::string> log;
  const auto step = [&](const std::string& name, bool good) {
    return Step{name,
                [&log, name, good]() -> Status {
                  log.push_back("+" + name);
                  return good ? Status() : Fail(Code::kInternal, "no luck");
                },
                [&log, name] { log.push_back("-" + name); }};
  };
  {
    Steps steps;
    const Status status = steps.Start({step("a", true), step("b", true), step("c", false), step("d", true)});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "c: no luck");
    EXPECT_EQ(status.error().code, Code::kInternal);
    EXPECT_THAT(log, ElementsAre("+a", "+b", "+c"));
    steps.Stop();
    EXPECT_THAT(log, ElementsAre("+a", "+b", "+c", "-b", "-a"));
    steps.Stop();
  }
  EXPECT_EQ(log.size(), 5u);
}

TEST(Steps, DestructorStops) {
  int stopped = 0;
  {
    Steps steps;
    ASSERT_TRUE(steps.Start({{"a", [] { return Status(); }, [&] { ++stopped; }}, {"b", [] { return Status(); }, {}}}));
  }
  EXPECT_EQ(stopped, 1);
}

TEST(StopGuardDeathTest, EndsAProcessThatHangs) {
  EXPECT_EXIT(
      {
        const StopGuard guard(50, 0);
        std::this_thread::sleep_for(std::chrono::seconds(30));
      },
      ::testing::ExitedWithCode(1), "stopping took too long");
  const StopGuard guard(20, 0);  // and none that does not
}

TEST(StopGuardDeathTest, LetsTheKernelFinish) {
  EXPECT_EXIT(
      {
        const StopGuard guard(50, 3);
        StopGuard::OnlyDetaching();
        std::this_thread::sleep_for(std::chrono::seconds(30));
      },
      ::testing::ExitedWithCode(3), "programs that the kernel still detaches");
}

TEST(BatchPool, LargeBatchesComeBackSmallOnesGo) {
  const auto pool = BatchPool::Create(2);
  auto large = pool->Take(kBatchEvents);
  const auto* memory = large->events.data();
  large->events.resize(300);
  {
    event::BatchPtr shared = pool->Share(std::move(large));
    event::BatchPtr other = shared;
    shared.reset();
    EXPECT_EQ(pool->kept(), 0u);  // still in use
  }
  EXPECT_EQ(pool->kept(), 1u);
  auto small = pool->Take(3);
  EXPECT_LT(small->events.capacity(), kBatchEvents);
  EXPECT_EQ(pool->kept(), 1u);
  pool->Share(std::move(small)).reset();
  EXPECT_EQ(pool->kept(), 1u);
  auto again = pool->Take(400);
  EXPECT_EQ(again->events.data(), memory);
  EXPECT_TRUE(again->events.empty());
  EXPECT_EQ(pool->kept(), 0u);
}

TEST(BatchPool, KeepsNoMoreThanItsLimit) {
  const auto pool = BatchPool::Create(2);
  std::vector<event::BatchPtr> batches;
  for (int i = 0; i < 5; ++i) {
    batches.push_back(pool->Share(pool->Take(kBatchEvents)));
  }
  batches.clear();
  EXPECT_EQ(pool->kept(), 2u);
}

TEST(BatchPool, ABatchMayOutliveItsOwner) {
  auto pool = BatchPool::Create(2);
  event::BatchPtr batch = pool->Share(pool->Take(kBatchEvents));
  pool.reset();
  batch.reset();
}

TEST(GapFinder, TellsGrowthOnceAndUntoldAgain) {
  GapFinder finder;
  Ledger ledger;
  EXPECT_THAT(finder.Find(ledger), IsEmpty());
  auto& ring_full = ledger.kinds[8].lost[static_cast<size_t>(LostReason::kRingFull)];
  ring_full = 10;
  std::vector<event::Gap> gaps = finder.Find(ledger);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].lost_kind, event::Kind::kFileOpen);
  EXPECT_EQ(gaps[0].reason, static_cast<uint8_t>(LostReason::kRingFull));
  EXPECT_EQ(gaps[0].count, 10u);
  EXPECT_THAT(finder.Find(ledger), IsEmpty());
  ring_full = 15;
  finder.Untell(gaps[0]);
  gaps = finder.Find(ledger);
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].count, 15u);
  EXPECT_THAT(finder.Find(ledger), IsEmpty());
}

TEST(PipelineCounters, KernelHalfIsReadLast) {
  PipelineCounters counters;
  counters.delivered[1].AddOwned(3);
  const Ledger ledger = counters.Whole([&] {
    counters.delivered[1].AddOwned(100);  // what is delivered meanwhile was attempted before
    Ledger kernel;
    kernel.kinds[1].attempted = 103;
    return kernel;
  });
  EXPECT_EQ(ledger.kinds[1].attempted, 103u);
  EXPECT_EQ(ledger.kinds[1].delivered, 3u);
}

TEST(Self, SaysWhatProcSays) {
  EXPECT_FALSE(HostName().empty());
  EXPECT_FALSE(KernelRelease().empty());
  EXPECT_GT(RssBytes(), 1u << 20);
  EXPECT_GT(CpuNs(), 0u);
  const uint64_t since = SinceStartNs();
  EXPECT_LT(since, 600'000'000'000u);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_GT(SinceStartNs(), since);
}

}  // namespace
}  // namespace moat::app
