// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/runner.h"

#include <algorithm>
#include <atomic>
#include <bitset>
#include <condition_variable>
#include <mutex>
#include <random>
#include <span>
#include <stop_token>
#include <utility>
#include <variant>

#include "agent/base/clock.h"
#include "agent/base/counters.h"
#include "agent/base/queue.h"
#include "agent/base/worker.h"
#include "agent/sink/message.h"

namespace moat::sink {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kTypes = 3;
constexpr const char* kTypeNames[kTypes] = {"file", "syslog", "otlp"};
static_assert(std::variant_size_v<decltype(config::Sink::transport)> == kTypes);

class SinkImpl final : public Sink {
 public:
  SinkImpl(const config::Sink& config, Origin origin, const SinkOptions& options, std::unique_ptr<Encoding> encoding,
           std::unique_ptr<Transport> transport, std::unique_ptr<Spool> spool)
      : config_(config),
        origin_(std::move(origin)),
        options_(options),
        least_(event::SeverityFromName(config.min_severity)),
        encoding_(std::move(encoding)),
        transport_(std::move(transport)),
        spool_(std::move(spool)),
        queue_(config.queue),
        pause_(options.first_pause) {
    for (const std::string& kind : config.kinds) {
      kinds_.set(static_cast<size_t>(event::FindingKindFromName(kind)));
    }
    if (config.kinds.empty()) {
      kinds_.set();
    }
    for (const std::string& name : config.events) {
      events_ |= event::KindsFromName(name);
      gather_ = options.gather;
    }
    intake_ = Worker("sink-" + config.name, [this](const std::stop_token&) { Intake(); });
    sender_ = Worker("send-" + config.name, [this](const std::stop_token&) { Sender(); });
  }
  ~SinkImpl() override { SinkImpl::Stop(milliseconds(0)); }

  void OnFinding(const event::FindingPtr& finding) override;
  void OnBatch(const event::BatchPtr& batch) override;
  void OnLifecycle(Lifecycle what, std::string_view message) override;
  SinkStats stats() const override;
  bool Flush(milliseconds timeout) override;
  void BeginStop(milliseconds grace) override;
  void Stop(milliseconds grace) override {
    BeginStop(grace);
    intake_.Stop();
    sender_.Stop();
  }

 private:
  void Intake();
  void Put(std::span<const Message> messages);
  void Sender();
  bool SendSome();  // false: there is nothing
  void Pause(uint64_t asked_ms);
  void Failed(std::string why);
  bool Ending() const { return stopping_ && Clock::now() >= deadline_; }

  bool Wants(const event::Event& event) const {
    return (events_ & event::KindBit(event.header.kind)) != 0 && event.body.index() != 0;  // 0: a record that nothing is known of
  }

  const config::Sink config_;
  const Origin origin_;
  const SinkOptions options_;
  const event::Severity least_;
  std::bitset<static_cast<size_t>(event::FindingKind::kCount)> kinds_;
  uint32_t events_ = 0;  // bit n: Kind n; 0: findings
  milliseconds gather_{0};
  const std::unique_ptr<Encoding> encoding_;
  const std::unique_ptr<Transport> transport_;
  const std::unique_ptr<Spool> spool_;
  // On its way to the spool: a finding, what is encoded already, or a batch that has events to tell.
  using Item = std::variant<std::monostate, event::FindingPtr, Message, event::BatchPtr>;
  void Enqueue(Item item, size_t messages);
  class Outgoing;
  void Encode(const Item& item, Outgoing& to);
  BoundedQueue<Item> queue_;
  std::atomic<size_t> batches_ = 0;  // in the queue or in the intake's hand
  WallClock clock_;  // the intake's

  Counter seen_, filtered_, queue_full_, queued_, unspooled_, spool_errors_, sends_, delivered_, retried_, rejected_;

  // Of the sender.
  milliseconds pause_;
  std::minstd_rand random_{std::random_device{}()};

  mutable std::mutex mutex_;  // of what is below
  std::condition_variable changed_;
  uint64_t settled_ = 0;  // of queued_, those that are on disk or lost
  uint64_t wakes_ = 0;  // each time that there is more to send
  bool intake_done_ = false, stopping_ = false, failing_ = false;
  Clock::time_point deadline_{};
  std::string last_error_;
  uint64_t last_error_unix_ns_ = 0;
  TransportStats transport_stats_;

