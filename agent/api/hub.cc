// SPDX-License-Identifier: Apache-2.0
#include "agent/api/hub.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "agent/api/subscription.h"
#include "agent/base/clock.h"

namespace moat::api {

namespace {

using SteadyClock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

std::string RandomRun() {
  std::random_device random;
  char text[17];
  std::snprintf(text, sizeof(text), "%08x%08x", random(), random());
  return text;
}

// Batches come from a pool, each with room for hundreds of events. One that holds few would keep all that room for as long as a
// subscriber or the memory for cursors keeps it: at a trickle, 8192 events would hold a gigabyte. Those are copied to size.
event::BatchPtr Fitting(const event::BatchPtr& batch) {
  if (batch->events.capacity() <= batch->events.size() * 4) {
    return batch;
  }
  auto copy = std::make_shared<event::Batch>();
  copy->events.reserve(batch->events.size());
  copy->events.assign(batch->events.begin(), batch->events.end());
  copy->names = batch->names;
  return copy;
}

class HubImpl final : public Hub {
 public:
  explicit HubImpl(const HubOptions& options)
      : options_(options),
        flush_(std::chrono::milliseconds(std::max(options.flush_ms, 1u))),
        run_(RandomRun()),
        flusher_([this] { Flush(); }) {}

  ~HubImpl() override {
    Close();
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    flusher_.join();
  }

  void OnBatch(const event::BatchPtr& pooled) override {
    if (!pooled || pooled->events.empty()) {
      return;
    }
    const event::BatchPtr batch = Fitting(pooled);
    uint64_t now_ns = MonotonicNs();
    uint64_t dropped = 0;
    bool kick = false;
    {
      std::lock_guard lock(mutex_);
      Remember(batch);
      for (auto& subscription : subscriptions_) {
        bool full = false;
        dropped += subscription->Push(batch, 0, now_ns, &full);
        kick_ |= full;
      }
      if (subscriptions_.empty()) {
        return;
      }
      kick = kick_;
      if (!ticking_) {  // at once when the last tick is long ago: the batch has waited for company already, in the ring
        ticking_ = true;
        next_tick_ = std::max(SteadyClock::now(), last_tick_ + flush_);
        kick = true;
      }
    }
    losses_.fetch_add(dropped, std::memory_order_relaxed);
    if (kick) {
      wake_.notify_one();
    }
  }

  size_t subscribers() const override {
    std::lock_guard lock(mutex_);
    return subscriptions_.size();
  }

  uint64_t subscriber_losses() const override { return losses_.load(std::memory_order_relaxed); }

  void Close() override {
    std::vector<std::shared_ptr<Subscription>> all;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      all = subscriptions_;
    }
    for (auto& subscription : all) {
      if (subscription->Close()) {
        subscription->Ready();
      }
    }
  }

  Result<std::shared_ptr<Subscription>> Subscribe(const Start& start, std::function<void()> ready) override {
    std::string run;
    uint64_t seq = 0;
    if (!start.cursor.empty()) {
      MOAT_TRY(ParseCursor(start.cursor, &run, &seq));
    }
    auto flush_ns = static_cast<uint64_t>(std::chrono::nanoseconds(flush_).count());
    auto subscription = std::make_shared<Subscription>(std::max(options_.queue_events, 1u), flush_ns, std::move(ready));
    std::lock_guard lock(mutex_);
    if (closed_) {
      return Fail(Code::kUnavailable, "the agent is stopping");
    }
    if (subscriptions_.size() >= options_.max_subscribers) {
      return Fail(Code::kResourceExhausted,
                  std::to_string(subscriptions_.size()) +
                      " subscribers are connected and that is the limit (max_subscribers in moatd.yaml)");
    }
    bool restarted = !run.empty() && run != run_;
    if (run == run_ && seq > last_seq_) {
      return Fail(Code::kInvalidArgument,
                  "cursor \"" + start.cursor + "\" is ahead of this agent, which is at " + std::to_string(last_seq_));
    }
    if (start.cursor.empty() && !start.replay) {
      subscription->SetStart(last_seq_, 0, false);
    } else {
      // seq is what the subscriber has; forgotten_ is the newest that is no longer in memory.
      uint64_t have = restarted || run.empty() ? 0 : seq;
      uint64_t from = std::max(have, forgotten_);
      subscription->SetStart(from, start.cursor.empty() ? 0 : from - have, restarted);
      uint64_t now_ns = MonotonicNs(), dropped = 0;
      for (auto& batch : memory_) {
        const auto& events = batch->events;
        auto first = std::find_if(events.begin(), events.end(), [&](const event::Event& e) { return e.header.seq > from; });
        bool full = false;
        dropped += subscription->Push(batch, static_cast<size_t>(first - events.begin()), now_ns, &full);
      }
      losses_.fetch_add(dropped, std::memory_order_relaxed);
    }
    subscriptions_.push_back(subscription);
    return subscription;
  }

