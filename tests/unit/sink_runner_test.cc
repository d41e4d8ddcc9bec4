// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/sinks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>

#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using event::FindingKind;
using event::Severity;
using std::chrono::milliseconds;
using test::Until;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What a receiver does, as a test says; it outlives the transports, which come and go with their sinks.
struct Receiver {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<Delivery(std::span<const Message>)> answer;  // empty: takes all
  std::vector<Message> got;
  std::vector<std::chrono::steady_clock::time_point> asked;
  bool hangs = false;
  std::atomic<int> hanging = 0;

  void Hang(bool is) {
    std::lock_guard lock(mutex);
    hangs = is;
    changed.notify_all();
  }
  std::vector<std::string> Ids() {
    std::lock_guard lock(mutex);
    std::vector<std::string> ids;
    for (const Message& message : got) {
      ids.push_back(message.id);
    }
    return ids;
  }
  size_t Count() {
    std::lock_guard lock(mutex);
    return got.size();
  }
  size_t Asked() {
    std::lock_guard lock(mutex);
    return asked.size();
  }
};

class Obeys final : public Transport {
 public:
  explicit Obeys(Receiver& receiver) : receiver_(receiver) {}
  const char* name() const override { return "test"; }
  Delivery Send(std::span<const Message> messages) override {
    std::unique_lock lock(receiver_.mutex);
    receiver_.asked.push_back(std::chrono::steady_clock::now());
    ++receiver_.hanging;
    receiver_.changed.wait(lock, [this] { return !receiver_.hangs; });
    --receiver_.hanging;
    Delivery delivery = receiver_.answer ? receiver_.answer(messages) : Delivery{.delivered = messages.size()};
    for (size_t i = 0; i < delivery.delivered; ++i) {
      receiver_.got.push_back(messages[i]);
    }
    return delivery;
  }

 private:
  Receiver& receiver_;
};

const Origin kOrigin = {.hostname = "node", .version = "1"};

class Plain final : public Encoding {
 public:
  const char* name() const override { return "plain"; }
  std::string Encode(const event::Finding& finding) const override { return finding.title; }
};

event::FindingPtr Finding(const std::string& id, Severity severity = Severity::kHigh,
                          FindingKind kind = FindingKind::kCanaryTouched) {
  auto finding = test::MakeFinding(kind);
  finding->id = id;
  finding->severity = severity;
  return finding;
}

class SinkRunnerTest : public ::testing::Test {
 protected:
  SinkRunnerTest() {
    config_.name = "test";
    config_.spool.path = dir_ / "spool";
    options_.first_pause = milliseconds(1);
    options_.longest_pause = milliseconds(8);
  }
  std::unique_ptr<Sink> Start(Receiver& receiver) {
    auto sink = Sink::Create(config_, kOrigin, std::make_unique<Plain>(), std::make_unique<Obeys>(receiver), options_);
    EXPECT_TRUE(sink) << sink.error().message;
    return sink ? std::move(*sink) : nullptr;
  }

  test::TempDir dir_;
  config::Sink config_;
  SinkOptions options_;
  Receiver receiver_;
};

std::vector<std::string> Numbers(int from, int to) {
  std::vector<std::string> numbers;
  for (; from < to; ++from) {
    numbers.push_back(std::to_string(from));
  }
  return numbers;
}

