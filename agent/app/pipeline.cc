// SPDX-License-Identifier: Apache-2.0
#include "agent/app/pipeline.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "agent/app/batch_pool.h"
#include "agent/app/canary.h"
#include "agent/app/collector.h"
#include "agent/app/ledger.h"
#include "agent/base/clock.h"
#include "agent/base/queue.h"
#include "agent/base/worker.h"

namespace moat::app {
namespace {

constexpr size_t kDrainRecords = kBatchEvents;  // of each ring in one call
constexpr size_t kKeptBatches = 16;             // free ones; 2.4 MiB after a flood
constexpr uint32_t kEmptyPolls = 3;             // then the reader declares itself asleep
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kIdleNs = 1000 * kMs;
constexpr uint64_t kStuckNs = 60'000 * kMs;
constexpr uint32_t kWaitForRoomMs = 20;
constexpr std::chrono::milliseconds kTick(500);  // of the producer
constexpr uint64_t kLastDrainNs = 1000 * kMs;

class PipelineImpl final : public Pipeline {
 public:
  PipelineImpl(const PipelineOptions& options, probe::Probe& probe, std::shared_ptr<const event::Names> names,
               std::unique_ptr<enrich::ProcessTree> tree, std::vector<event::Consumer*> consumers, probe::RecordSink* recorder,
               event::Producer* producer)
      : options_(options),
        probe_(probe),
        tree_(std::move(tree)),
        consumers_(std::move(consumers)),
        producer_(producer),
        pool_(BatchPool::Create(kKeptBatches)),
        queue_(options.queue_batches),
        collector_(counters_, pool_, recorder, [this](std::unique_ptr<event::Batch> batch) { HandOn(std::move(batch)); }),
        names_(std::move(names)),
        pipeline_thread_("moat-pipeline", [this](const std::stop_token&) { Complete(); }),
        ring_thread_("moat-ring", [this](const std::stop_token& stop) { ReadRings(stop); }) {}

  ~PipelineImpl() override {
    ring_thread_.RequestStop();
    probe_.Wake();
    ring_thread_.Stop();
    queue_.Close();
    pipeline_thread_.Stop();
  }

  void SetNames(std::shared_ptr<const event::Names> names) override {
    std::lock_guard lock(names_mutex_);
    names_ = std::move(names);
  }

  Ledger WholeLedger() const override {
    return counters_.Whole([this] { return probe_.KernelLedger(); });
  }

  uint64_t last_seq() const override { return seq_.Get(); }

  bool Moving() const override {
    const auto stuck = [now_ns = MonotonicNs()](uint64_t since_ns) { return since_ns != 0 && now_ns > since_ns + kStuckNs; };
    return !stuck(ring_turn_ns_.Get()) && !stuck(batch_since_ns_.Get());
  }

 private:
  // ---- ring thread ----

  void ReadRings(const std::stop_token& stop) {
    // A reader that waits for its turn behind the host's own work loses events. Without CAP_SYS_NICE it runs as it is.
    constexpr int kNice = -10;
    if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice) != 0) {
      spdlog::debug("the reader of the rings keeps its priority: {}", std::strerror(errno));
    }
    if (options_.scan) {
      if (Status status = probe_.Scan(collector_); !status) {
        spdlog::warn("processes that ran before the agent are not known: {}", status.error().message);
      }
    }
    uint64_t sums_ns = 0, losses_ns = 0;  // when they are due
    uint32_t empty = 0;                   // drains in a row
    while (!stop.stop_requested()) {
      const uint64_t now_ns = MonotonicNs();
      ring_turn_ns_.Set(now_ns);
      if (now_ns >= sums_ns) {
        probe_.Sums(collector_);
        sums_ns = now_ns + options_.sums_ms * kMs;
      }
      // What the last burst lost is told when it is over.
      if (now_ns >= losses_ns || empty == kEmptyPolls) {
        TellLosses(now_ns);
        losses_ns = now_ns + options_.loss_check_ms * kMs;
      }
      WaitForRoom();
      const size_t records = Drain();
      if (records >= kDrainRecords) {
        empty = 0;
        continue;  // there is more
      }
      empty = records > 0 || collector_.held() > 0 ? 0 : std::min(empty + 1, kEmptyPolls + 1);
      if (empty <= kEmptyPolls) {
        probe_.Nap(static_cast<int>(options_.poll_ms));
      } else {
        // Losses need records to flow, and these wake us, but for runs that the kernel skipped: once a second is enough.
        losses_ns = std::max(losses_ns, std::min(sums_ns, now_ns + kIdleNs));
        const uint64_t until_ns = std::min(sums_ns, losses_ns);
        probe_.Sleep(static_cast<int>((until_ns - std::min(until_ns, now_ns)) / kMs) + 1);
      }
    }
    // Hooks are still attached: what comes on and on is cut off.
    probe_.Sums(collector_);
    TellLosses(MonotonicNs());
    for (const uint64_t end_ns = MonotonicNs() + kLastDrainNs; Drain() + collector_.held() > 0 && MonotonicNs() < end_ns;) {
    }
  }

