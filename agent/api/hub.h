// SPDX-License-Identifier: Apache-2.0
// Fan-out from the pipeline to subscribers. OnBatch (pipeline thread) only hands out a reference; filtering, converting and
// writing happen on gRPC's threads. Each subscriber has a bounded queue: a slow one loses only its own events and is told how many.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/event/batch.h"

namespace moat::api {

struct HubOptions {
  uint32_t queue_events = 65536;  // per subscriber
  uint32_t resume_events = 8192;  // newest events kept for resume cursors
  uint32_t max_subscribers = 64;
  uint32_t flush_ms = 10;
};

class Hub : public event::Consumer {
 public:
  static std::unique_ptr<Hub> Create(const HubOptions& options);
  virtual size_t subscribers() const = 0;       // any thread
  virtual uint64_t subscriber_losses() const = 0;  // events that slow subscribers lost, in all; any thread
  // Ends every stream with UNAVAILABLE. Before the server stops.
  virtual void Close() = 0;
};

}  // namespace moat::api
