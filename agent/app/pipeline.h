// SPDX-License-Identifier: Apache-2.0
// From the rings to the consumers. Two threads: the ring thread drains, decodes, sorts and counts; the pipeline thread completes
// events from the process tree, numbers them and hands them out. Between them a bounded queue of batches: when it is full the
// ring thread drops the batch, counts it by kind and tells it as a gap.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "agent/base/status.h"
#include "agent/enrich/process_tree.h"
#include "agent/event/batch.h"
#include "agent/probe/probe.h"

namespace moat::app {

struct PipelineOptions {
  uint32_t queue_batches = 64;
  uint32_t poll_ms = 30;
  uint32_t sums_ms = 1000;
  bool scan = true;
  // How often losses are looked for. A gap must be in the stream within a second of the loss.
  uint32_t loss_check_ms = 500;
};

class Pipeline {
 public:
  // Starts both threads. probe, tree, recorder and consumers must outlive the pipeline; the tree is the pipeline thread's alone.
  // recorder: null, or takes every raw record, on the ring thread. producer: null, or makes events of those that the consumers have seen.
  static std::unique_ptr<Pipeline> Start(const PipelineOptions& options, probe::Probe& probe,
                                         std::shared_ptr<const event::Names> names, std::unique_ptr<enrich::ProcessTree> tree,
                                         std::vector<event::Consumer*> consumers, probe::RecordSink* recorder,
                                         event::Producer* producer = nullptr);
  // Reads what is in the rings (for at most a second), hands it on, and ends both threads.
  virtual ~Pipeline() = default;

  // Any thread. Batches from now on carry these names.
  virtual void SetNames(std::shared_ptr<const event::Names> names) = 0;
  // Any thread. At rest attempted = delivered + lost for every kind; while events flow attempted runs ahead.
  virtual Ledger WholeLedger() const = 0;
  virtual uint64_t last_seq() const = 0;
  // Any thread. Neither thread has been at one thing for longer than a minute.
  virtual bool Moving() const = 0;
};

}  // namespace moat::app
