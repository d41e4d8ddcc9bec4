// SPDX-License-Identifier: Apache-2.0
#include "agent/api/subscription.h"

#include <algorithm>
#include <utility>

namespace moat::api {

uint64_t Subscription::Push(const event::BatchPtr& batch, size_t begin, uint64_t now_ns, bool* full) {
  size_t count = batch->events.size() - begin;
  std::lock_guard lock(mutex_);
  *full = false;
  if (closed_ || count == 0) {
    return 0;
  }
  if (queue_.empty()) {
    waiting_since_ns_ = now_ns;
  }
  queue_.push_back({batch, begin, 0});
  pending_ += count;
  uint64_t dropped = 0;
  while (pending_ > limit_) {
    Slice& head = queue_.front();
    size_t held = head.batch->events.size() - head.begin;
    size_t drop = std::min(pending_ - limit_, held);
    head.begin += drop;
    pending_ -= drop;
    dropped += drop;
    if (drop == held) {
      queue_.pop_front();
    }
  }
  lost_ += dropped;
  *full = !turn_ && pending_ >= std::min(kMessageEvents, limit_);
  return dropped;
}

bool Subscription::TryTurn(size_t at_least, bool* busy) {
  std::lock_guard lock(mutex_);
  *busy = turn_ && !closed_ && pending_ > 0;
  if (turn_ || closed_ || pending_ < std::min(at_least, limit_)) {
    return false;
  }
  turn_ = true;
  return true;
}

void Subscription::SetStart(uint64_t seq, uint64_t lost, bool agent_restarted) {
  start_seq_ = seq;
  start_lost_ = lost;
  agent_restarted_ = agent_restarted;
  turn_ = true;  // the first message is the owner's to write
}

bool Subscription::Next(Slice* slice) {
  std::lock_guard lock(mutex_);
  if (queue_.empty()) {
    return false;
  }
  *slice = std::move(queue_.front());
  queue_.pop_front();
  slice->lost_before = std::exchange(lost_, 0);
  pending_ -= slice->batch->events.size() - slice->begin;
  return true;
}

bool Subscription::EndTurn(uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  if (closed_ || pending_ >= std::min(kMessageEvents, limit_) || (pending_ > 0 && now_ns >= waiting_since_ns_ + flush_ns_)) {
    return true;
  }
  turn_ = false;
  return false;
}

bool Subscription::Close() {
  std::lock_guard lock(mutex_);
  if (closed_) {
    return false;
  }
  closed_ = true;
  queue_.clear();
  pending_ = 0;
  return !std::exchange(turn_, true);
}

bool Subscription::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace moat::api
