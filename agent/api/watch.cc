// SPDX-License-Identifier: Apache-2.0
// Monitor/Watch: one reactor per stream. Whoever holds the subscription's turn (subscription.h) fills a message and starts its
// write; the turn ends when nothing more is due. Finish is called once, by a holder of the turn that finds the stream closed.
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/api/encode.h"
#include "agent/api/filter.h"
#include "agent/api/services.h"
#include "agent/api/subscription.h"
#include "agent/base/clock.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::api {

namespace {

constexpr uint64_t kCursorNs = 1'000'000'000;  // how often a stream whose filter takes nothing is told how far it is

grpc::Status ToGrpc(const Error& error) { return {static_cast<grpc::StatusCode>(error.code), error.message}; }

class WatchReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  WatchReactor(Hub& hub, Filter filter) : hub_(hub), filter_(std::move(filter)) {}

  void Begin(const Start& start) {
    auto subscription = hub_.Subscribe(start, [this] { Turn(); });
    if (!subscription) {
      Finish(ToGrpc(subscription.error()));
      return;
    }
    subscription_ = std::move(*subscription);
    seq_ = subscription_->start_seq();
    lost_ = subscription_->start_lost();
    cursor_due_ = true;
    restarted_ = subscription_->agent_restarted();
    {
      std::lock_guard lock(start_mutex_);
      started_ = true;
      if (cancelled_) {
        (void)subscription_->Close();  // we hold the turn: Turn() will see it
      }
    }
    Turn();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      (void)subscription_->Close();
    }
    if (slice_left_ || subscription_->EndTurn(MonotonicNs())) {
      Turn();
    }
  }

  void OnCancel() override {
    {
      std::lock_guard lock(start_mutex_);
      cancelled_ = true;
      if (!started_) {
        return;
      }
    }
    if (subscription_->Close()) {
      Turn();
    }
  }

  void OnDone() override { delete this; }

 private:
  // Holds the turn on entry. After EndTurn() says false, and after Finish(), this object may be gone.
  void Turn() {
    do {
      if (subscription_->closed()) {
        hub_.Unsubscribe(subscription_);
        Finish({grpc::StatusCode::UNAVAILABLE, "the agent is stopping"});  // the client sees CANCELLED when it was its own wish
        return;
      }
      if (Fill()) {
        StartWrite(&message_);
        return;
      }
    } while (subscription_->EndTurn(MonotonicNs()));
  }

  // A message of what waits; false: nothing to tell.
  bool Fill() {
    encoder_.BeginMessage();
    while (encoder_.events() < Subscription::kMessageEvents) {
      if (!slice_left_) {
        if (!subscription_->Next(&slice_)) {
          break;
        }
        slice_left_ = true;
        filter_.Bind(slice_.batch->names);
      }
      if (slice_.lost_before) {
        if (encoder_.events() > 0) {
          break;  // the loss lies between what is in this message and what comes: it opens the next one
        }
        lost_ += std::exchange(slice_.lost_before, 0);
      }
      if (!TakeFrom(slice_)) {
        break;
      }
    }
    uint64_t now_ns = MonotonicNs();
    bool tell =
        encoder_.events() > 0 || lost_ || restarted_ || cursor_due_ || (seq_ != told_seq_ && now_ns - told_ns_ >= kCursorNs);
    if (!tell) {
      return false;
    }
    std::string_view bytes = encoder_.EndMessage(std::exchange(lost_, 0), hub_.Cursor(seq_), std::exchange(restarted_, false));
    grpc::Slice slice(bytes.data(), bytes.size());  // a copy: gRPC may hold on to it after OnWriteDone
    message_ = grpc::ByteBuffer(&slice, 1);
    cursor_due_ = false;
    told_seq_ = seq_;
    told_ns_ = now_ns;
    return true;
  }

  // Converts from the slice until it is used up (true) or the message is full (false).
  bool TakeFrom(Subscription::Slice& slice) {
    const auto& events = slice.batch->events;
    for (; slice.begin < events.size(); ++slice.begin) {
      const event::Event& event = events[slice.begin];
      if (filter_.Matches(event)) {
        if (encoder_.events() >= Subscription::kMessageEvents || !encoder_.Add(event, slice.batch->names.get())) {
          return false;
        }
      }
      seq_ = event.header.seq;
    }
    slice.batch.reset();
    slice_left_ = false;
    return true;
  }

  Hub& hub_;
  Filter filter_;
  std::shared_ptr<Subscription> subscription_;

  std::mutex start_mutex_;  // OnCancel may come before Begin is through
  bool started_ = false, cancelled_ = false;

  // The turn's.
  Encoder encoder_;
  grpc::ByteBuffer message_;
  Subscription::Slice slice_;
  bool slice_left_ = false;
  bool cursor_due_ = false, restarted_ = false;
  uint64_t seq_ = 0;  // all up to here was dealt with
  uint64_t lost_ = 0;  // to be told
  uint64_t told_seq_ = 0, told_ns_ = 0;
};

// Raw: requests are parsed and responses encoded here, not by gRPC's glue.
class MonitorService final : public v1::Monitor::WithRawCallbackMethod_Watch<v1::Monitor::Service> {
 public:
  MonitorService(Hub& hub, StatusSource status) : hub_(hub), status_(std::move(status)) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext*, const grpc::ByteBuffer* bytes) override {
    constexpr size_t kMaxBytes = size_t{64} * 1024;  // only policies may be longer
    if (bytes->Length() > kMaxBytes) {
      auto* reactor = new WatchReactor(hub_, {});
      reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the request is longer than 64 KiB"});
      return reactor;
    }
    grpc::Slice slice;
    v1::WatchRequest request;
    if (!bytes->DumpToSingleSlice(&slice).ok() || !request.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
      auto* reactor = new WatchReactor(hub_, {});
      reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is not a moat.v1.WatchRequest"});
      return reactor;
    }
    const v1::Filter& from = request.filter();
    FilterSpec spec{{from.kinds().begin(), from.kinds().end()},     {from.pids().begin(), from.pids().end()},
                    {from.cgroups().begin(), from.cgroups().end()}, {from.assets().begin(), from.assets().end()},
                    {from.devices().begin(), from.devices().end()}, {from.destinations().begin(), from.destinations().end()},
                    static_cast<uint32_t>(from.min_severity()),     {from.finding_kinds().begin(), from.finding_kinds().end()}};
    Known known;
    if (!spec.assets.empty() || !spec.devices.empty()) {
      StatusSnapshot status = status_();
      for (auto& asset : status.assets) {
        known.assets.push_back(std::move(asset.name));
      }
      for (auto& device : status.devices) {
        known.device_paths.push_back(std::move(device.path));
      }
    }
    auto filter = Filter::Make(spec, known);
    if (!filter) {
      auto* reactor = new WatchReactor(hub_, {});
      reactor->Finish(ToGrpc(filter.error()));
      return reactor;  // deletes itself in OnDone
    }
    auto* reactor = new WatchReactor(hub_, std::move(*filter));
    reactor->Begin({request.cursor(), request.replay()});
    return reactor;
  }

 private:
  Hub& hub_;
  StatusSource status_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeMonitorService(Hub& hub, StatusSource status) {
  return std::make_unique<MonitorService>(hub, std::move(status));
}

}  // namespace moat::api
