// SPDX-License-Identifier: Apache-2.0
#include "agent/app/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "agent/base/clock.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/process.h"

namespace moat::app {
namespace {

using event::Kind;

template <typename Record>
Record Make(uint16_t kind, uint32_t pid, uint64_t time_ns = MonotonicNs()) {
  Record record{};
  record.hdr.size = sizeof(record);
  record.hdr.version = MOAT_ABI_VERSION;
  record.hdr.kind = kind;
  record.hdr.time_ns = time_ns;
  record.hdr.pid = record.hdr.tid = pid;
  record.hdr.start_ns = 1000 + pid;
  return record;
}
moat_gpu_open GpuOpen(uint32_t pid, uint64_t time_ns = MonotonicNs()) {
  auto record = Make<moat_gpu_open>(MOAT_KIND_GPU_OPEN, pid, time_ns);
  record.class_id = MOAT_GPU_OTHER;
  return record;
}

// Two rings in memory. Bulk is drained before urgent, as the real one does.
class FakeProbe final : public probe::Probe {
 public:
  template <typename Record>
  void Put(bool urgent, const Record& record) {
    std::vector<std::byte> bytes(sizeof(record));
    std::memcpy(bytes.data(), &record, sizeof(record));
    PutBytes(urgent, std::move(bytes), record.hdr.kind);
  }
  void PutBytes(bool urgent, std::vector<std::byte> bytes, uint16_t kind) {
    std::lock_guard lock(mutex_);
    ++ledger_.kinds[kind].attempted;
    rings_[urgent].push_back(std::move(bytes));
    wake_ = true;
    changed_.notify_all();
  }
  void Lose(Kind kind, LostReason reason, uint64_t count) {
    std::lock_guard lock(mutex_);
    ledger_.kinds[static_cast<size_t>(kind)].attempted += count;
    ledger_.kinds[static_cast<size_t>(kind)].lost[static_cast<size_t>(reason)] += count;
  }

  Status Scan(probe::RecordSink& sink) override {
    ++scans;
    for (uint32_t pid = 1; pid <= scan_processes; ++pid) {
      Emit(sink, Make<moat_exec>(MOAT_KIND_SCAN, pid));
    }
    return {};
  }
  size_t Drain(probe::RecordSink& sink, size_t max) override {
    ++drains;
    size_t taken = 0;
    for (auto& ring : rings_) {
      for (size_t i = 0; i < max; ++i, ++taken) {
        std::vector<std::byte> record;
        {
          std::lock_guard lock(mutex_);
          if (ring.empty()) {
            break;
          }
          record = std::move(ring.front());
          ring.pop_front();
        }
        sink.OnRecord(record);
      }
    }
    return taken;
  }
  void Nap(int ms) override { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
  void Sleep(int timeout_ms) override {
    ++sleeps;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return wake_; });
    wake_ = false;
  }
  void Wake() override {
    std::lock_guard lock(mutex_);
    wake_ = true;
    changed_.notify_all();
  }
  void Sums(probe::RecordSink& sink) override {
    if (uint64_t count = sums_records.exchange(0); count > 0) {
      for (; count > 0; --count) {
        Emit(sink, GpuOpen(5));
      }
    }
  }
  Status ReloadAssets(const config::Config&) override { return {}; }
  std::vector<std::string> AssetPaths() const override { return {}; }
  bool FindAssetsAgain() override { return false; }
  std::vector<probe::ResolvedAsset> Assets() const override { return {}; }
  std::vector<probe::ResolvedDevice> Devices() const override { return {}; }
  std::vector<DomainStatus> Domains() const override { return {}; }
  Ledger KernelLedger() const override {
    std::lock_guard lock(mutex_);
    return ledger_;
  }
  std::vector<RingStatus> Rings() const override { return {}; }
  std::vector<std::string> Repair() override { return {}; }
  void Keep() override {}
  Status LetGo() override { return {}; }
  std::string NotKept() const override { return ""; }
  probe::PolicyMaps* Policies() override { return nullptr; }