TEST_F(SinkRunnerTest, DeliversInOrderAndCounts) {
  auto sink = Start(receiver_);
  for (const std::string& id : Numbers(0, 500)) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(sink->Flush(milliseconds(10'000)));
  EXPECT_EQ(sink->stats().spool.spooled, 500u);
  ASSERT_TRUE(Until([&] { return sink->stats().delivered == 500; }));
  ASSERT_TRUE(Until([&] { return sink->stats().spool.depth == 0; }));
  EXPECT_EQ(receiver_.Ids(), Numbers(0, 500));
  const SinkStats stats = sink->stats();
  EXPECT_EQ(stats.name, "test");
  EXPECT_EQ(stats.type, "file");
  EXPECT_EQ(stats.seen, 500u);
  EXPECT_EQ(stats.queued, 500u);
  EXPECT_EQ(stats.lag_ns, 0u);
  EXPECT_FALSE(stats.failing);
  const Message& message = receiver_.got[0];
  EXPECT_EQ(message.kind, "canary-touched");
  EXPECT_EQ(message.severity, Severity::kHigh);
  EXPECT_EQ(message.revision, 3u);
  EXPECT_EQ(message.time_unix_ns, 1'790'000'005'000'000'000u);
  EXPECT_EQ(message.text, "title plain");
}

TEST_F(SinkRunnerTest, FiltersBySeverityAndKind) {
  config_.min_severity = "medium";
  config_.kinds = {"canary-touched", "events-lost"};
  auto sink = Start(receiver_);
  sink->OnFinding(Finding("low", Severity::kLow));
  sink->OnFinding(Finding("medium", Severity::kMedium));
  sink->OnFinding(Finding("critical", Severity::kCritical, FindingKind::kEventsLost));
  sink->OnFinding(Finding("other kind", Severity::kCritical, FindingKind::kDnsTunnel));
  ASSERT_TRUE(Until([&] { return receiver_.Count() == 2; }));
  EXPECT_THAT(receiver_.Ids(), ElementsAre("medium", "critical"));
  EXPECT_EQ(sink->stats().filtered, 2u);
}

TEST_F(SinkRunnerTest, AReceiverThatHangsKeepsNothingFromTheDisk) {
  receiver_.Hang(true);
  auto sink = Start(receiver_);
  sink->OnFinding(Finding("0"));
  ASSERT_TRUE(Until([&] { return receiver_.Asked() == 1; }));
  for (const std::string& id : Numbers(1, 2000)) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(sink->Flush(milliseconds(10'000)));
  const SinkStats stats = sink->stats();
  EXPECT_EQ(stats.spool.spooled, 2000u);
  EXPECT_EQ(stats.delivered, 0u);
  EXPECT_EQ(stats.spool.depth, 2000u);
  EXPECT_GT(stats.lag_ns, 0u);
  receiver_.Hang(false);
  ASSERT_TRUE(Until([&] { return sink->stats().delivered == 2000; }));
  EXPECT_EQ(receiver_.Ids(), Numbers(0, 2000));
}

TEST_F(SinkRunnerTest, AFullQueueIsCountedAndNobodyWaits) {
  config_.queue = 16;
  // No disk: what the intake has in hand stays there, and the queue behind it fills.
  auto sink = Start(receiver_);
  std::filesystem::remove_all(dir_ / "spool");
  const auto before = std::chrono::steady_clock::now();
  for (const std::string& id : Numbers(0, 1000)) {
    sink->OnFinding(Finding(id));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  EXPECT_FALSE(sink->Flush(milliseconds(50)));
  sink->Stop(milliseconds(0));
  const SinkStats stats = sink->stats();
  EXPECT_GT(stats.queue_full, 400u);
  EXPECT_GT(stats.spool_errors, 0u);
  EXPECT_EQ(stats.queued + stats.queue_full, 1000u);
  EXPECT_EQ(stats.unspooled, stats.queued);
  EXPECT_THAT(stats.last_error, HasSubstr("spool cannot be created"));
  EXPECT_TRUE(stats.failing);
}

TEST_F(SinkRunnerTest, TriesAgainWithLongerPauses) {
  receiver_.answer = [this](std::span<const Message> messages) -> Delivery {
    if (receiver_.asked.size() <= 6) {
      return {.delivered = 0, .outcome = Outcome::kRetry, .why = "not now"};
    }
    return {.delivered = messages.size()};
  };
  options_.first_pause = milliseconds(20);
  options_.longest_pause = milliseconds(80);
  auto sink = Start(receiver_);
  sink->OnFinding(Finding("one"));
  ASSERT_TRUE(Until([&] { return sink->stats().retried >= 2; }));
  EXPECT_TRUE(sink->stats().failing);
  EXPECT_EQ(sink->stats().last_error, "not now");
  EXPECT_GT(sink->stats().last_error_unix_ns, 0u);
  ASSERT_TRUE(Until([&] { return sink->stats().delivered == 1 && !sink->stats().failing; }));
  EXPECT_EQ(sink->stats().retried, 6u);
  EXPECT_EQ(sink->stats().last_error, "not now");  // the last one is remembered
  // At least half of 20, 40, 80, 80, ...
  const int least[] = {10, 20, 40, 40, 40, 40};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_GE(receiver_.asked[i + 1] - receiver_.asked[i], milliseconds(least[i])) << i;
  }
}

TEST_F(SinkRunnerTest, PausesAsAReceiverAsks) {
  receiver_.answer = [this](std::span<const Message> messages) -> Delivery {
    if (receiver_.asked.size() == 1) {
      return {.delivered = 0, .outcome = Outcome::kRetry, .why = "busy", .retry_after_ms = 150};
    }
    return {.delivered = messages.size()};
  };
  auto sink = Start(receiver_);
  sink->OnFinding(Finding("one"));
  ASSERT_TRUE(Until([&] { return sink->stats().delivered == 1; }));
  EXPECT_GE(receiver_.asked[1] - receiver_.asked[0], milliseconds(150));
}

TEST_F(SinkRunnerTest, WhatIsRefusedForGoodGoesToTheDeadLetters) {
  receiver_.answer = [](std::span<const Message> messages) -> Delivery {
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].id == "3" || messages[i].id == "9") {
        return {.delivered = i, .outcome = Outcome::kRejected, .why = "malformed"};
      }
    }
    return {.delivered = messages.size()};
  };
  auto sink = Start(receiver_);
  for (const std::string& id : Numbers(0, 10)) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(Until([&] { return sink->stats().rejected == 2 && sink->stats().spool.depth == 0; }));
  EXPECT_THAT(receiver_.Ids(), ElementsAre("0", "1", "2", "4", "5", "6", "7", "8"));
  const auto lines = test::LinesOf(test::ReadAll(dir_ / "spool/dead.json"));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[1], HasSubstr(R"("id":"9","revision":3,"kind":"canary-touched","why":"malformed","text":"title plain")"));
  EXPECT_EQ(sink->stats().spool.dead, 2u);
}

TEST_F(SinkRunnerTest, SomeOfABatchArrive) {
  receiver_.answer = [this](std::span<const Message> messages) -> Delivery {
    const size_t some = std::min<size_t>(messages.size(), receiver_.asked.size() % 4);
    return {.delivered = some, .outcome = some == messages.size() ? Outcome::kDelivered : Outcome::kRetry, .why = "slowly"};
  };
  auto sink = Start(receiver_);
  for (const std::string& id : Numbers(0, 60)) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(Until([&] { return sink->stats().spool.depth == 0 && sink->stats().delivered == 60; }));
  EXPECT_EQ(receiver_.Ids(), Numbers(0, 60));
}

TEST_F(SinkRunnerTest, WhatIsLeftIsSentByTheNextRun) {
  receiver_.answer = [](std::span<const Message>) -> Delivery {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = "down"};
  };
  for (int run = 0; run < 4; ++run) {
    auto sink = Start(receiver_);
    for (const std::string& id : Numbers(run * 10, run * 10 + 10)) {
      sink->OnFinding(Finding(id));
    }
    const auto before = std::chrono::steady_clock::now();
    sink->Stop(milliseconds(50));  // spools without being asked to flush
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
    EXPECT_EQ(sink->stats().spool.spooled, 10u);
  }
  receiver_.answer = nullptr;
  auto sink = Start(receiver_);
  sink->OnFinding(Finding("40"));
  sink->Stop(milliseconds(10'000));  // as long as it takes, and no longer
  EXPECT_EQ(receiver_.Ids(), Numbers(0, 41));
  EXPECT_EQ(sink->stats().spool.depth, 0u);
}

TEST_F(SinkRunnerTest, AFullSpoolDropsTheOldest) {
  config_.spool.max_bytes = 64 << 10;
  options_.spool.segment_bytes = 4 << 10;
  receiver_.answer = [](std::span<const Message>) -> Delivery {
    return {.delivered = 0, .outcome = Outcome::kRetry, .why = "down"};
  };
  auto sink = Start(receiver_);
  for (const std::string& id : Numbers(0, 3000)) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(sink->Flush(milliseconds(10'000)));
  {
    std::lock_guard lock(receiver_.mutex);
    receiver_.answer = nullptr;
  }
  ASSERT_TRUE(Until([&] { return sink->stats().spool.depth == 0; }));
  const SinkStats stats = sink->stats();
  EXPECT_GT(stats.spool.dropped_by_cap, 1000u);
  EXPECT_EQ(stats.delivered + stats.spool.dropped_by_cap, 3000u);
  const auto ids = receiver_.Ids();
  EXPECT_EQ(ids, Numbers(3000 - static_cast<int>(ids.size()), 3000));
}

TEST_F(SinkRunnerTest, ASpoolThatCannotBeReadIsToldAndTriedAgain) {
  options_.spool.segment_bytes = 64;  // each in one of its own
  receiver_.Hang(true);
  auto sink = Start(receiver_);
  for (const char* id : {"a", "b", "c"}) {
    sink->OnFinding(Finding(id));
  }
  ASSERT_TRUE(Until([&] { return sink->stats().spool.spooled == 3 && receiver_.hanging == 1; }));
  std::set<std::string> segments;
  for (const auto& entry : std::filesystem::directory_iterator(config_.spool.path)) {
    if (entry.path().extension() == ".seg") {
      segments.insert(entry.path());
    }
  }
  ASSERT_EQ(segments.size(), 3u);
  const std::string second = *std::next(segments.begin());
  std::filesystem::rename(second, dir_ / "aside");
  std::filesystem::create_directory(second);
  receiver_.Hang(false);
  ASSERT_TRUE(Until([&] { return sink->stats().failing; }));
  EXPECT_THAT(sink->stats().last_error, HasSubstr("cannot be read"));
  EXPECT_EQ(receiver_.Ids(), std::vector<std::string>{"a"});
  std::filesystem::remove(second);
  std::filesystem::rename(dir_ / "aside", second);
  ASSERT_TRUE(Until([&] { return receiver_.Count() == 3; }));
  EXPECT_THAT(receiver_.Ids(), ElementsAre("a", "b", "c"));
  ASSERT_TRUE(Until([&] { return !sink->stats().failing; }));
}

TEST_F(SinkRunnerTest, NoSinkWaitsForAnother) {
  test::WriteAll(dir_ / "file", "");
  std::vector<config::Sink> config(2);
  config[0].name = "good";
  config[0].spool.path = dir_ / "a";
  config[0].transport = config::FileSink{.path = dir_ / "out.json"};
  config[1].name = "bad";
  config[1].min_severity = "medium";
  config[1].encoding = "cef";
  config[1].spool.path = dir_ / "b";
  config[1].transport = config::FileSink{.path = dir_ / "file/never"};
  auto sinks = Sinks::Create(config, {.hostname = "node", .version = "1"}, options_);
  ASSERT_TRUE(sinks) << sinks.error().message;
  for (const std::string& id : Numbers(0, 100)) {
    (*sinks)->OnFinding(Finding(id, id < "5" ? Severity::kLow : Severity::kHigh));
  }
  ASSERT_TRUE((*sinks)->Flush(milliseconds(10'000)));
  ASSERT_TRUE(Until([&] { return (*sinks)->stats()[0].delivered == 100; }));
  const auto stats = (*sinks)->stats();
  EXPECT_EQ(stats[1].delivered, 0u);
  EXPECT_EQ(stats[1].filtered + stats[1].spool.depth, 100u);
  EXPECT_GT(stats[1].filtered, 10u);
  EXPECT_THAT(stats[1].last_error, HasSubstr("file/never cannot be opened: Not a directory"));
  (*sinks)->Stop(milliseconds(0));
  EXPECT_EQ(test::LinesOf(test::ReadAll(dir_ / "out.json")).size(), 100u);
}

TEST_F(SinkRunnerTest, TheAgentsOwnLifeIsToldInOcsfToWhoTakesAll) {
  std::vector<config::Sink> config(3);
  for (size_t i = 0; i < config.size(); ++i) {
    config[i].name = std::to_string(i);
    config[i].spool.path = dir_ / ("spool" + std::to_string(i));
    config[i].transport = config::FileSink{.path = dir_ / ("out" + std::to_string(i))};
  }
  config[1].encoding = "cef";  // has no words for it
  config[2].min_severity = "low";
  auto sinks = Sinks::Create(config, {.hostname = "node", .version = "1"}, options_);
  ASSERT_TRUE(sinks) << sinks.error().message;
  (*sinks)->OnLifecycle(Lifecycle::kStart, "moatd 1 watches host");
  (*sinks)->OnFinding(Finding("f"));
  ASSERT_TRUE(Until([&] {
    const auto stats = (*sinks)->stats();
    return stats[0].delivered == 2 && stats[1].delivered == 1 && stats[2].delivered == 1;
  }));
  EXPECT_EQ((*sinks)->stats()[2].filtered, 1u);
  (*sinks)->OnLifecycle(Lifecycle::kStop, "moatd 1 ends");
  (*sinks)->Stop(milliseconds(1000));
  const auto lines = test::LinesOf(test::ReadAll(dir_ / "out0"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], HasSubstr(R"("class_uid":6002)"));
  EXPECT_THAT(lines[0], HasSubstr("moatd 1 watches host"));
  EXPECT_THAT(lines[1], HasSubstr(R"("class_uid":2004)"));
  EXPECT_THAT(lines[2], HasSubstr("moatd 1 ends"));
}

TEST_F(SinkRunnerTest, EachChangeOfTheAgentsLifeIsOneOfItsOwn) {
  auto sink = Sink::Create(config_, kOrigin, MakeOcsf(kOrigin), std::make_unique<Obeys>(receiver_), options_);
  ASSERT_TRUE(sink) << sink.error().message;
  (*sink)->OnLifecycle(Lifecycle::kUpdate, "once");
  (*sink)->OnLifecycle(Lifecycle::kUpdate, "twice");
  ASSERT_TRUE(Until([&] { return receiver_.Count() == 2; }));
  const auto ids = receiver_.Ids();
  EXPECT_NE(ids[0], ids[1]) << "who keeps one of each id and revision keeps both";
  EXPECT_THAT(ids[0], ::testing::StartsWith("agent-update-"));
}

TEST_F(SinkRunnerTest, ASinkThatCannotBeIsNamed) {
  std::vector<config::Sink> config(1);
  config[0].name = "siem";
  test::WriteAll(dir_ / "file", "");
  config[0].spool.path = dir_ / "file";
  config[0].transport = config::FileSink{.path = dir_ / "out"};
  const auto sinks = Sinks::Create(config, {});
  ASSERT_FALSE(sinks);
  EXPECT_THAT(sinks.error().message, HasSubstr("sink siem: the spool " + (dir_ / "file")));
}

}  // namespace
}  // namespace moat::sink
