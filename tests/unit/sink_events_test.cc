// SPDX-License-Identifier: Apache-2.0
// Events on their way to a receiver, in a sink of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/base/clock.h"
#include "agent/sink/sinks.h"
#include "tests/unit/api_events.h"
#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using event::Kind;
using nlohmann::json;
using std::chrono::milliseconds;
using test::Until;

class SinkEventsTest : public ::testing::Test {
 protected:
  SinkEventsTest() {
    config_.resize(2);
    for (size_t i = 0; i < config_.size(); ++i) {
      config_[i].name = std::to_string(i);
      config_[i].spool.path = dir_ / ("spool" + config_[i].name);
      config_[i].transport = config::FileSink{.path = dir_ / ("out" + config_[i].name)};
    }
    config_[1].events = {"exit", "net", "policy"};
  }
  std::unique_ptr<Sinks> Start() {
    auto sinks = Sinks::Create(config_, {.hostname = "node", .version = "1", .run = "ab"}, options_);
    EXPECT_TRUE(sinks) << sinks.error().message;
    return sinks ? std::move(*sinks) : nullptr;
  }
  std::vector<json> Written(int sink) const {
    std::vector<json> lines;
    for (const std::string& line : test::LinesOf(test::ReadAll(dir_ / ("out" + std::to_string(sink))))) {
      lines.push_back(json::parse(line));
    }
    return lines;
  }
  // `exits` exits, one exec, one finding, a gap, and a record that nothing is known of.
  static event::BatchPtr Mixed(uint64_t seq, size_t exits) {
    auto batch = std::make_shared<event::Batch>(*test::MakeBatch(seq, exits));
    const auto process = test::MakeProcess(7);
    batch->events.push_back(test::MakeEvent(Kind::kExec, event::Exec{process}, process));
    batch->events.push_back(test::MakeEvent(Kind::kFinding, test::MakeFinding(), nullptr));
    batch->events.push_back(test::MakeEvent(Kind::kGap, event::Gap{}, nullptr));
    batch->events.push_back(test::MakeEvent(Kind::kNetSend, std::monostate(), nullptr));
    for (event::Event& event : batch->events) {
      event.header.time_ns = MonotonicNs();
    }
    return batch;
  }

  test::TempDir dir_;
  std::vector<config::Sink> config_;
  SinkOptions options_;
};

TEST_F(SinkEventsTest, WhoAsksForSomeGetsTheseOnceAndInOrder) {
  options_.queue_batches = 2;
  auto sinks = Start();
  const uint64_t before = WallNs() / 1'000'000;
  for (uint64_t i = 0; i < 5; ++i) {
    sinks->OnBatch(Mixed(1 + i * 600, 600));  // more than one write of the spool
    ASSERT_TRUE(Until([&] { return sinks->stats()[1].delivered == 600 * (i + 1) && sinks->stats()[0].delivered == i + 1; }));
  }
  const SinkStats none = sinks->stats()[0], some = sinks->stats()[1];
  EXPECT_EQ(none.seen, 5u);
  EXPECT_EQ(some.seen, 3000u);
  EXPECT_EQ(some.queued, 3000u);
  EXPECT_EQ(some.queue_full + some.filtered, 0u);
  uint64_t seq = 0;
  for (const json& line : Written(1)) {
    EXPECT_EQ(line["class_uid"], 1007);
    EXPECT_EQ(line["activity_name"], "Terminate");
    ASSERT_EQ(line["metadata"]["uid"], "ab-" + std::to_string(++seq));
    EXPECT_GE(line["time"], before - 1);
    EXPECT_LE(line["time"], WallNs() / 1'000'000 + 1);
  }
  EXPECT_EQ(seq, 3000u);
  for (const json& line : Written(0)) {
    EXPECT_EQ(line["class_uid"], 2004);
  }
}

TEST_F(SinkEventsTest, WhatFindsNoRoomIsCountedByEvents) {
  options_.queue_batches = 0;
  auto sinks = Start();
  sinks->OnBatch(Mixed(1, 100));
  ASSERT_TRUE(Until([&] { return sinks->stats()[0].delivered == 1; })) << "findings do not wait behind events";
  EXPECT_EQ(sinks->stats()[1].seen, 100u);
  EXPECT_EQ(sinks->stats()[1].queue_full, 100u);
  EXPECT_EQ(sinks->stats()[1].queued, 0u);
  sinks->OnBatch(test::MakeBatch(1, 0));
  EXPECT_EQ(sinks->stats()[1].seen, 100u);
}

// Each write of the spool is flushed to the disk: a quiet stream is gathered, and told at the end all the same.
TEST_F(SinkEventsTest, AFewEventsAreGatheredForOneWrite) {
  options_.gather = milliseconds(60'000);
  auto sinks = Start();
  for (uint64_t i = 0; i < 10; ++i) {
    sinks->OnBatch(Mixed(1 + i, 1));
  }
  ASSERT_TRUE(Until([&] { return sinks->stats()[0].delivered == 10; })) << "findings are not";
  EXPECT_EQ(sinks->stats()[1].spool.spooled, 0u);
  sinks->OnBatch(Mixed(11, 246));
  ASSERT_TRUE(Until([&] { return sinks->stats()[1].delivered == 256; })) << "a full write does not wait";
  sinks->OnBatch(Mixed(300, 1));
  sinks->Stop(milliseconds(10'000));
  EXPECT_EQ(sinks->stats()[1].delivered, 257u);
  EXPECT_LT(sinks->stats()[1].sends, 5u);
}

TEST_F(SinkEventsTest, TheAgentsLifeIsWithFindings) {
  auto sinks = Start();
  sinks->OnLifecycle(Lifecycle::kStart, "moatd 1 watches host");
  ASSERT_TRUE(Until([&] { return sinks->stats()[0].delivered == 1; }));
  EXPECT_EQ(sinks->stats()[1].seen, 0u);
}

}  // namespace
}  // namespace moat::sink