  std::atomic<uint64_t> drains = 0, sleeps = 0, scans = 0, sums_records = 0;
  uint32_t scan_processes = 0;

 private:
  // As the real probe: what it makes itself it counts as attempted.
  template <typename Record>
  void Emit(probe::RecordSink& sink, const Record& record) {
    {
      std::lock_guard lock(mutex_);
      ++ledger_.kinds[record.hdr.kind].attempted;
    }
    sink.OnRecord(std::as_bytes(std::span(&record, 1)));
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<std::byte>> rings_[2];  // bulk, urgent
  Ledger ledger_;
  bool wake_ = false;
};

class Keeper final : public event::Consumer {
 public:
  void OnBatch(const event::BatchPtr& batch) override {
    std::unique_lock lock(mutex_);
    open_.wait(lock, [this] { return !shut_; });
    largest_ = std::max(largest_, batch->events.size());
    events_.insert(events_.end(), batch->events.begin(), batch->events.end());
    names_ = batch->names;
  }
  void Shut(bool shut) {
    std::lock_guard lock(mutex_);
    shut_ = shut;
    open_.notify_all();
  }
  std::vector<event::Event> events() const {
    std::lock_guard lock(mutex_);
    return events_;
  }
  size_t Count(Kind kind) const {
    std::lock_guard lock(mutex_);
    return std::count_if(events_.begin(), events_.end(), [&](const event::Event& e) { return e.header.kind == kind; });
  }
  size_t largest() const {
    std::lock_guard lock(mutex_);
    return largest_;
  }
  std::shared_ptr<const event::Names> names() const {
    std::lock_guard lock(mutex_);
    return names_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable open_;
  bool shut_ = false;
  std::vector<event::Event> events_;
  std::shared_ptr<const event::Names> names_;
  size_t largest_ = 0;
};

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  for (const auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

class PipelineTest : public ::testing::Test {
 protected:
  void Start() {
    auto tree = enrich::ProcessTree::Create([](const event::ProcessKey&) { return std::nullopt; },
                                            [](uint64_t, uint64_t) { return std::string("/cgroup"); });
    pipeline_ =
        Pipeline::Start(options_, probe_, std::make_shared<event::Names>(), std::move(tree), {&keeper_}, nullptr, producer_);
  }
  KindLedger Line(Kind kind) const { return pipeline_->WholeLedger().kinds[static_cast<size_t>(kind)]; }
  static uint64_t Lost(const KindLedger& line, LostReason reason) { return line.lost[static_cast<size_t>(reason)]; }
  void ExpectBalanced() const {
    const Ledger ledger = pipeline_->WholeLedger();
    for (size_t kind = 0; kind < kKinds; ++kind) {
      uint64_t accounted = ledger.kinds[kind].delivered;
      for (const uint64_t lost : ledger.kinds[kind].lost) {
        accounted += lost;
      }
      EXPECT_EQ(ledger.kinds[kind].attempted, accounted) << event::KindName(static_cast<Kind>(kind));
    }
  }

  PipelineOptions options_{.queue_batches = 64, .poll_ms = 1, .sums_ms = 50, .scan = false, .loss_check_ms = 20};
  FakeProbe probe_;
  Keeper keeper_;
  event::Producer* producer_ = nullptr;
  std::unique_ptr<Pipeline> pipeline_;  // the first to go
};

TEST_F(PipelineTest, DeliversEachOnceNumberedAndCounted) {
  Start();
  constexpr uint32_t kCount = 10'000;
  for (uint32_t i = 0; i < kCount; ++i) {
    probe_.Put(false, GpuOpen(i));
  }
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == kCount; }));
  const std::vector<event::Event> events = keeper_.events();
  for (uint32_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(events[i].header.seq, i + 1);
    ASSERT_EQ(events[i].header.process.pid, i);
  }
  EXPECT_LE(keeper_.largest(), 512u);
  ASSERT_TRUE(Eventually([&] { return pipeline_->last_seq() == kCount; }));
  EXPECT_EQ(Line(Kind::kGpuOpen).attempted, kCount);
  EXPECT_EQ(Line(Kind::kGpuOpen).delivered, kCount);
  ExpectBalanced();
}

TEST_F(PipelineTest, UrgentAndBulkInOrderOfTimeEvenBehindABacklog) {
  // Before the pipeline looks: 3,000 opens in bulk, and in the urgent ring what came before, amid and after them.
  const uint64_t begin_ns = MonotonicNs() - 1'000'000'000;
  probe_.Put(true, Make<moat_fork>(MOAT_KIND_FORK, 1, begin_ns));
  for (uint32_t i = 0; i < 3000; ++i) {
    probe_.Put(false, GpuOpen(7, begin_ns + 10 + i * 10));
  }
  probe_.Put(true, Make<moat_exec>(MOAT_KIND_EXEC, 7, begin_ns + 15'005));
  probe_.Put(true, Make<moat_exit>(MOAT_KIND_EXIT, 7, begin_ns + 40'000));
  Start();
  ASSERT_TRUE(Eventually([&] { return keeper_.events().size() == 3003; }));
  const std::vector<event::Event> events = keeper_.events();
  EXPECT_TRUE(std::is_sorted(events.begin(), events.end(),
                             [](const event::Event& a, const event::Event& b) { return a.header.time_ns < b.header.time_ns; }));
  EXPECT_EQ(events.front().header.kind, Kind::kFork);
  EXPECT_EQ(events.back().header.kind, Kind::kExit);
}

TEST_F(PipelineTest, BulkWaitsForAnOlderUrgentBacklog) {
  const uint64_t begin_ns = MonotonicNs() - 1'000'000'000;
  for (uint32_t i = 0; i < 1500; ++i) {
    probe_.Put(true, Make<moat_fork>(MOAT_KIND_FORK, 1, begin_ns + 2 * i));
  }
  probe_.Put(false, GpuOpen(7, begin_ns + 2001));
  Start();
  ASSERT_TRUE(Eventually([&] { return keeper_.events().size() == 1501; }));
  EXPECT_EQ(keeper_.events()[1001].header.kind, Kind::kGpuOpen);
}

TEST_F(PipelineTest, ATimeFarAheadIsNotWaitedFor) {
  Start();
  probe_.Put(false, GpuOpen(7, MonotonicNs() + 3'600'000'000'000));
  EXPECT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == 1; }, std::chrono::seconds(3)));
}

TEST_F(PipelineTest, MalformedIsCountedByItsKindAndToldAsAGap) {
  Start();
  moat_gpu_open bad = GpuOpen(1);
  bad.hdr.size = 8;
  probe_.Put(false, bad);
  probe_.Put(false, GpuOpen(2));
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGap) == 1; }));
  const std::vector<event::Event> events = keeper_.events();
  const auto gap = std::find_if(events.begin(), events.end(), [](const event::Event& e) { return e.header.kind == Kind::kGap; });
  const auto& body = std::get<event::Gap>(gap->body);
  EXPECT_EQ(body.lost_kind, Kind::kGpuOpen);
  EXPECT_EQ(body.reason, static_cast<uint8_t>(LostReason::kMalformed));
  EXPECT_EQ(body.count, 1u);
  ASSERT_TRUE(Eventually([&] { return Line(Kind::kGap).delivered == 1; }));
  EXPECT_EQ(Lost(Line(Kind::kGpuOpen), LostReason::kMalformed), 1u);
  ExpectBalanced();
}