  // When the pipeline lags, what is not drained yet is safe in the ring: better there for a moment than dropped here.
  void WaitForRoom() {
    for (uint32_t ms = 0; ms < kWaitForRoomMs && queue_.size() > queue_.capacity() / 2; ++ms) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  size_t Drain() {
    collector_.BeginDrain(kDrainRecords, MonotonicNs());
    const size_t records = probe_.Drain(collector_, kDrainRecords);
    collector_.Flush();
    return records;
  }

  void TellLosses(uint64_t now_ns) {
    for (const event::Gap& gap : gap_finder_.Find(WholeLedger())) {
      collector_.OnGap(gap, now_ns);
    }
  }

  void HandOn(std::unique_ptr<event::Batch> batch) {
    std::optional<std::unique_ptr<event::Batch>> refused = queue_.Push(std::move(batch));
    if (!refused) {
      return;
    }
    for (const event::Event& event : (*refused)->events) {
      if (const auto* gap = std::get_if<event::Gap>(&event.body)) {
        gap_finder_.Untell(*gap);  // never made: a later one tells the same
        counters_.made[static_cast<size_t>(event::Kind::kGap)].AddOwned(static_cast<uint64_t>(-1));
      } else {
        counters_.queue_full[static_cast<size_t>(event.header.kind)].AddOwned();
      }
    }
    pool_->Return(std::move(*refused));
  }

  // ---- pipeline thread ----

  void Complete() {
    for (;;) {
      std::optional<std::unique_ptr<event::Batch>> batch =
          queue_.Pop(producer_ != nullptr ? std::chrono::nanoseconds(kTick) : std::chrono::hours(1));
      const bool ended = !batch && queue_.closed();
      if (batch) {
        batch_since_ns_.Set(MonotonicNs());
        CompleteBatch(std::move(*batch));
        batch_since_ns_.Set(0);
      }
      if (producer_ != nullptr) {
        Produce(ended);
      }
      if (ended) {
        return;
      }
    }
  }

  // What was made of the events so far comes behind them, as a batch of its own.
  void Produce(bool ended) {
    const uint64_t now_ns = MonotonicNs();
    if (now_ns >= tick_ns_) {
      producer_->OnTime(now_ns);
      tick_ns_ = now_ns + static_cast<uint64_t>(std::chrono::nanoseconds(kTick).count());
    }
    if (ended) {
      producer_->OnEnd(now_ns);
    }
    produced_.clear();
    producer_->Take(produced_);
    if (produced_.empty()) {
      return;
    }
    for (size_t from = 0; from < produced_.size(); from += kBatchEvents) {
      const size_t to = std::min(produced_.size(), from + kBatchEvents);
      std::unique_ptr<event::Batch> batch = pool_->Take(to - from);
      for (size_t i = from; i < to; ++i) {
        counters_.made[static_cast<size_t>(produced_[i].header.kind)].AddOwned();
        batch->events.push_back(std::move(produced_[i]));
      }
      CompleteBatch(std::move(batch));
    }
  }

  void CompleteBatch(std::unique_ptr<event::Batch> batch) {
    {
      std::lock_guard lock(names_mutex_);
      batch->names = names_;
    }
    MarkCanaries(*batch);
    std::array<uint32_t, kKinds> delivered{};
    uint64_t seq = seq_.Get();
    for (event::Event& event : batch->events) {
      if (event.header.kind != event::Kind::kFinding) {
        tree_->Apply(event);
      }
      event.header.seq = ++seq;
      ++delivered[static_cast<size_t>(event.header.kind)];
    }
    const event::BatchPtr shared = pool_->Share(std::move(batch));
    for (event::Consumer* consumer : consumers_) {
      consumer->OnBatch(shared);
    }
    if (producer_ != nullptr) {
      producer_->OnBatch(shared);
    }
    for (size_t kind = 0; kind < kKinds; ++kind) {
      if (delivered[kind] > 0) {
        counters_.delivered[kind].AddOwned(delivered[kind]);
      }
    }
    seq_.Set(seq);
  }

  const PipelineOptions options_;
  probe::Probe& probe_;
  const std::unique_ptr<enrich::ProcessTree> tree_;
  const std::vector<event::Consumer*> consumers_;
  event::Producer* const producer_;  // null: none
  uint64_t tick_ns_ = 0;  // when it is due
  std::vector<event::Event> produced_;
  PipelineCounters counters_;
  Counter seq_;
  Counter ring_turn_ns_, batch_since_ns_;  // when the ring thread began its turn; since when a batch is completed, 0: none is
  const std::shared_ptr<BatchPool> pool_;
  BoundedQueue<std::unique_ptr<event::Batch>> queue_;
  Collector collector_;  // ring thread
  GapFinder gap_finder_;  // ring thread
  std::mutex names_mutex_;
  std::shared_ptr<const event::Names> names_;
  Worker pipeline_thread_;  // the threads last: they use all of the above
  Worker ring_thread_;
};

}  // namespace

std::unique_ptr<Pipeline> Pipeline::Start(const PipelineOptions& options, probe::Probe& probe,
                                          std::shared_ptr<const event::Names> names, std::unique_ptr<enrich::ProcessTree> tree,
                                          std::vector<event::Consumer*> consumers, probe::RecordSink* recorder,
                                          event::Producer* producer) {
  return std::make_unique<PipelineImpl>(options, probe, std::move(names), std::move(tree), std::move(consumers), recorder,
                                        producer);
}

}  // namespace moat::app
