// SPDX-License-Identifier: Apache-2.0
#include "agent/app/collector.h"

#include <algorithm>
#include <utility>

#include "agent/decode/decode.h"

namespace moat::app {
namespace {

constexpr size_t kRoom = 4 * kBatchEvents;
constexpr size_t kMaxHeld = kRoom / 2;  // beyond this order gives way
constexpr uint64_t kMaxAheadNs = 1'000'000'000;

// What bpf/ puts on the urgent ring.
bool OnUrgentRing(event::Kind kind) {
  return kind <= event::Kind::kExit || kind == event::Kind::kFileTamper || kind == event::Kind::kVerdict;
}

}  // namespace

Collector::Collector(PipelineCounters& counters, std::shared_ptr<BatchPool> pool, probe::RecordSink* recorder, Output output)
    : counters_(counters), pool_(std::move(pool)), recorder_(recorder), output_(std::move(output)), events_(kRoom) {
  order_.reserve(kRoom);
}

void Collector::BeginDrain(size_t limit, uint64_t now_ns) {
  draining_ = true;
  limit_ = limit;
  begin_ns_ = now_ns;
  rings_[0] = rings_[1] = {};
}

event::Event& Collector::Next() {
  if (count_ == kRoom) {
    draining_ = false;  // more than anyone said would come: hold nothing
    Flush();
  }
  return events_[count_];
}

void Collector::OnRecord(std::span<const std::byte> record) {
  if (recorder_) {
    recorder_->OnRecord(record);
  }
  event::Event& event = Next();
  if (decode::Decode(record, event) != decode::Outcome::kOk) {
    counters_.malformed[static_cast<size_t>(decode::ClaimedKind(record))].AddOwned();
    return;
  }
  ++count_;
  auto& ring = rings_[OnUrgentRing(event.header.kind)];
  ++ring.records;
  ring.last_ns = std::max(ring.last_ns, event.header.time_ns);
}

void Collector::OnGap(const event::Gap& gap, uint64_t now_ns) {
  event::Event& event = Next();
  event.header = {};
  event.header.kind = event::Kind::kGap;
  event.header.time_ns = now_ns;
  event.body = gap;
  ++count_;
  counters_.made[static_cast<size_t>(event::Kind::kGap)].AddOwned();
}

uint64_t Collector::Frontier() const {
  if (!draining_) {
    return UINT64_MAX;
  }
  uint64_t frontier_ns = begin_ns_;
  for (const auto& ring : rings_) {
    if (ring.records >= limit_) {
      frontier_ns = std::min(frontier_ns, ring.last_ns);
    }
  }
  return frontier_ns;
}

void Collector::Flush() {
  const uint64_t frontier_ns = Frontier();
  order_.clear();
  for (uint32_t i = 0; i < count_; ++i) {
    const event::Header& header = events_[i].header;
    // Not held: a gap, which must be told within a second, and a time that no clock of ours says (a recording of another host).
    const bool at_once = header.kind == event::Kind::kGap || header.time_ns > begin_ns_ + kMaxAheadNs;
    order_.push_back({at_once ? std::min(begin_ns_, frontier_ns) : header.time_ns, i});
  }
  if (!std::is_sorted(order_.begin(), order_.end())) {
    std::sort(order_.begin(), order_.end());
  }
  auto ready = std::upper_bound(order_.begin(), order_.end(), Place{frontier_ns, UINT32_MAX});
  if (static_cast<size_t>(order_.end() - ready) > kMaxHeld) {
    ready = order_.end();
  }
  const auto ready_count = static_cast<size_t>(ready - order_.begin());
  for (size_t begin = 0; begin < ready_count; begin += kBatchEvents) {
    Emit(begin, std::min(ready_count, begin + kBatchEvents));
  }
  // What is held moves to the front, in the order of its places there: a slot is only ever filled from a later one.
  std::sort(ready, order_.end(), [](const Place& a, const Place& b) { return a.index < b.index; });
  held_ = 0;
  for (; ready != order_.end(); ++ready, ++held_) {
    if (ready->index != held_) {
      std::swap(events_[held_], events_[ready->index]);
    }
  }
  count_ = held_;
  draining_ = false;
}

void Collector::Emit(size_t begin, size_t end) {
  std::unique_ptr<event::Batch> batch = pool_->Take(end - begin);
  for (size_t i = begin; i < end; ++i) {
    batch->events.push_back(std::move(events_[order_[i].index]));
  }
  output_(std::move(batch));
}

}  // namespace moat::app