TEST_F(PipelineTest, KernelLossesBecomeGapsOnceEach) {
  Start();
  probe_.Lose(Kind::kFileOpen, LostReason::kRingFull, 100);
  probe_.Lose(Kind::kExec, LostReason::kProgramMissed, 3);
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGap) == 2; }, std::chrono::milliseconds(1000)));
  probe_.Lose(Kind::kFileOpen, LostReason::kRingFull, 11);
  probe_.Wake();
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGap) == 3; }, std::chrono::milliseconds(1000)));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::map<std::pair<Kind, uint8_t>, uint64_t> told;
  for (const event::Event& event : keeper_.events()) {
    const auto& gap = std::get<event::Gap>(event.body);
    told[{gap.lost_kind, gap.reason}] += gap.count;
  }
  EXPECT_EQ(told.size(), 2u);
  EXPECT_EQ((told[{Kind::kFileOpen, static_cast<uint8_t>(LostReason::kRingFull)}]), 111u);
  EXPECT_EQ((told[{Kind::kExec, static_cast<uint8_t>(LostReason::kProgramMissed)}]), 3u);
  ExpectBalanced();
}

TEST_F(PipelineTest, AFullQueueLosesByKindAndTellsIt) {
  options_.queue_batches = 2;
  Start();
  keeper_.Shut(true);  // the consumer hangs
  constexpr uint32_t kCount = 20'000;
  for (uint32_t i = 0; i < kCount; ++i) {
    probe_.Put(false, GpuOpen(1));
  }
  // Gaps are tried, and dropped, all the while.
  ASSERT_TRUE(Eventually([&] { return Lost(Line(Kind::kGpuOpen), LostReason::kQueueFull) > 5'000; }));
  keeper_.Shut(false);
  ASSERT_TRUE(Eventually([&] {
    const KindLedger line = Line(Kind::kGpuOpen);
    return line.delivered + Lost(line, LostReason::kQueueFull) == kCount && keeper_.Count(Kind::kGap) > 0;
  }));
  EXPECT_EQ(keeper_.Count(Kind::kGpuOpen), Line(Kind::kGpuOpen).delivered);
  ASSERT_TRUE(Eventually([&] {
    uint64_t told = 0;
    for (const event::Event& event : keeper_.events()) {
      if (const auto* gap = std::get_if<event::Gap>(&event.body)) {
        EXPECT_EQ(gap->lost_kind, Kind::kGpuOpen);
        EXPECT_EQ(gap->reason, static_cast<uint8_t>(LostReason::kQueueFull));
        told += gap->count;
      }
    }
    return told == Lost(Line(Kind::kGpuOpen), LostReason::kQueueFull);
  }));
  ASSERT_TRUE(Eventually([&] { return Line(Kind::kGap).delivered == Line(Kind::kGap).attempted; }));
  ExpectBalanced();
  uint64_t seq = 0;
  for (const event::Event& event : keeper_.events()) {
    ASSERT_EQ(event.header.seq, ++seq);  // a lost event never had a number
  }
}

TEST_F(PipelineTest, ScansFirstAndKnowsWhoTheyAre) {
  options_.scan = true;
  probe_.scan_processes = 5000;  // more than fits in one go
  probe_.Put(false, GpuOpen(17));
  Start();
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kScan) == 5000 && keeper_.Count(Kind::kGpuOpen) == 1; }));
  for (const event::Event& event : keeper_.events()) {
    if (event.header.kind == Kind::kGpuOpen) {
      EXPECT_NE(event.header.info, nullptr);
    }
  }
  ASSERT_TRUE(Eventually([&] { return Line(Kind::kScan).delivered == 5000; }));
  ExpectBalanced();
}