  Worker intake_, sender_;  // last: they use all of the above
};

void SinkImpl::OnFinding(const event::FindingPtr& finding) {
  if (events_ != 0) {
    return;
  }
  seen_.Add();
  const auto kind = static_cast<size_t>(finding->kind);
  if (finding->severity < least_ || kind >= kinds_.size() || !kinds_.test(kind)) {
    filtered_.Add();
  } else {
    Enqueue(finding, 1);
  }
}

// On the pipeline's thread, for each batch: a bit each event, and nothing at all where no events are wanted.
void SinkImpl::OnBatch(const event::BatchPtr& batch) {
  if (events_ == 0) {
    return;
  }
  const auto wanted =
      static_cast<size_t>(std::ranges::count_if(batch->events, [this](const auto& event) { return Wants(event); }));
  if (wanted == 0) {
    return;
  }
  seen_.Add(wanted);
  if (batches_.load() >= options_.queue_batches) {  // the only thread that adds some
    queue_full_.Add(wanted);
    return;
  }
  ++batches_;
  Enqueue(batch, wanted);
}

void SinkImpl::OnLifecycle(Lifecycle what, std::string_view message) {
  if (events_ != 0) {
    return;
  }
  Message told = LifecycleMessage(*encoding_, what, message, WallNs());
  if (told.text.empty()) {
    return;
  }
  seen_.Add();
  if (least_ > event::Severity::kInfo || !kinds_.all()) {
    filtered_.Add();
    return;
  }
  Enqueue(std::move(told), 1);
}

void SinkImpl::Enqueue(Item item, size_t messages) {
  const auto refused = queue_.Push(std::move(item));
  (refused ? queue_full_ : queued_).Add(messages);
  if (refused && std::holds_alternative<event::BatchPtr>(*refused)) {
    --batches_;
  }
}

void SinkImpl::Failed(std::string why) {
  std::lock_guard lock(mutex_);
  last_error_ = std::move(why);
  last_error_unix_ns_ = WallNs();
  failing_ = true;
}

// Messages for one write to the spool.
class SinkImpl::Outgoing {
 public:
  explicit Outgoing(SinkImpl& sink) : sink_(sink) {}
  bool empty() const { return messages_.empty(); }
  Clock::time_point since() const { return since_; }  // the first of them came
  void Add(Message message) {
    since_ = messages_.empty() ? Clock::now() : since_;
    bytes_ += message.text.size();
    messages_.push_back(std::move(message));
    if (messages_.size() >= sink_.options_.batch_messages || bytes_ >= sink_.options_.batch_bytes) {
      Put();
    }
  }
  void Put() {
    sink_.Put(messages_);
    messages_.clear();
    bytes_ = 0;
  }

 private:
  SinkImpl& sink_;
  std::vector<Message> messages_;
  size_t bytes_ = 0;
  Clock::time_point since_;
};

void SinkImpl::Intake() {
  Outgoing to(*this);
  for (;;) {
    // At its end the queue is closed, and nobody waits.
    const auto wait =
        to.empty() ? Clock::duration(std::chrono::seconds(1)) : std::max(Clock::duration(0), to.since() + gather_ - Clock::now());
    if (const auto item = queue_.Pop(wait)) {
      Encode(*item, to);
    } else if (!to.empty()) {
      to.Put();
    } else if (queue_.closed()) {
      break;
    }
  }
  std::lock_guard lock(mutex_);
  intake_done_ = true;
  changed_.notify_all();
}

void SinkImpl::Encode(const Item& item, Outgoing& to) {
  if (const auto* finding = std::get_if<event::FindingPtr>(&item)) {
    to.Add(FindingMessage(*encoding_, **finding));
  } else if (const auto* message = std::get_if<Message>(&item)) {
    to.Add(*message);
  } else if (const auto* batch = std::get_if<event::BatchPtr>(&item)) {
    clock_.Refresh();
    for (const event::Event& event : (*batch)->events) {
      if (Wants(event)) {
        to.Add(EventMessage(*encoding_, event, *(*batch)->names, origin_, clock_.ToUnixNs(event.header.time_ns)));
      }
    }
    --batches_;
  }
}

// Until the disk has all, or the agent ends.
void SinkImpl::Put(std::span<const Message> messages) {
  milliseconds pause = options_.first_pause;
  while (!messages.empty()) {
    const Result<size_t> kept = spool_->Append(messages);
    std::unique_lock lock(mutex_);
    if (kept) {
      messages = messages.subspan(*kept);
      settled_ += *kept;
      ++wakes_;
      pause = options_.first_pause;
      changed_.notify_all();
      continue;
    }
    lock.unlock();
    spool_errors_.Add();
    Failed(kept.error().message);
    lock.lock();
    if (stopping_) {
      unspooled_.Add(messages.size());
      settled_ += messages.size();
      changed_.notify_all();
      return;
    }
    changed_.wait_for(lock, pause, [this] { return stopping_; });
    pause = std::min(pause * 2, options_.longest_pause);
  }
}

void SinkImpl::Sender() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const uint64_t wakes = wakes_;
    const bool last = intake_done_;
    if (Ending()) {
      return;
    }
    lock.unlock();
    const bool sent = SendSome();
    lock.lock();
    if (!sent && last) {
      return;
    }
    if (!sent) {
      changed_.wait(lock, [&] { return wakes_ != wakes || intake_done_ != last; });
    }
  }
}

