// SPDX-License-Identifier: Apache-2.0
// The hub without gRPC: queues, exact losses, turns and cursors.
#include "agent/api/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "agent/api/subscription.h"
#include "agent/base/clock.h"
#include "tests/unit/api_events.h"

namespace moat::api {
namespace {

using test::MakeBatch;
using testing::HasSubstr;

constexpr uint64_t kSecond = 1'000'000'000;

struct Taken {
  std::vector<uint64_t> seqs;
  uint64_t lost = 0;
};

Taken TakeAll(Subscription& subscription) {
  Taken taken;
  Subscription::Slice slice;
  while (subscription.Next(&slice)) {
    taken.lost += slice.lost_before;
    for (size_t i = slice.begin; i < slice.batch->events.size(); ++i) {
      taken.seqs.push_back(slice.batch->events[i].header.seq);
    }
  }
  return taken;
}

std::shared_ptr<Subscription> MustSubscribe(Hub& hub, const Start& start = {}) {
  auto subscription = hub.Subscribe(start, [] {});
  EXPECT_TRUE(subscription.has_value()) << subscription.error().message;
  return *subscription;
}

bool Soon(const std::function<bool()>& what) {
  for (int i = 0; i < 500 && !what(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return what();
}

TEST(ApiSubscription, DropsTheOldestAndSaysExactlyWhere) {
  Subscription subscription(10, kSecond, [] {});
  bool full = false;
  EXPECT_EQ(subscription.Push(MakeBatch(1, 4), 0, 0, &full), 0u);
  EXPECT_EQ(subscription.Push(MakeBatch(5, 4), 0, 0, &full), 0u);
  EXPECT_EQ(subscription.Push(MakeBatch(9, 8), 0, 0, &full), 6u);
  Subscription::Slice slice;
  ASSERT_TRUE(subscription.Next(&slice));
  EXPECT_EQ(slice.lost_before, 6u);
  EXPECT_EQ(slice.batch->events[slice.begin].header.seq, 7u);
  // What is dropped later lies behind the slice that was taken.
  EXPECT_EQ(subscription.Push(MakeBatch(17, 5), 0, 0, &full), 3u);
  ASSERT_TRUE(subscription.Next(&slice));
  EXPECT_EQ(slice.lost_before, 3u);
  EXPECT_EQ(slice.batch->events[slice.begin].header.seq, 12u);
  Taken rest = TakeAll(subscription);
  EXPECT_EQ(rest.lost, 0u);
  EXPECT_EQ(rest.seqs.size(), 5u);
}

TEST(ApiSubscription, ABatchLargerThanTheQueueKeepsItsEnd) {
  Subscription subscription(3, kSecond, [] {});
  bool full = false;
  EXPECT_EQ(subscription.Push(MakeBatch(1, 10), 0, 0, &full), 7u);
  Taken taken = TakeAll(subscription);
  EXPECT_EQ(taken.lost, 7u);
  EXPECT_EQ(taken.seqs, (std::vector<uint64_t>{8, 9, 10}));
}

TEST(ApiSubscription, OneHoldsTheTurn) {
  Subscription subscription(10000, kSecond, [] {});
  bool full = false, held = true;
  EXPECT_FALSE(subscription.TryTurn(1, &held)) << "nothing waits";
  EXPECT_FALSE(held);
  subscription.Push(MakeBatch(1, 5), 0, 100, &full);
  EXPECT_FALSE(full);
  EXPECT_FALSE(subscription.TryTurn(Subscription::kMessageEvents, &held));
  EXPECT_TRUE(subscription.TryTurn(1, &held));
  EXPECT_FALSE(held);
  EXPECT_FALSE(subscription.TryTurn(1, &held)) << "it is taken";
  EXPECT_TRUE(held);
  EXPECT_FALSE(subscription.EndTurn(100)) << "five events may wait for more";
  EXPECT_TRUE(subscription.TryTurn(1, &held));
  EXPECT_TRUE(subscription.EndTurn(100 + kSecond)) << "they have waited long enough";
  TakeAll(subscription);
  EXPECT_FALSE(subscription.EndTurn(100 + 2 * kSecond));
  subscription.Push(MakeBatch(6, Subscription::kMessageEvents), 0, 3 * kSecond, &full);
  EXPECT_TRUE(full);
  EXPECT_TRUE(subscription.TryTurn(Subscription::kMessageEvents, &held));
  EXPECT_TRUE(subscription.EndTurn(3 * kSecond)) << "a full message does not wait";
}

TEST(ApiSubscription, CloseGivesTheTurnOnce) {
  Subscription idle(10, kSecond, [] {});
  bool held = false;
  EXPECT_TRUE(idle.Close());
  EXPECT_FALSE(idle.Close());
  EXPECT_FALSE(idle.TryTurn(1, &held));
  Subscription busy(10, kSecond, [] {});
  bool full = false;
  busy.Push(MakeBatch(1, 1), 0, 0, &full);
  ASSERT_TRUE(busy.TryTurn(1, &held));
  EXPECT_FALSE(busy.Close()) << "who holds the turn ends the stream";
  EXPECT_TRUE(busy.EndTurn(0));
  EXPECT_TRUE(busy.closed());
}

TEST(ApiHub, LiveStartsNowAndReplayWithTheOldest) {
  auto hub = Hub::Create({.resume_events = 100});
  hub->OnBatch(MakeBatch(1, 60));
  hub->OnBatch(MakeBatch(61, 60));
  auto live = MustSubscribe(*hub);
  EXPECT_EQ(live->start_seq(), 120u);
  EXPECT_TRUE(TakeAll(*live).seqs.empty());
  auto replay = MustSubscribe(*hub, {.cursor = "", .replay = true});
  EXPECT_EQ(replay->start_lost(), 0u) << "a subscriber without a cursor has missed nothing";
  EXPECT_EQ(TakeAll(*replay).seqs.size(), 120u) << "whole batches are kept";
  hub->OnBatch(MakeBatch(121, 100));
  auto later = MustSubscribe(*hub, {.cursor = "", .replay = true});
  Taken taken = TakeAll(*later);
  EXPECT_EQ(taken.seqs.size(), 100u);
  EXPECT_EQ(taken.seqs.front(), 121u);
}

TEST(ApiHub, CursorResumesOrSaysHowManyAreMissing) {
  auto hub = Hub::Create({.resume_events = 50});
  hub->OnBatch(MakeBatch(1, 40));
  hub->OnBatch(MakeBatch(41, 40));
  auto exact = MustSubscribe(*hub, {.cursor = hub->Cursor(60), .replay = false});
  EXPECT_EQ(exact->start_lost(), 0u);
  Taken taken = TakeAll(*exact);
  EXPECT_EQ(taken.seqs.size(), 20u);
  EXPECT_EQ(taken.seqs.front(), 61u);
  auto current = MustSubscribe(*hub, {.cursor = hub->Cursor(80), .replay = false});
  EXPECT_TRUE(TakeAll(*current).seqs.empty());
  hub->OnBatch(MakeBatch(81, 40));  // 1 to 40 go: 80 events are at least 50
  auto late = MustSubscribe(*hub, {.cursor = hub->Cursor(10), .replay = false});
  EXPECT_EQ(late->start_lost(), 30u);
  EXPECT_EQ(late->start_seq(), 40u);
  EXPECT_EQ(TakeAll(*late).seqs.front(), 41u);
}

TEST(ApiHub, CursorOfAnotherRunIsSaid) {
  auto before = Hub::Create({});
  auto hub = Hub::Create({});
  hub->OnBatch(MakeBatch(1, 5));
  auto subscription = MustSubscribe(*hub, {.cursor = before->Cursor(1000), .replay = false});
  EXPECT_TRUE(subscription->agent_restarted());
  EXPECT_EQ(subscription->start_lost(), 0u);
  EXPECT_EQ(TakeAll(*subscription).seqs.size(), 5u);
}

TEST(ApiHub, BadCursorsAreRefused) {
  auto hub = Hub::Create({});
  for (std::string cursor : {std::string("x"), hub->Cursor(1) + "x", hub->Cursor(1).substr(0, 17), std::string(20, 'a'),
                             hub->Cursor(1).substr(0, 17) + "99999999999999999999999"}) {
    auto subscription = hub->Subscribe({.cursor = cursor, .replay = false}, [] {});
    ASSERT_FALSE(subscription.has_value()) << cursor;
    EXPECT_EQ(subscription.error().code, Code::kInvalidArgument);
  }
  auto ahead = hub->Subscribe({.cursor = hub->Cursor(7), .replay = false}, [] {});
  ASSERT_FALSE(ahead.has_value());
  EXPECT_THAT(ahead.error().message, HasSubstr("ahead of this agent"));
}

TEST(ApiHub, IsBounded) {
  auto hub = Hub::Create({.max_subscribers = 2});
  auto first = MustSubscribe(*hub);
  auto second = MustSubscribe(*hub);
  auto third = hub->Subscribe({}, [] {});
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().code, Code::kResourceExhausted);
  EXPECT_THAT(third.error().message, HasSubstr("max_subscribers"));
  first->Close();
  hub->Unsubscribe(first);
  EXPECT_EQ(hub->subscribers(), 1u);
  MustSubscribe(*hub);
}

TEST(ApiHub, GivesTheTurnWithinTheFlushTime) {
  auto hub = Hub::Create({.flush_ms = 20});
  std::atomic<int> turns{0};
  auto subscription = *hub->Subscribe({}, [&] { ++turns; });
  TakeAll(*subscription);
  ASSERT_FALSE(subscription->EndTurn(MonotonicNs()));
  hub->OnBatch(MakeBatch(1, 1));
  EXPECT_TRUE(Soon([&] { return turns == 1; })) << "a single event is flushed";
  EXPECT_EQ(TakeAll(*subscription).seqs.size(), 1u);
  ASSERT_FALSE(subscription->EndTurn(MonotonicNs()));
  hub->OnBatch(MakeBatch(2, Subscription::kMessageEvents));
  EXPECT_TRUE(Soon([&] { return turns == 2; })) << "so is a full message";
}

// The tick finds the turn held; whoever holds it gives it back before the event is due.
TEST(ApiHub, WhatComesDuringATurnIsFlushedToo) {
  auto hub = Hub::Create({.flush_ms = 100});
  std::atomic<int> turns{0};
  auto subscription = *hub->Subscribe({}, [&] { ++turns; });
  hub->OnBatch(MakeBatch(1, 1));  // a tick at once: the last one is long ago
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(turns, 0);
  ASSERT_FALSE(subscription->EndTurn(0));
  EXPECT_TRUE(Soon([&] { return turns == 1; }));
}

TEST(ApiHub, CloseEndsAllAndRefusesNew) {
  auto hub = Hub::Create({});
  int turns = 0;
  auto subscription = *hub->Subscribe({}, [&] { ++turns; });
  ASSERT_FALSE(subscription->EndTurn(MonotonicNs()));
  hub->Close();
  EXPECT_EQ(turns, 1);
  EXPECT_TRUE(subscription->closed());
  auto after = hub->Subscribe({}, [] {});
  ASSERT_FALSE(after.has_value());
  EXPECT_EQ(after.error().code, Code::kUnavailable);
}

TEST(ApiHub, ATrickleDoesNotHoldOnToWholeBatches) {
  auto hub = Hub::Create({});
  auto roomy = std::make_shared<event::Batch>();
  roomy->events.reserve(512);
  roomy->events.push_back(MakeBatch(1, 1)->events[0]);
  std::weak_ptr<event::Batch> few = roomy;
  hub->OnBatch(std::move(roomy));
  EXPECT_TRUE(few.expired()) << "one event holds the room of 512";
  event::BatchPtr full = MakeBatch(2, 512);
  std::weak_ptr<const event::Batch> many = full;
  hub->OnBatch(std::move(full));
  EXPECT_FALSE(many.expired()) << "a full one is shared, not copied";
  EXPECT_EQ(TakeAll(*MustSubscribe(*hub, {.cursor = "", .replay = true})).seqs.size(), 513u);
}

TEST(ApiHub, LossesAreCountedPerSubscriber) {
  auto hub = Hub::Create({.queue_events = 100});
  auto slow = MustSubscribe(*hub);
  auto fast = MustSubscribe(*hub);
  uint64_t seq = 1, fast_seen = 0;
  for (int i = 0; i < 10; ++i, seq += 50) {
    hub->OnBatch(MakeBatch(seq, 50));
    Taken taken = TakeAll(*fast);
    fast_seen += taken.seqs.size();
    EXPECT_EQ(taken.lost, 0u);
  }
  Taken taken = TakeAll(*slow);
  EXPECT_EQ(fast_seen, 500u);
  EXPECT_EQ(taken.lost, 400u);
  EXPECT_EQ(taken.seqs.size(), 100u);
  EXPECT_EQ(hub->subscriber_losses(), 400u);
}

}  // namespace
}  // namespace moat::api
