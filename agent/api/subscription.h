// SPDX-License-Identifier: Apache-2.0
// The queue between the pipeline and one subscriber, and the turn: who may take from it.
//
// One thread at a time holds the turn. The hub gives it with ready() when enough events wait or have waited long enough; the
// holder takes slices, writes, and gives it back with EndTurn(). So there is one write at a time, no thread per subscriber, and
// under load each message is full.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

#include "agent/event/batch.h"

namespace moat::api {

class Subscription {
 public:
  static constexpr size_t kMessageEvents = 512;  // a full message

  // A run of events of one batch, never empty.
  struct Slice {
    event::BatchPtr batch;
    size_t begin = 0;       // up to the end of the batch
    uint64_t lost_before = 0;  // events that were dropped between the slice before and this one
  };

  Subscription(size_t limit_events, uint64_t flush_ns, std::function<void()> ready)
      : limit_(limit_events), flush_ns_(flush_ns), ready_(std::move(ready)) {}

  // Hub. Returns how many events had to go, the oldest first; *full: a message's worth waits and nobody holds the turn.
  uint64_t Push(const event::BatchPtr& batch, size_t begin, uint64_t now_ns, bool* full);
  // Hub. True: at least so many events wait, nobody held the turn, and the caller now does. *busy: events wait, and somebody holds it.
  bool TryTurn(size_t at_least, bool* busy);
  void Ready() { ready_(); }
  // Hub, at Subscribe.
  void SetStart(uint64_t seq, uint64_t lost, bool agent_restarted);

  // Holder of the turn. False: nothing waits.
  bool Next(Slice* slice);
  // Holder of the turn. True: the turn goes on, because more is due or the subscription was closed. After false the caller no
  // longer holds it, and whatever owns the subscription may already be gone.
  bool EndTurn(uint64_t now_ns);

  // Any thread. True: nobody held the turn, the caller does now and must end the stream. False: who holds it will find closed().
  bool Close();
  bool closed() const;

  // Set once by Subscribe.
  uint64_t start_seq() const { return start_seq_; }  // events after this one follow
  uint64_t start_lost() const { return start_lost_; }  // missed between the cursor and start_seq
  bool agent_restarted() const { return agent_restarted_; }

 private:
  const size_t limit_;
  const uint64_t flush_ns_;
  const std::function<void()> ready_;
  uint64_t start_seq_ = 0, start_lost_ = 0;
  bool agent_restarted_ = false;

  mutable std::mutex mutex_;  // below: held for a few instructions, once per batch
  std::deque<Slice> queue_;
  size_t pending_ = 0;  // events in queue_
  uint64_t lost_ = 0;  // before the first of queue_
  uint64_t waiting_since_ns_ = 0;
  bool turn_ = false;
  bool closed_ = false;
};

}  // namespace moat::api