  void Unsubscribe(const std::shared_ptr<Subscription>& subscription) override {
    std::lock_guard lock(mutex_);
    std::erase(subscriptions_, subscription);
  }

  std::string Cursor(uint64_t seq) const override { return run_ + "-" + std::to_string(seq); }
  const std::string& run() const override { return run_; }

 private:
  static Status ParseCursor(const std::string& text, std::string* run, uint64_t* seq) {
    size_t dash = text.find('-');
    const char* end = text.data() + text.size();
    if (dash != 16 || text.find_first_not_of("0123456789abcdef") != dash) {
      return Fail(Code::kInvalidArgument, "cursor \"" + text.substr(0, 64) + "\" is not one that this service gave out");
    }
    auto parsed = std::from_chars(text.data() + dash + 1, end, *seq);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
      return Fail(Code::kInvalidArgument, "cursor \"" + text.substr(0, 64) + "\" has no sequence number after the dash");
    }
    *run = text.substr(0, dash);
    return {};
  }

  // mutex_ held. Whole batches are kept: at least resume_events when so many came.
  void Remember(const event::BatchPtr& batch) {
    memory_.push_back(batch);
    memory_events_ += batch->events.size();
    while (memory_events_ - memory_.front()->events.size() >= options_.resume_events) {
      forgotten_ = memory_.front()->events.back().header.seq;
      memory_events_ -= memory_.front()->events.size();
      memory_.pop_front();
      if (memory_.empty()) {
        break;
      }
    }
    last_seq_ = batch->events.back().header.seq;
  }

  // The hub's thread. It ticks when events wait, at most every flush_ms; with nothing waiting it sleeps, so an idle agent does not
  // wake. A full message does not wait for the tick.
  void Flush() {
    pthread_setname_np(pthread_self(), "api-flush");
    std::vector<std::shared_ptr<Subscription>> due;
    std::unique_lock lock(mutex_);
    while (!stop_) {
      if (!ticking_) {
        wake_.wait(lock, [this] { return stop_ || ticking_; });
        continue;
      }
      wake_.wait_until(lock, next_tick_, [this] { return stop_ || kick_; });
      bool tick = SteadyClock::now() >= next_tick_;
      if (tick) {
        ticking_ = false;
        last_tick_ = SteadyClock::now();
        next_tick_ = last_tick_ + flush_;
      }
      kick_ = false;
      for (auto& subscription : subscriptions_) {
        bool busy = false;
        if (subscription->TryTurn(tick ? 1 : Subscription::kMessageEvents, &busy)) {
          due.push_back(subscription);
        }
        ticking_ |= busy;  // its holder may give the turn back before what came meanwhile is due
      }
      lock.unlock();
      for (auto& subscription : due) {
        subscription->Ready();
      }
      due.clear();
      lock.lock();
    }
  }

  const HubOptions options_;
  const SteadyClock::duration flush_;
  const std::string run_;
  std::atomic<uint64_t> losses_{0};

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Subscription>> subscriptions_;
  std::deque<event::BatchPtr> memory_;
  size_t memory_events_ = 0;
  uint64_t forgotten_ = 0;  // newest seq that left memory_
  uint64_t last_seq_ = 0;
  SteadyClock::time_point last_tick_, next_tick_;
  bool ticking_ = false, kick_ = false;
  bool closed_ = false, stop_ = false;
  std::thread flusher_;  // last: starts when all above stands
};

}  // namespace

std::unique_ptr<Hub> Hub::Create(const HubOptions& options) { return std::make_unique<HubImpl>(options); }

}  // namespace moat::api
