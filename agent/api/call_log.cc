// SPDX-License-Identifier: Apache-2.0
#include "agent/api/call_log.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <string>
#include <utility>

#include "agent/base/clock.h"

namespace moat::api {
namespace {

using grpc::experimental::InterceptionHookPoints;

// Of one call; goes with it.
class Recorder final : public grpc::experimental::Interceptor {
 public:
  Recorder(CallLog& log, grpc::experimental::ServerRpcInfo* info) : log_(log), info_(info), begin_ns_(MonotonicNs()) {}
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() override {
    if (peer_.starts_with("unix")) {
      log_.Write({.peer = "unix", .method = info_->method(), .code = code_, .duration_ns = MonotonicNs() - begin_ns_});
    }
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (peer_.empty()) {
      peer_ = info_->server_context()->peer();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = methods->GetSendStatus().error_code();
    }
    methods->Proceed();
  }

 private:
  CallLog& log_;
  grpc::experimental::ServerRpcInfo* const info_;
  const uint64_t begin_ns_;
  std::string peer_;
  int code_ = grpc::StatusCode::CANCELLED;  // of a call that ends without a status
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(CallLog& log) : log_(log) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new Recorder(log_, info);
  }

 private:
  CallLog& log_;
};

}  // namespace

void CallLog::Write(AuditLine line) {
  const auto methods = MethodRoles();
  const auto row = std::ranges::find(methods, std::string_view(line.method), &MethodRole::path) - methods.begin();
  const auto code = static_cast<size_t>(line.code);
  counts_[static_cast<size_t>(row)][code < kCodes ? code : size_t{grpc::StatusCode::UNKNOWN}].Add();
  line.event = AuditLine::Event::kCall;
  line.unix_ns = WallNs();
  audit_.Write(std::move(line));
}

std::vector<ApiCounters::Calls> CallLog::Counts() const {
  std::vector<ApiCounters::Calls> calls;
  for (size_t row = 0; row < counts_.size(); ++row) {
    ApiCounters::Calls one{.method = row < MethodRoles().size() ? std::string(MethodRoles()[row].path) : "other"};
    std::ranges::transform(counts_[row], one.by_code.begin(), [](const Counter& counter) { return counter.Get(); });
    if (std::ranges::any_of(one.by_code, [](uint64_t count) { return count > 0; })) {
      calls.push_back(std::move(one));
    }
  }
  return calls;
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallRecorder(CallLog& log) {
  return std::make_unique<Factory>(log);
}

}  // namespace moat::api