TEST_F(PipelineTest, WithoutScanItDoesNotScan) {
  Start();
  probe_.Put(false, GpuOpen(1));
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == 1; }));
  EXPECT_EQ(probe_.scans, 0u);
}

TEST_F(PipelineTest, SumsComeAndAreCounted) {
  Start();
  probe_.sums_records = 3;
  ASSERT_TRUE(Eventually([&] { return Line(Kind::kGpuOpen).delivered == 3; }));
  ExpectBalanced();
}

TEST_F(PipelineTest, AnIdleReaderSleeps) {
  options_.sums_ms = 1000;
  options_.loss_check_ms = 1000;
  Start();
  ASSERT_TRUE(Eventually([&] { return probe_.sleeps > 0; }));
  const uint64_t drains = probe_.drains;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LE(probe_.drains - drains, 3u);
  probe_.Put(false, GpuOpen(1));  // and wakes for a record at once
  EXPECT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == 1; }, std::chrono::milliseconds(400)));
}

TEST_F(PipelineTest, StopsFromSleepAndDeliversWhatIsLeft) {
  options_.sums_ms = 60'000;
  Start();
  ASSERT_TRUE(Eventually([&] { return probe_.sleeps > 0; }));
  for (uint32_t i = 0; i < 3000; ++i) {
    probe_.Put(false, GpuOpen(1));
  }
  const auto begin = std::chrono::steady_clock::now();
  pipeline_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_EQ(keeper_.Count(Kind::kGpuOpen), 3000u);
}

