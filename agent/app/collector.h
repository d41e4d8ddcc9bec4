// SPDX-License-Identifier: Apache-2.0
// Records in, batches of events in the order of time out. Ring thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "agent/app/batch_pool.h"
#include "agent/app/ledger.h"
#include "agent/probe/probe.h"

namespace moat::app {

class Collector final : public probe::RecordSink {
 public:
  using Output = std::function<void(std::unique_ptr<event::Batch>)>;

  // recorder: null, or takes every record as well.
  Collector(PipelineCounters& counters, std::shared_ptr<BatchPool> pool, probe::RecordSink* recorder, Output output);

  // Records until Flush come from the rings, at most `limit` from each, drained from now on.
  void BeginDrain(size_t limit, uint64_t now_ns);
  void OnRecord(std::span<const std::byte> record) override;
  void OnGap(const event::Gap& gap, uint64_t now_ns);

  // Sorts what came since the last Flush and hands it on, but for what may have company that is older and still in a ring: it is
  // held for the next Flush. That is what is newer than BeginDrain (the second ring is looked at later than the first: an exit
  // could overtake the process's last reads) and, where one ring had more than the limit, what is newer than all it gave.
  void Flush();
  size_t held() const { return held_; }

 private:
  struct Place {
    uint64_t time_ns;
    uint32_t index;
    auto operator<=>(const Place&) const = default;
  };
  event::Event& Next();
  uint64_t Frontier() const;
  void Emit(size_t begin, size_t end);

  PipelineCounters& counters_;
  const std::shared_ptr<BatchPool> pool_;
  probe::RecordSink* const recorder_;
  const Output output_;
  std::vector<event::Event> events_;  // decoded in place, again and again: always kRoom of them, count_ in use
  std::vector<Place> order_;
  size_t count_ = 0;
  size_t held_ = 0;  // the first so many are left from the last Flush
  bool draining_ = false;
  size_t limit_ = 0;
  uint64_t begin_ns_ = 0;
  struct {
    size_t records = 0;
    uint64_t last_ns = 0;
  } rings_[2];  // bulk, urgent, since BeginDrain
};

}  // namespace moat::app
