// SPDX-License-Identifier: Apache-2.0
// Clocks, queue, worker, counters, names of losses, suggestions.
#include <gtest/gtest.h>
#include <pthread.h>

#include <memory>
#include <thread>

#include "agent/base/clock.h"
#include "agent/base/counters.h"
#include "agent/base/queue.h"
#include "agent/base/status.h"
#include "agent/base/strings.h"
#include "agent/base/worker.h"

namespace moat {
namespace {

using namespace std::chrono_literals;

TEST(Status, EachReasonHasItsName) {
  EXPECT_STREQ(LostReasonName(LostReason::kRingFull), "ring_full");
  EXPECT_STREQ(LostReasonName(LostReason::kProgramMissed), "program_missed");
  EXPECT_STREQ(LostReasonName(LostReason::kMalformed), "malformed");
  EXPECT_STREQ(LostReasonName(LostReason::kQueueFull), "queue_full");
  EXPECT_STREQ(LostReasonName(static_cast<LostReason>(200)), "unknown");
}

TEST(Clock, ConvertsToUnixTimeAndBack) {
  WallClock clock;
  uint64_t before = WallNs();
  uint64_t converted = clock.ToUnixNs(MonotonicNs());
  uint64_t after = WallNs();
  // The offset was taken within microseconds; a second leaves room for a step of the wall clock under a busy machine.
  EXPECT_GT(converted + 1'000'000'000, before);
  EXPECT_LT(converted, after + 1'000'000'000);
  EXPECT_EQ(clock.ToMonotonicNs(clock.ToUnixNs(12345)), 12345u);
  EXPECT_EQ(clock.ToUnixNs(2'000) - clock.ToUnixNs(1'000), 1'000u);
  for (const uint64_t no_time : {uint64_t{1} << 63, (uint64_t{1} << 63) - 1, ~uint64_t{0}}) {
    EXPECT_EQ(clock.ToMonotonicNs(clock.ToUnixNs(no_time)), no_time) << "what is too large wraps";
  }
  EXPECT_GE(BootNs() + 1'000'000, MonotonicNs());  // boot time counts suspend too, never less
}

TEST(Queue, HandsOnInOrderAndSaysWhenFull) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_EQ(queue.capacity(), 2u);
  EXPECT_FALSE(queue.Push(std::make_unique<int>(1)));
  EXPECT_FALSE(queue.Push(std::make_unique<int>(2)));
  std::optional<std::unique_ptr<int>> refused = queue.Push(std::make_unique<int>(3));
  ASSERT_TRUE(refused);
  ASSERT_TRUE(*refused);
  EXPECT_EQ(**queue.TryPop(), 1);
  EXPECT_FALSE(queue.Push(std::move(*refused)));
  EXPECT_EQ(**queue.Pop(0ns), 2);
  EXPECT_EQ(**queue.Pop(0ns), 3);
  EXPECT_FALSE(queue.Pop(1ms));
  EXPECT_FALSE(queue.closed());
}

TEST(Queue, CloseLetsOutWhatIsLeftAndWakesTheWaiting) {
  BoundedQueue<int> queue(4);
  EXPECT_EQ(queue.Push(7), std::nullopt);
  queue.Close();
  EXPECT_EQ(queue.Push(8), 8);
  EXPECT_EQ(queue.Pop(1h), 7);
  EXPECT_EQ(queue.Pop(1h), std::nullopt);

  BoundedQueue<int> waited(1);
  std::jthread closer([&] {
    std::this_thread::sleep_for(5ms);
    waited.Close();
  });
  EXPECT_EQ(waited.Pop(1h), std::nullopt);
}

TEST(Queue, KeepsNothingAliveThatWasHandedOn) {
  BoundedQueue<std::shared_ptr<int>> queue(1);
  auto value = std::make_shared<int>(1);
  EXPECT_FALSE(queue.Push(value));
  queue.TryPop();
  EXPECT_EQ(value.use_count(), 1);
}

// Every value that was taken comes out exactly once, whoever pushes and pops.
TEST(Queue, ManyThreadsLoseNothing) {
  constexpr uint64_t kEach = 20'000;
  BoundedQueue<uint64_t> queue(16);
  std::atomic<uint64_t> sum{0}, popped{0};
  {
    std::vector<std::jthread> poppers;
    for (int i = 0; i < 2; ++i) {
      poppers.emplace_back([&] {
        while (true) {
          auto value = queue.Pop(1h);
          if (!value) {
            return;
          }
          sum += *value;
          ++popped;
        }
      });
    }
    {
      std::vector<std::jthread> pushers;
      for (int i = 0; i < 2; ++i) {
        pushers.emplace_back([&] {
          for (uint64_t n = 1; n <= kEach; ++n) {
            while (queue.Push(n)) {
              std::this_thread::yield();
            }
          }
        });
      }
    }
    queue.Close();
  }
  EXPECT_EQ(popped, 2 * kEach);
  EXPECT_EQ(sum, kEach * (kEach + 1));
}

TEST(Worker, HasItsNameAndStops) {
  std::atomic<bool> ran{false};
  std::string name;
  {
    Worker worker("moat-a-very-long-name", [&](const std::stop_token& stop) {
      char text[16] = "";
      pthread_getname_np(pthread_self(), text, sizeof(text));
      name = text;
      ran = true;
      while (!stop.stop_requested()) {
        std::this_thread::sleep_for(1ms);
      }
    });
    while (!ran) {
      std::this_thread::yield();
    }
    EXPECT_TRUE(worker.running());
    worker.Stop();
    EXPECT_FALSE(worker.running());
    worker.Stop();
  }
  EXPECT_EQ(name, "moat-a-very-lon");
  Worker never;
  never.Stop();
}

TEST(Counter, Counts) {
  Counter counter;
  counter.Add();
  counter.AddOwned(41);
  EXPECT_EQ(counter.Get(), 42u);
  counter.Set(7);
  EXPECT_EQ(counter.Get(), 7u);
}

TEST(Strings, EditDistance) {
  EXPECT_EQ(EditDistance("", "", 3), 0u);
  EXPECT_EQ(EditDistance("", "abc", 3), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting", 5), 3u);
  EXPECT_EQ(EditDistance("scope", "scoep", 5), 1u);      // a swap is one edit
  EXPECT_EQ(EditDistance("kitten", "sitting", 2), 3u);   // limit + 1
  EXPECT_EQ(EditDistance("a", "abcdefgh", 2), 3u);
  EXPECT_EQ(EditDistance(std::string(100'000, 'a'), std::string(100'000, 'b'), 5), 6u);  // at once
}

TEST(Strings, SuggestsOnlyWhatIsNear) {
  constexpr std::string_view kKeys[] = {"scope", "socket", "socket_group", "ring_bulk_bytes", "log_level"};
  EXPECT_EQ(Nearest("scop", kKeys), "scope");
  EXPECT_EQ(Nearest("sokcet", kKeys), "socket");
  EXPECT_EQ(Nearest("ring_bulk_byte", kKeys), "ring_bulk_bytes");
  EXPECT_EQ(Nearest("banana", kKeys), "");
  EXPECT_EQ(Nearest("", kKeys), "");
  EXPECT_EQ(DidYouMean("loglevel", kKeys), " (did you mean 'log_level'?)");
  EXPECT_EQ(DidYouMean("zzz", kKeys), "");
}

}  // namespace
}  // namespace moat
