// SPDX-License-Identifier: Apache-2.0
// Sinks at work. Each has two threads: one takes findings from a bounded queue, encodes them and puts them into the spool, the other sends
// what is in the spool. So a receiver that hangs keeps nothing from the disk, and no sink waits for another, nor the pipeline for any.
//
// At least once: what is spooled is delivered, refused for good (to the dead letters) or dropped because the spool is full, and each is
// counted. After a fault some may arrive twice, with the same id and revision.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/sinks.h"
#include "agent/event/finding.h"
#include "agent/sink/sink.h"
#include "agent/sink/spool.h"

namespace moat::sink {

struct SinkStats {
  std::string name, type, encoding;  // as configured
  // seen = filtered + queue_full + queued; queued = spool.spooled + unspooled + those that the intake has in hand.
  uint64_t seen = 0, filtered = 0, queue_full = 0, queued = 0;
  uint64_t unspooled = 0;  // lost: the disk did not take them until the agent ended
  uint64_t spool_errors = 0;  // attempts to write or to read that failed
  uint64_t sends = 0, delivered = 0, retried = 0, rejected = 0;  // retried: sends that the receiver could not take
  TransportStats transport;
  SpoolStats spool;
  uint64_t lag_ns = 0;  // since the oldest that is not delivered was seen; 0: none is left
  std::string last_error;  // in words; empty: none yet
  uint64_t last_error_unix_ns = 0;
  bool failing = false;  // the last attempt to send or to spool failed
};

struct SinkOptions {
  // A pause is between half of it and all of it, by chance, so that a thousand agents do not come back at once; it doubles up to the longest.
  std::chrono::milliseconds first_pause{250}, longest_pause{30'000};
  std::chrono::milliseconds longest_asked{300'000};  // of pauses that a receiver asks for
  size_t batch_messages = 256, batch_bytes = 1u << 20;
  SpoolOptions spool{};  // max_bytes is the configuration's
};

// One sink. Destroyed: as Stop(0).
class Sink : public event::FindingConsumer {
 public:
  static Result<std::unique_ptr<Sink>> Create(const config::Sink& config, std::unique_ptr<Encoding> encoding,
                                              std::unique_ptr<Transport> transport, const SinkOptions& options = {});
  // Told to sinks that take everything (no kinds named, severity from info), where the encoding has words for it. Any thread.
  virtual void OnLifecycle(Lifecycle what, std::string_view message) = 0;
  virtual SinkStats stats() const = 0;  // any thread
  // Waits until all findings that were taken so far are on disk; false: not within the time. Any thread.
  virtual bool Flush(std::chrono::milliseconds timeout) = 0;
  // Takes no more, spools what is queued, and sends for as long as `grace`; what is left then is sent by the next run. A send that is
  // under way is waited for.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
  virtual void BeginStop(std::chrono::milliseconds grace) = 0;  // the same without waiting, for several at once
};

// All sinks of the configuration.
class Sinks : public event::FindingConsumer {
 public:
  // Fails when a spool or a transport cannot be made; the message names the sink. No receiver is asked: it may come later.
  static Result<std::unique_ptr<Sinks>> Create(const std::vector<config::Sink>& config, const Origin& origin,
                                               const SinkOptions& options = {});
  void OnFinding(const event::FindingPtr& finding) override;  // the pipeline's thread
  void OnLifecycle(Lifecycle what, std::string_view message);  // any thread
  std::vector<SinkStats> stats() const;  // any thread, as all below
  bool Flush(std::chrono::milliseconds timeout);
  void Stop(std::chrono::milliseconds grace);  // all at once: takes no longer than one

 private:
  std::vector<std::unique_ptr<Sink>> sinks_;
};

}  // namespace moat::sink