// A finding for each event, and a thousand at the end.
class Concluder final : public event::Producer {
 public:
  void OnBatch(const event::BatchPtr& batch) override {
    for (const event::Event& event : batch->events) {
      made_ += event.header.kind == Kind::kFinding ? 0 : 1;
    }
  }
  void OnTime(uint64_t) override { ++times; }
  void OnEnd(uint64_t) override { made_ += 1000; }
  void Take(std::vector<event::Event>& to) override {
    for (; made_ > 0; --made_) {
      to.emplace_back().header.kind = Kind::kFinding;
    }
  }
  std::atomic<int> times = 0;

 private:
  int made_ = 0;
};

TEST_F(PipelineTest, WhatIsConcludedComesBehindWhatItIsMadeOfAndNothingOfItIsLostAtTheEnd) {
  Concluder concluder;
  producer_ = &concluder;
  Start();
  for (uint32_t i = 0; i < 100; ++i) {
    probe_.Put(false, GpuOpen(1));
  }
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kFinding) == 100; }));
  ASSERT_TRUE(Eventually([&] { return concluder.times > 1; })) << "time passes without events, too";
  ExpectBalanced();
  pipeline_.reset();
  EXPECT_EQ(keeper_.Count(Kind::kFinding), 1100u);
  EXPECT_LE(keeper_.largest(), 512u);
  const std::vector<event::Event> events = keeper_.events();
  for (size_t i = 0; i < events.size(); ++i) {
    ASSERT_EQ(events[i].header.seq, i + 1);
  }
  EXPECT_EQ(events.front().header.kind, Kind::kGpuOpen);
}

TEST_F(PipelineTest, WhatIsAboutACanarySaysSo) {
  Start();
  auto names = std::make_shared<event::Names>();
  names->assets = {{"llama", "weights", 1}, {"bait", "canary", 1}};
  names->canaries = 2;
  pipeline_->SetNames(names);
  for (const uint32_t asset : {0u, 1u, 40u}) {
    auto open = Make<moat_file_open>(MOAT_KIND_FILE_OPEN, 1);
    open.asset = asset;
    probe_.Put(false, open);
  }
  probe_.Put(false, GpuOpen(1));
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == 1; }));
  std::vector<bool> marked;
  for (const event::Event& event : keeper_.events()) {
    if (event.header.kind == Kind::kFileOpen) {
      marked.push_back((event.header.flags & event::kFlagCanary) != 0);
    } else {
      EXPECT_EQ(event.header.flags & event::kFlagCanary, 0u);
    }
  }
  EXPECT_EQ(marked, (std::vector<bool>{false, true, false}));
}

TEST_F(PipelineTest, NewNamesTravelWithTheNextBatch) {
  Start();
  auto names = std::make_shared<event::Names>();
  names->assets.push_back({"llama", "weights", 1});
  pipeline_->SetNames(names);
  probe_.Put(false, GpuOpen(1));
  ASSERT_TRUE(Eventually([&] { return keeper_.Count(Kind::kGpuOpen) == 1; }));
  EXPECT_EQ(keeper_.names(), names);
}

}  // namespace
}  // namespace moat::app
