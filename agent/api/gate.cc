// SPDX-License-Identifier: Apache-2.0
#include "agent/api/gate.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <mutex>
#include <string>
#include <utility>

#include "agent/base/clock.h"

namespace moat::api {
namespace {

using grpc::ByteBuffer;
using grpc::StatusCode;

// What is logged of a call, from its begin to its end.
class Record {
 public:
  Record(const GateNeeds& needs, const grpc::GenericCallbackServerContext& context, const Caller* caller)
      : log_(needs.log), begin_ns_(MonotonicNs()) {
    line_.peer = caller != nullptr ? caller->address : "";
    line_.identity = caller != nullptr ? caller->identity.name : "";
    line_.role = caller != nullptr ? RoleName(caller->identity.role) : "";
    line_.method = context.method();
  }

  void Deny(const char* reason, const grpc::Status& status) {
    line_.decision = AuditLine::Decision::kDenied;
    line_.reason = reason;
    Ends(status);
  }
  void Ends(const grpc::Status& status) { line_.code = status.error_code(); }
  void Write() {
    line_.duration_ns = MonotonicNs() - begin_ns_;
    log_.Write(std::move(line_));
  }

 private:
  CallLog& log_;
  const uint64_t begin_ns_;
  AuditLine line_;
};

class Refused final : public grpc::ServerGenericBidiReactor {
 public:
  Refused(Record record, const char* reason, const grpc::Status& status) : record_(std::move(record)) {
    record_.Deny(reason, status);
    Finish(status);
  }
  void OnDone() override {
    record_.Write();
    delete this;
  }

 private:
  Record record_;
};

// One call that is let through. Requests and answers go their ways independently of each other, one message at a time on each: who reads
// slowly is written to slowly. The upstream side is held (AddHold) by each way as long as it may start something there. The caller's side
// is finished when upstream is done, and this goes with it.
class Relay final : public grpc::ServerGenericBidiReactor {
 public:
  Relay(const GateNeeds& needs, const grpc::GenericCallbackServerContext& context, Record record)
      : max_bytes_(needs.max_message_bytes), record_(std::move(record)), upstream_(*this), stub_(needs.services) {
    upstream_context_.set_deadline(context.deadline());
    stub_.PrepareBidiStreamingCall(&upstream_context_, context.method(), {}, &upstream_);
    upstream_.AddMultipleHolds(2);
    upstream_.StartCall();
    upstream_.StartRead(&answer_);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (requests_ended_) {
      return;  // upstream has ended before
    }
    if (ok && request_.Length() <= max_bytes_) {
      requests_upstream_ = true;
      upstream_.StartWrite(&request_);
      return;
    }
    if (ok) {
      too_long_ = true;
      upstream_context_.TryCancel();
    } else {
      upstream_.StartWritesDone();
    }
    EndRequests();
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      upstream_.StartRead(&answer_);
      return;
    }
    upstream_context_.TryCancel();  // the caller has gone
    EndAnswers();
  }

  void OnCancel() override { upstream_context_.TryCancel(); }

  void OnDone() override {
    record_.Write();
    delete this;
  }

 private:
  class Upstream final : public grpc::ClientBidiReactor<ByteBuffer, ByteBuffer> {
   public:
    explicit Upstream(Relay& relay) : relay_(relay) {}
    void OnReadDone(bool ok) override { relay_.OnAnswer(ok); }
    void OnWriteDone(bool ok) override { relay_.OnRequestSent(ok); }
    void OnDone(const grpc::Status& status) override { relay_.OnUpstreamDone(status); }

   private:
    Relay& relay_;
  };

  void OnAnswer(bool ok) {
    if (ok) {
      StartWrite(&answer_);
      return;
    }
    EndAnswers();
  }

  // No more answers: the status comes. A caller that still could send requests, and does not, holds nothing up.
  void EndAnswers() {
    {
      const std::lock_guard lock(mutex_);
      answers_ended_ = true;
      if (!requests_upstream_) {
        EndRequests();
      }
    }
    upstream_.RemoveHold();
  }

  void OnRequestSent(bool ok) {
    const std::lock_guard lock(mutex_);
    requests_upstream_ = false;
    if (ok && !answers_ended_) {
      StartRead(&request_);
      return;
    }
    EndRequests();
  }

  void EndRequests() {  // under the lock
    if (!std::exchange(requests_ended_, true)) {
      upstream_.RemoveHold();
    }
  }

  void OnUpstreamDone(const grpc::Status& status) {
    bool too_long = false;
    {
      const std::lock_guard lock(mutex_);
      too_long = too_long_;
    }
    if (too_long) {
      const grpc::Status refused(StatusCode::RESOURCE_EXHAUSTED,
                                 "the request is longer than " + std::to_string(max_bytes_) + " bytes, the most that is read");
      record_.Deny("too_long", refused);
      Finish(refused);
      return;
    }
    record_.Ends(status);
    Finish(status);
  }

  const size_t max_bytes_;
  Record record_;
  grpc::ClientContext upstream_context_;
  Upstream upstream_;
  grpc::GenericStub stub_;
  ByteBuffer request_, answer_;
  std::mutex mutex_;
  bool requests_upstream_ = false;  // a request is on its way upstream; else it is waited for, or they have ended
  bool requests_ended_ = false, answers_ended_ = false, too_long_ = false;
};

class Gate final : public grpc::CallbackGenericService {
 public:
  explicit Gate(GateNeeds needs) : needs_(std::move(needs)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const std::shared_ptr<const Caller> caller = needs_.callers.Find(context->peer());
    Record record(needs_, *context, caller.get());
    if (!caller) {  // its connection has just been closed
      return new Refused(std::move(record), "unknown",
                         {StatusCode::UNAUTHENTICATED, "the connection is not, or no longer, one of a known identity"});
    }
    const Identity& who = caller->identity;
    if (!needs_.limiter.Take(who.name, MonotonicNs())) {
      needs_.counters.rate_limited.Add();
      return new Refused(
          std::move(record), "rate",
          {StatusCode::RESOURCE_EXHAUSTED, "more calls of " + who.name + " than api.tcp.rate allows: try again later"});
    }
    const MethodRole* const method = FindMethod(context->method());
    if (method == nullptr) {
      needs_.counters.denied.Add();
      return new Refused(std::move(record), "unknown_method", {StatusCode::UNIMPLEMENTED, "the agent has no such method"});
    }
    if (method->role > who.role) {
      needs_.counters.denied.Add();
      return new Refused(
          std::move(record), "role",
          {StatusCode::PERMISSION_DENIED, std::string(method->path.substr(1)) + " needs the role " + RoleName(method->role) +
                                              "; " + who.name + " is a " + RoleName(who.role)});
    }
    return new Relay(needs_, *context, std::move(record));
  }

 private:
  const GateNeeds needs_;
};

}  // namespace

std::unique_ptr<grpc::CallbackGenericService> MakeGate(GateNeeds needs) { return std::make_unique<Gate>(std::move(needs)); }

}  // namespace moat::api
