// SPDX-License-Identifier: Apache-2.0
// Fan-out from the pipeline to subscribers. OnBatch (pipeline thread) only hands out a reference; filtering, converting and
// writing happen on the hub's own thread and on gRPC's. Each subscriber has a bounded queue: a slow one loses only its own events
// and is told how many. Knows nothing of gRPC.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "agent/base/error.h"
#include "agent/event/batch.h"

namespace moat::api {

class Subscription;

struct HubOptions {
  uint32_t queue_events = 65536;  // per subscriber
  uint32_t resume_events = 8192;  // newest events kept for resume cursors
  uint32_t max_subscribers = 64;
  uint32_t flush_ms = 10;
};

// Where a subscription begins.
struct Start {
  std::string cursor;  // of an earlier response; empty: from now on
  bool replay = false;  // without a cursor: from the oldest event in memory
};

class Hub : public event::Consumer {
 public:
  static std::unique_ptr<Hub> Create(const HubOptions& options);
  virtual size_t subscribers() const = 0;  // any thread
  virtual uint64_t subscriber_losses() const = 0;  // events that slow subscribers lost, in all; any thread
  // Ends every stream with UNAVAILABLE, and refuses new ones. Before the server stops.
  virtual void Close() = 0;

  // Any thread. ready() is called, on the hub's thread or Close()'s, each time the subscriber gets the turn (subscription.h).
  // Fails with INVALID_ARGUMENT (cursor), RESOURCE_EXHAUSTED (too many), UNAVAILABLE (closed).
  virtual Result<std::shared_ptr<Subscription>> Subscribe(const Start& start, std::function<void()> ready) = 0;
  // After the subscription is closed. Its last reference may outlive the hub.
  virtual void Unsubscribe(const std::shared_ptr<Subscription>& subscription) = 0;
  // "RUN-SEQ": what Start::cursor takes. RUN tells this run of the agent from any other.
  virtual std::string Cursor(uint64_t seq) const = 0;
  virtual const std::string& run() const = 0;
};

}  // namespace moat::api
