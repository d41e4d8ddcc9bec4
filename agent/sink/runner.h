// SPDX-License-Identifier: Apache-2.0
// A sink at work. It has two threads: one takes findings and events from a bounded queue, encodes them and puts them into the spool, the other sends
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
#include "agent/event/batch.h"
#include "agent/event/finding.h"
#include "agent/sink/sink.h"
#include "agent/sink/spool.h"

namespace moat::sink {

struct SinkStats {
  std::string name, type, encoding;  // as configured
  // Of findings and of the agent's own life, or of events of the kinds configured. seen = filtered + queue_full + queued; queued =
  // spool.spooled + unspooled + those that the intake has in hand.
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

// Messages that will reach nobody, and that no receiver has refused.
inline uint64_t LostBy(const SinkStats& sink) {
  return sink.queue_full + sink.unspooled + sink.spool.dropped_by_cap + sink.spool.corrupt;
}

struct SinkOptions {
  // A pause is between half of it and all of it, by chance, so that a thousand agents do not come back at once; it doubles up to the longest.
  std::chrono::milliseconds first_pause{250}, longest_pause{30'000};
  std::chrono::milliseconds longest_asked{300'000};  // of pauses that a receiver asks for
  size_t batch_messages = 256, batch_bytes = 1u << 20;
  // Of events between the pipeline and the spool: some ten MiB at most, half a second of a flood.
  size_t queue_batches = 64;
  // Events wait so long for others, so that a quiet stream does not flush the disk each time that the pipeline turns; findings do not wait.
  std::chrono::milliseconds gather{500};
  SpoolOptions spool{};  // max_bytes is the configuration's
};

// One sink. Destroyed: as Stop(0). It has either events of some kinds (OnBatch) or findings and the agent's own life; what is not its business
// is not seen.
class Sink : public event::FindingConsumer, public event::Consumer {
 public:
  static Result<std::unique_ptr<Sink>> Create(const config::Sink& config, const Origin& origin,
                                              std::unique_ptr<Encoding> encoding, std::unique_ptr<Transport> transport,
                                              const SinkOptions& options = {});
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

}  // namespace moat::sink