bool SinkImpl::SendSome() {
  const Result<std::vector<Message>> taken = spool_->Take(options_.batch_messages, options_.batch_bytes);
  if (!taken) {  // too many files, or a disk that fails: it may be readable again
    spool_errors_.Add();
    Failed(taken.error().message);
    Pause(0);
    return true;
  }
  const std::vector<Message>& messages = *taken;
  if (messages.empty()) {
    return false;
  }
  Delivery delivery = transport_->Send(messages);
  sends_.Add();
  {
    const TransportStats stats = transport_->stats();
    std::lock_guard lock(mutex_);
    transport_stats_ = stats;
  }
  const size_t arrived = std::min(delivery.delivered, messages.size());
  const bool all = arrived == messages.size();
  // A transport that says delivered and delivers less has a fault: nothing is lost by sending again.
  const Outcome outcome = all                                       ? Outcome::kDelivered
                          : delivery.outcome == Outcome::kDelivered ? Outcome::kRetry
                                                                    : delivery.outcome;
  delivered_.Add(arrived);
  size_t done = arrived;
  if (outcome == Outcome::kRejected) {
    spool_->Bury(messages[done], delivery.why);
    rejected_.Add();
    ++done;
  }
  spool_->Settle(done);
  if (done > 0) {
    pause_ = options_.first_pause;
  }
  if (outcome == Outcome::kDelivered) {
    std::lock_guard lock(mutex_);
    failing_ = false;
    return true;
  }
  Failed(std::move(delivery.why));
  if (outcome == Outcome::kRetry) {
    retried_.Add();
    Pause(delivery.retry_after_ms);
  }
  return true;
}

void SinkImpl::Pause(uint64_t asked_ms) {
  const auto whole = pause_.count();
  milliseconds pause(std::uniform_int_distribution<milliseconds::rep>(whole - whole / 2, whole)(random_));
  pause_ = std::min(pause_ * 2, options_.longest_pause);
  const auto longest = static_cast<uint64_t>(options_.longest_asked.count());
  pause = std::max(pause, milliseconds(std::min(asked_ms, longest)));
  const auto until = Clock::now() + pause;
  std::unique_lock lock(mutex_);
  while (Clock::now() < until && !Ending()) {
    changed_.wait_until(lock, stopping_ ? std::min(until, deadline_) : until);
  }
}

bool SinkImpl::Flush(milliseconds timeout) {
  const uint64_t upto = queued_.Get();
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return settled_ >= upto; });
}

void SinkImpl::BeginStop(milliseconds grace) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      stopping_ = true;
      deadline_ = Clock::now() + grace;
    }
  }
  queue_.Close();
  changed_.notify_all();
}

SinkStats SinkImpl::stats() const {
  SinkStats stats{.name = config_.name,
                  .type = kTypeNames[config_.transport.index()],
                  .encoding = encoding_->name(),
                  .seen = seen_.Get(),
                  .filtered = filtered_.Get(),
                  .queue_full = queue_full_.Get(),
                  .queued = queued_.Get(),
                  .unspooled = unspooled_.Get(),
                  .spool_errors = spool_errors_.Get(),
                  .sends = sends_.Get(),
                  .delivered = delivered_.Get(),
                  .retried = retried_.Get(),
                  .rejected = rejected_.Get(),
                  .transport = {},
                  .spool = spool_->stats(),
                  .lag_ns = 0,
                  .last_error = {},
                  .last_error_unix_ns = 0,
                  .failing = false};
  const uint64_t now = WallNs();
  stats.lag_ns = stats.spool.oldest_unix_ns == 0 || now < stats.spool.oldest_unix_ns ? 0 : now - stats.spool.oldest_unix_ns;
  std::lock_guard lock(mutex_);
  stats.transport = transport_stats_;
  stats.last_error = last_error_;
  stats.last_error_unix_ns = last_error_unix_ns_;
  stats.failing = failing_;
  return stats;
}

}  // namespace

Result<std::unique_ptr<Sink>> Sink::Create(const config::Sink& config, const Origin& origin, std::unique_ptr<Encoding> encoding,
                                           std::unique_ptr<Transport> transport, const SinkOptions& options) {
  SpoolOptions spool_options = options.spool;
  spool_options.max_bytes = config.spool.max_bytes;
  MOAT_ASSIGN(auto spool, Spool::Open(config.spool.path, spool_options));
  return std::make_unique<SinkImpl>(config, origin, options, std::move(encoding), std::move(transport), std::move(spool));
}

}  // namespace moat::sink
